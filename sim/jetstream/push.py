"""A push consumer without acks, pure: what goes to its subject, flow control, signs of life, and when it is forgotten.

It lives in the server's memory, as nats-py's ordered consumers ask for, and dies with it. Flow control is that of
nats-server's `consumer.go`: a window of bytes that begins at a sixteenth of its limit and doubles with every answer;
past half of it the client is asked whether it has read so far, past all of it nothing more is sent until it answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.errors import NotModelled
from sim.jetstream import codec
from sim.jetstream.config import INACTIVE_NS
from sim.jetstream.sending import Heard, Sending
from sim.jetstream.stream import Stream, start_of

WINDOW_BYTES_MAX = 32 * 1024 * 1024
WINDOW_BYTES = WINDOW_BYTES_MAX // 16


class PushConsumer:
    """One consumer of one stream that sends by itself."""

    def __init__(
        self, stream: Stream, name: str, config: dict[str, Any], *, created_ns: int, draw: Callable[[], float]
    ) -> None:
        """`draw` answers numbers from 0 to 1. Raises NotModelled."""
        if config.get("ack_policy") != "none" or not config.get("mem_storage"):
            raise NotModelled(f"expected a push consumer without acks, in memory, got {config}")
        self.stream = stream
        self.name = name
        self.config = config
        self.created_ns = created_ns
        self.subject = str(config["deliver_subject"])
        self._filter = str(config.get("filter_subject") or ">")
        self._draw = draw
        self._consumer_seq = 0
        self._stream_seq = start_of(stream, config) - 1
        self._looked_seq = self._stream_seq
        """How far the stream was looked at: all that falls under the filter up to here was sent."""
        self._beat_ns = int(config.get("idle_heartbeat") or 0)
        self._beat_at_ns = 0
        # what was asked for is kept to; only the server's own is spread out
        self._kept_ns = int(config.get("inactive_threshold") or 0) or INACTIVE_NS + round((0.1 + 0.9 * draw()) * 1e9)
        self._unheard_since_ns: int | None = None
        self._was_heard = False
        self._window_bytes = WINDOW_BYTES if config.get("flow_control") else 0
        self._flying_bytes = 0
        self._asked_bytes = 0
        self._asked = ""
        """The reply subject of the flow control request that waits for its answer."""

    def deliver(self, now_ns: int, is_heard: Heard) -> list[Sending]:
        """Everything that can be sent now; nothing while nobody listens."""
        if self._beat_ns and not self._beat_at_ns:
            self._beat_at_ns = now_ns + self._beat_ns
        if not is_heard(self.subject):
            if self._unheard_since_ns is None:
                self._unheard_since_ns = now_ns
            return []
        if self._unheard_since_ns is not None and 0 < self._beat_at_ns <= now_ns:
            # signs of life were due all the time, and sent to nobody
            self._beat_at_ns += ((now_ns - self._beat_at_ns) // self._beat_ns + 1) * self._beat_ns
        self._unheard_since_ns = None
        self._was_heard = True
        sent: list[Sending] = []
        while not self._is_full():
            stored = self.stream.next_from(self._looked_seq + 1, self._filter)
            if stored is None:
                self._looked_seq = max(self._looked_seq, self.stream.last_seq)
                break
            self._consumer_seq += 1
            self._stream_seq = self._looked_seq = stored.seq
            left = self.stream.count_after(stored.seq, self._filter)
            reply = f"$JS.ACK.{self.stream.name}.{self.name}.1.{stored.seq}.{self._consumer_seq}.{stored.ts_ns}.{left}"
            sending = Sending(self.subject, reply, stored.headers, stored.data, stored.subject)
            sent.append(sending)
            self._beat_at_ns = now_ns + self._beat_ns
            if self._window_bytes:
                sent += self._counted(len(self.subject) + len(reply) + len(stored.headers) + len(stored.data))
        if self._beat_ns and self._beat_at_ns <= now_ns:
            self._beat_at_ns = now_ns + self._beat_ns
            sent.append(Sending(self.subject, "", self._sign_of_life(), b""))
        return sent

    def answered(self, subject: str) -> None:
        """The client has read as far as a flow control request asked; an answer to an earlier one means nothing."""
        if subject == self._asked:
            self._window_bytes = min(self._window_bytes * 2, WINDOW_BYTES_MAX)
            self._flying_bytes = max(0, self._flying_bytes - self._asked_bytes)
            self._asked, self._asked_bytes = "", 0

    def is_over(self, now_ns: int) -> bool:
        """Whether nobody has listened for so long that it is to be forgotten."""
        return self._unheard_since_ns is not None and now_ns >= self._unheard_since_ns + self._kept_ns

    def next_deadline_ns(self) -> int | None:
        """When something becomes due by itself: a sign of life, or its end."""
        if self._unheard_since_ns is not None:
            return self._unheard_since_ns + self._kept_ns
        return self._beat_at_ns if self._beat_ns else None

    def info(self, _: Heard = lambda _: True) -> dict[str, Any]:
        """As CONSUMER.INFO tells it."""
        at = {"consumer_seq": self._consumer_seq, "stream_seq": self._stream_seq}
        return {
            "stream_name": self.stream.name,
            "name": self.name,
            "config": self.config,
            "delivered": at,
            "ack_floor": at,
            "num_ack_pending": 0,
            "num_redelivered": 0,
            "num_waiting": 0,
            "num_pending": self.stream.count_after(self._stream_seq, self._filter),
            **({"push_bound": True} if self._unheard_since_ns is None and self._was_heard else {}),
        }

    def _is_full(self) -> bool:
        return 0 < self._window_bytes < self._flying_bytes

    def _counted(self, size: int) -> list[Sending]:
        """Count what is on its way, and ask the client if that is much."""
        self._flying_bytes += size
        if self._asked:
            if self._flying_bytes - self._asked_bytes >= self._window_bytes:
                self._asked_bytes += size
            return []
        if self._flying_bytes <= self._window_bytes // 2:
            return []
        self._asked = f"$JS.FC.{self.stream.name}.{self.name}.{round(self._draw() * 1e6):06d}"
        self._asked_bytes = self._flying_bytes
        return [Sending(self.subject, self._asked, codec.status(100, "FlowControl Request"), b"")]

    def _sign_of_life(self) -> bytes:
        last = {"Nats_Last_Consumer": self._consumer_seq, "Nats_Last_Stream": self._looked_seq}
        stalled = {"Nats_Consumer_Stalled": self._asked} if self._asked else {}
        return codec.status(100, "Idle Heartbeat", **last, **stalled)
