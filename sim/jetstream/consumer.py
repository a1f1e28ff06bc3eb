"""A durable pull consumer, pure: which message goes to which request, what is acknowledged, what comes again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from sim.jetstream import codec
from sim.jetstream.stream import Stored, Stream

WAITING_MAX = 512
"""Pull requests a consumer holds (max_waiting's default)."""


@dataclass(slots=True)
class Request:
    """One pull request, with what is left of it."""

    inbox: str
    messages_left: int
    bytes_left: int | None
    expires_ns: int | None
    no_wait: bool
    taken: int = 0

    def status(self, code: int, description: str) -> Sending:
        """Its end, in the server's words."""
        left = {"Nats_Pending_Messages": self.messages_left, "Nats_Pending_Bytes": self.bytes_left or 0}
        return Sending(self.inbox, "", codec.status(code, description, **left), b"")


@dataclass(frozen=True, slots=True)
class Sending:
    """What goes to an inbox: a message under its own subject, or a status."""

    inbox: str
    reply: str
    headers: bytes
    data: bytes
    subject: str = ""
    """The stored message's own; empty: the inbox."""


@dataclass(slots=True)
class Pending:
    """A message that was delivered and not acknowledged."""

    consumer_seq: int
    deadline_ns: int
    deliveries: int


@dataclass(slots=True)
class State:
    """What is written to disk of a consumer, now and then."""

    delivered_consumer_seq: int = 0
    delivered_stream_seq: int = 0
    floor_consumer_seq: int = 0
    floor_stream_seq: int = 0
    pending: dict[int, Pending] = field(default_factory=dict)

    def copy(self) -> State:
        """As it is now."""
        pending = {seq: Pending(one.consumer_seq, one.deadline_ns, one.deliveries) for seq, one in self.pending.items()}
        return State(
            self.delivered_consumer_seq,
            self.delivered_stream_seq,
            self.floor_consumer_seq,
            self.floor_stream_seq,
            pending,
        )


class Consumer:
    """One consumer of one stream."""

    def __init__(self, stream: Stream, config: dict[str, Any], created_ns: int) -> None:
        self.stream = stream
        self.config = config
        self.created_ns = created_ns
        start = int(config.get("opt_start_seq") or 1)
        self.state = State(delivered_stream_seq=start - 1, floor_stream_seq=start - 1)
        self.flushed = self.state.copy()
        self.requests: deque[Request] = deque()
        self._earliest_ns = 0
        """No deadline is before this; a search for one that has passed would cost too much at every message."""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.config["durable_name"])

    # Pulling

    def pull(self, inbox: str, asked: dict[str, Any], now_ns: int) -> list[Sending]:
        """Take a request; what can be sent at once."""
        expires = asked.get("expires")
        request = Request(
            inbox,
            int(asked.get("batch", 1)),
            asked.get("max_bytes") or None,
            now_ns + int(expires) if expires else None,
            bool(asked.get("no_wait")),
        )
        if len(self.requests) >= WAITING_MAX:
            return [Sending(inbox, "", codec.status(409, "Exceeded MaxWaiting"), b"")]
        self.requests.append(request)
        sent = self.deliver(now_ns)
        if request in self.requests and request.no_wait and (expires is None or request.taken):
            self.requests.remove(request)
            sent.append(Sending(inbox, "", codec.status(404, "No Messages"), b""))
        return sent

    def deliver(self, now_ns: int) -> list[Sending]:
        """Everything that can be sent now: expired requests' ends first, then messages."""
        sent = self._expired(now_ns)
        while self.requests:
            found = self._next(now_ns)
            if found is None:
                break
            stored, again = found
            request = self.requests[0]
            if request.bytes_left is not None and stored.size > request.bytes_left:
                self.requests.popleft()
                sent.append(request.status(409, "Message Size Exceeds MaxBytes"))
                continue
            sent.append(self._take(request, stored, again, now_ns))
            if request.messages_left == 0:
                self.requests.popleft()
                if request.bytes_left is not None:
                    sent.append(request.status(409, "Batch Completed"))
        return sent

    def next_deadline_ns(self) -> int | None:
        """When something becomes due by itself: an ack's time or a request's end."""
        times = [one.expires_ns for one in self.requests if one.expires_ns is not None]
        if self.requests and self.state.pending:
            times.append(min(one.deadline_ns for one in self.state.pending.values()))
        return min(times, default=None)

    def _expired(self, now_ns: int) -> list[Sending]:
        over = [one for one in self.requests if one.expires_ns is not None and one.expires_ns <= now_ns]
        for request in over:
            self.requests.remove(request)
        return [request.status(408, "Request Timeout") for request in over]

    def _next(self, now_ns: int) -> tuple[Stored, Pending | None] | None:
        for seq in sorted(self.state.pending) if now_ns >= self._earliest_ns else ():
            again = self.state.pending[seq]
            if again.deadline_ns <= now_ns:
                stored = self.stream.get(seq)
                if stored is None:
                    del self.state.pending[seq]
                    continue
                return stored, again
        if now_ns >= self._earliest_ns:
            self._earliest_ns = min((one.deadline_ns for one in self.state.pending.values()), default=now_ns + 1)
        if len(self.state.pending) >= int(self.config["max_ack_pending"]):
            return None
        seq = max(self.state.delivered_stream_seq + 1, self.stream.first_seq)
        while seq <= self.stream.last_seq:
            stored = self.stream.get(seq)
            if stored is not None:
                return stored, None
            seq += 1
        return None

    def _take(self, request: Request, stored: Stored, again: Pending | None, now_ns: int) -> Sending:
        state = self.state
        state.delivered_consumer_seq += 1
        deadline_ns = now_ns + int(self.config["ack_wait"])
        deliveries = 1 if again is None else again.deliveries + 1
        consumer_seq = state.delivered_consumer_seq if again is None else again.consumer_seq
        state.pending[stored.seq] = Pending(consumer_seq, deadline_ns, deliveries)
        self._earliest_ns = min(self._earliest_ns, deadline_ns)
        state.delivered_stream_seq = max(state.delivered_stream_seq, stored.seq)
        request.messages_left -= 1
        request.taken += 1
        if request.bytes_left is not None:
            request.bytes_left -= stored.size
        waiting = max(0, self.stream.last_seq - state.delivered_stream_seq)
        reply = (
            f"$JS.ACK.{self.stream.name}.{self.name}.{deliveries}.{stored.seq}.{state.delivered_consumer_seq}"
            f".{stored.ts_ns}.{waiting}"
        )
        return Sending(request.inbox, reply, stored.headers, stored.data, stored.subject)

    # Acknowledging

    def ack(self, stream_seq: int, body: bytes, now_ns: int) -> None:
        """An acknowledgement by its reply subject; `all` covers everything up to it."""
        kind = body.split(b" ")[0] or b"+ACK"
        pending = self.state.pending
        if kind == b"+WPI":
            if stream_seq in pending:
                pending[stream_seq].deadline_ns = now_ns + int(self.config["ack_wait"])
        elif kind == b"-NAK":
            if stream_seq in pending:
                pending[stream_seq].deadline_ns = self._earliest_ns = now_ns
        elif self.config["ack_policy"] == "all":
            for seq in [one for one in pending if one <= stream_seq]:
                del pending[seq]
            self.state.floor_stream_seq = max(self.state.floor_stream_seq, stream_seq)
        else:
            pending.pop(stream_seq, None)
        self._move_floor()

    def _move_floor(self) -> None:
        state = self.state
        lowest = min(state.pending, default=None)
        floor = state.delivered_stream_seq if lowest is None else lowest - 1
        state.floor_stream_seq = max(state.floor_stream_seq, floor)

    # Lives of the server

    def flush(self) -> None:
        """Write the state to disk, as the server does at most ten times a second."""
        self.flushed = self.state.copy()

    def restart(self) -> None:
        """A new server reads the state that was flushed last; requests are forgotten."""
        self.state = self.flushed.copy()
        self.state.delivered_stream_seq = min(self.state.delivered_stream_seq, self.stream.last_seq)
        self.state.pending = {seq: one for seq, one in self.state.pending.items() if seq <= self.stream.last_seq}
        self.requests.clear()
        self._earliest_ns = 0

    def info(self) -> dict[str, Any]:
        """As CONSUMER.INFO tells it."""
        state = self.state
        return {
            "stream_name": self.stream.name,
            "name": self.name,
            "config": self.config,
            "delivered": {
                "consumer_seq": state.delivered_consumer_seq,
                "stream_seq": state.delivered_stream_seq,
            },
            "ack_floor": {"consumer_seq": state.floor_consumer_seq, "stream_seq": state.floor_stream_seq},
            "num_ack_pending": len(state.pending),
            "num_redelivered": sum(one.deliveries > 1 for one in state.pending.values()),
            "num_waiting": len(self.requests),
            "num_pending": max(0, self.stream.last_seq - max(state.delivered_stream_seq, self.stream.first_seq - 1)),
        }
