"""A durable pull consumer, pure: which message goes to which request, what is acknowledged, what comes again."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from sim.jetstream import codec
from sim.jetstream.sending import Heard, Sending
from sim.jetstream.stream import Stored, Stream, start_of

NONE_LEFT = codec.status(404, "No Messages")


@dataclass(slots=True)
class Request:
    """One pull request, with what is left of it."""

    inbox: str
    messages_left: int
    bytes_left: int | None
    expires_ns: int | None
    no_wait: bool
    beat_ns: int | None
    """How long it may be silent; None: as long as it lasts."""
    beat_at_ns: int
    taken: int = 0

    def status(self, code: int, description: str) -> Sending:
        """Its end, in the server's words."""
        left = {"Nats_Pending_Messages": self.messages_left, "Nats_Pending_Bytes": self.bytes_left or 0}
        return Sending(self.inbox, "", codec.status(code, description, **left), b"")


@dataclass(slots=True)
class Pending:
    """A message that was delivered and not acknowledged."""

    consumer_seq: int
    """Of its first delivery."""
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
        return replace(self, pending={seq: replace(one) for seq, one in self.pending.items()})


class Consumer:
    """One consumer of one stream."""

    def __init__(self, stream: Stream, config: dict[str, Any], created_ns: int) -> None:
        self.stream = stream
        self.config = config
        self.created_ns = created_ns
        start = start_of(stream, config)
        self._filter = str(config.get("filter_subject") or ">")
        self.state = State(delivered_stream_seq=start - 1, floor_stream_seq=start - 1)
        self.flushed = self.state.copy()
        self.synced = self.state.copy()
        self.requests: deque[Request] = deque()
        self._removals = stream.removals
        self._earliest_ns = 0
        """No deadline is before this; a search for one that has passed would cost too much at every message."""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.config["durable_name"])

    # Pulling

    def pull(self, inbox: str, asked: dict[str, Any], now_ns: int, is_heard: Heard) -> list[Sending]:
        """Take a request; what can be sent at once."""
        expires, beat_ns = asked.get("expires"), asked.get("idle_heartbeat") or None
        if beat_ns and (not expires or beat_ns * 2 > expires):
            return [Sending(inbox, "", codec.status(400, "Bad Request - heartbeat value too large"), b"")]
        request = Request(
            inbox,
            int(asked.get("batch", 1)),
            asked.get("max_bytes") or None,
            now_ns + int(expires) if expires else None,
            bool(asked.get("no_wait")),
            beat_ns,
            now_ns + (beat_ns or 0),
        )
        self._forget_unheard(is_heard)
        if len(self.requests) >= int(self.config["max_waiting"]):
            return [Sending(inbox, "", codec.status(409, "Exceeded MaxWaiting"), b"")]
        self.requests.append(request)
        sent = self.deliver(now_ns, is_heard)
        if request in self.requests and request.no_wait and expires is None:
            self.requests.remove(request)
            sent.append(Sending(inbox, "", NONE_LEFT, b""))
        return sent

    def deliver(self, now_ns: int, is_heard: Heard) -> list[Sending]:
        """Everything that can be sent now: expired requests' ends first, then messages, then signs of life."""
        sent = self._expired(now_ns)
        while self.requests:
            found = self._next(now_ns)
            if found is None:
                break
            request = self.requests[0]
            if not is_heard(request.inbox):
                self.requests.popleft()
                continue
            sending = self._sending(request, *found)
            if request.bytes_left is not None and sending.size > request.bytes_left:
                self.requests.popleft()
                sent.append(request.status(409, "Message Size Exceeds MaxBytes"))
                continue
            sent.append(sending)
            self._take(request, *found, sending.size, now_ns)
            if request.messages_left == 0:
                self.requests.popleft()
                if request.bytes_left is not None:
                    sent.append(request.status(409, "Batch Completed"))
        for request in [one for one in self.requests if one.no_wait and one.taken]:
            self.requests.remove(request)
            sent.append(Sending(request.inbox, "", NONE_LEFT, b""))
        return sent + self._beats(now_ns)

    def next_deadline_ns(self) -> int | None:
        """When something becomes due by itself: an ack's time, a request's end or a sign of life."""
        times = [one.expires_ns for one in self.requests if one.expires_ns is not None]
        times += [one.beat_at_ns for one in self.requests if one.beat_ns]
        if self.requests and self.state.pending:
            times.append(min(one.deadline_ns for one in self.state.pending.values()))
        return min(times, default=None)

    def end_requests(self, code: int, description: str) -> list[Sending]:
        """End every request that waits."""
        ended = [Sending(one.inbox, "", codec.status(code, description), b"") for one in self.requests]
        self.requests.clear()
        return ended

    def _forget_unheard(self, is_heard: Heard) -> None:
        for request in [one for one in self.requests if not is_heard(one.inbox)]:
            self.requests.remove(request)

    def _expired(self, now_ns: int) -> list[Sending]:
        over = [one for one in self.requests if one.expires_ns is not None and one.expires_ns <= now_ns]
        for request in over:
            self.requests.remove(request)
        return [request.status(408, "Request Timeout") for request in over]

    def _beats(self, now_ns: int) -> list[Sending]:
        sent = []
        for request in self.requests:
            if request.beat_ns and request.beat_at_ns <= now_ns:
                request.beat_at_ns = now_ns + request.beat_ns
                last = {
                    "Nats_Last_Consumer": self.state.delivered_consumer_seq,
                    "Nats_Last_Stream": self.state.delivered_stream_seq,
                }
                sent.append(Sending(request.inbox, "", codec.status(100, "Idle Heartbeat", **last), b""))
        return sent

    def _next(self, now_ns: int) -> tuple[Stored, Pending | None] | None:
        self._notice_removals()
        for seq in sorted(self.state.pending) if now_ns >= self._earliest_ns else ():
            again = self.state.pending[seq]
            if again.deadline_ns <= now_ns:
                stored = self.stream.get(seq)
                assert stored is not None, "what is gone is pending no more"
                return stored, again
        if now_ns >= self._earliest_ns:
            self._earliest_ns = min((one.deadline_ns for one in self.state.pending.values()), default=now_ns + 1)
        if len(self.state.pending) >= int(self.config["max_ack_pending"]):
            return None
        new = self.stream.next_from(self.state.delivered_stream_seq + 1, self._filter)
        return None if new is None else (new, None)

    def _sending(self, request: Request, stored: Stored, again: Pending | None) -> Sending:
        deliveries = 1 if again is None else again.deliveries + 1
        waiting = self.stream.count_after(max(stored.seq, self.state.delivered_stream_seq), self._filter)
        reply = (
            f"$JS.ACK.{self.stream.name}.{self.name}.{deliveries}.{stored.seq}.{self.state.delivered_consumer_seq + 1}"
            f".{stored.ts_ns}.{waiting}"
        )
        return Sending(request.inbox, reply, stored.headers, stored.data, stored.subject)

    def _take(self, request: Request, stored: Stored, again: Pending | None, size: int, now_ns: int) -> None:
        state = self.state
        state.delivered_consumer_seq += 1
        deadline_ns = now_ns + int(self.config["ack_wait"])
        if again is None:
            state.pending[stored.seq] = Pending(state.delivered_consumer_seq, deadline_ns, 1)
        else:
            again.deadline_ns, again.deliveries = deadline_ns, again.deliveries + 1
        self._earliest_ns = min(self._earliest_ns, deadline_ns)
        state.delivered_stream_seq = max(state.delivered_stream_seq, stored.seq)
        request.messages_left -= 1
        request.taken += 1
        request.beat_at_ns = now_ns + (request.beat_ns or 0)
        if request.bytes_left is not None:
            request.bytes_left -= size

    # Acknowledging

    def ack(self, stream_seq: int, consumer_seq: int, body: bytes, now_ns: int) -> None:
        """An acknowledgement by its reply subject; `all` covers everything up to it."""
        kind, _, more = body.partition(b" ")
        pending = self.state.pending.get(stream_seq)
        if kind == b"+WPI":
            if pending is not None:
                pending.deadline_ns = now_ns + int(self.config["ack_wait"])
        elif kind == b"-NAK":
            if pending is not None:
                pending.deadline_ns = now_ns + (int(json.loads(more).get("delay", 0)) if more.strip() else 0)
                self._earliest_ns = min(self._earliest_ns, pending.deadline_ns)
        elif self.config["ack_policy"] == "all":
            self._ack_all(stream_seq, consumer_seq)
        else:
            self._ack_one(stream_seq)

    def _ack_all(self, stream_seq: int, consumer_seq: int) -> None:
        state = self.state
        if stream_seq <= state.floor_stream_seq or consumer_seq <= state.floor_consumer_seq:
            return
        state.floor_stream_seq, state.floor_consumer_seq = stream_seq, consumer_seq
        for seq in [one for one in state.pending if one <= stream_seq]:
            del state.pending[seq]

    def _ack_one(self, stream_seq: int) -> None:
        """The floor moves only when what lies just above it is acknowledged."""
        state = self.state
        acked = state.pending.pop(stream_seq, None)
        if acked is None:
            return
        if not state.pending:
            state.floor_consumer_seq = state.delivered_consumer_seq
            state.floor_stream_seq = state.delivered_stream_seq
        elif acked.consumer_seq == state.floor_consumer_seq + 1:
            lowest = min((seq for seq in state.pending if seq > stream_seq), default=stream_seq + 1)
            following = state.pending.get(lowest)
            state.floor_consumer_seq = acked.consumer_seq if following is None else following.consumer_seq - 1
            state.floor_stream_seq = lowest - 1

    def _notice_removals(self) -> None:
        """What the stream no longer has need not be acknowledged; a purge moves the consumer behind it."""
        if self._removals == self.stream.removals:
            return
        self._removals = self.stream.removals
        state = self.state
        purged = self.stream.purged_seq
        for seq in sorted(state.pending):
            if self.stream.get(seq) is None:
                if seq <= purged:
                    state.floor_consumer_seq = max(state.floor_consumer_seq, state.pending.pop(seq).consumer_seq)
                else:
                    self._ack_one(seq)
        state.delivered_stream_seq = max(state.delivered_stream_seq, purged)
        state.floor_stream_seq = max(state.floor_stream_seq, purged)

    # Lives of the server

    def flush(self) -> None:
        """Write the state to disk, as the server does at most ten times a second."""
        self.flushed = self.state.copy()

    def sync(self) -> None:
        """What was flushed is on the platter."""
        self.synced = self.flushed

    def lose_power(self) -> None:
        """What was flushed and not synced is gone."""
        self.flushed = self.synced

    def restart(self) -> None:
        """A new server, or a new leader, reads the state that was flushed last; requests are forgotten."""
        state = self.state = self.flushed.copy()
        last_seq = self.stream.last_seq
        state.delivered_stream_seq = min(state.delivered_stream_seq, last_seq)
        state.floor_stream_seq = min(state.floor_stream_seq, last_seq)
        state.pending = {seq: one for seq, one in state.pending.items() if seq <= last_seq}
        self.requests.clear()
        self._removals = -1
        self._earliest_ns = 0

    def info(self) -> dict[str, Any]:
        """As CONSUMER.INFO tells it."""
        self._notice_removals()
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
            "num_pending": self.stream.count_after(state.delivered_stream_seq, self._filter),
        }
