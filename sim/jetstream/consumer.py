"""A pull consumer, pure: which message goes to which request, what is acknowledged, what comes again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sim.errors import NotModelled
from sim.jetstream.redelivery import Pending, Redelivery
from sim.jetstream.sending import Heard, Sending
from sim.jetstream.stream import Stored, Stream, Subjects, start_of
from sim.jetstream.waiting import NONE_LEFT, Waiting, request_of, said


def filter_of(config: dict[str, Any]) -> Subjects:
    """The subjects that a consumer wants, of which it may name several."""
    several = config.get("filter_subjects")
    return tuple(several) if several else str(config.get("filter_subject") or ">")


@dataclass(slots=True)
class State:
    """What is written to disk of a consumer, now and then."""

    delivered_consumer_seq: int = 0
    delivered_stream_seq: int = 0
    floor_consumer_seq: int = 0
    floor_stream_seq: int = 0
    pending: dict[int, Pending] = field(default_factory=dict)
    spent: dict[int, None] = field(default_factory=dict)
    """What was delivered as often as it may be, and is pending no more."""

    def copy(self) -> State:
        """As it is now."""
        pending = {seq: replace(one) for seq, one in self.pending.items()}
        return replace(self, pending=pending, spent=dict(self.spent))


class Consumer:
    """One consumer of one stream."""

    def __init__(self, stream: Stream, config: dict[str, Any], created_ns: int, *, kept_ns: int = 0) -> None:
        """`kept_ns`: how long it is kept while nobody pulls or acknowledges; 0: for ever."""
        self.stream = stream
        self.config = config
        self.created_ns = created_ns
        start = start_of(stream, config)
        self._filter = filter_of(config)
        self.state = State(delivered_stream_seq=start - 1, floor_stream_seq=start - 1)
        self.flushed = self.state.copy()
        self.synced = self.state.copy()
        self.given_up: list[int] = []
        """Sequences of which nobody was told yet that they come no more."""
        self._looked_seq = start - 1
        """How far the stream was looked at: all that falls under the filter up to here was delivered."""
        self._waiting = Waiting()
        self._again = Redelivery(config, self.state.pending)
        self._removals = stream.removals
        self._purges = stream.purges
        self._kept_ns = kept_ns
        self._used_ns: int | None = None
        """When somebody last asked for messages, or else since when it is served."""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.config.get("durable_name") or self.config["name"])

    def configure(self, config: dict[str, Any]) -> None:
        """Another configuration; what was looked at under the old filter is not looked at again."""
        self.config = config
        self._filter = filter_of(config)
        self._again.configure(config)

    # Pulling

    def pull(self, inbox: str, body: bytes, now_ns: int, is_heard: Heard) -> list[Sending]:
        """Take a request; what can be sent at once."""
        self._used_ns = now_ns
        request = request_of(inbox, body, now_ns)
        if isinstance(request, str):
            return [said(inbox, 400, f"Bad Request - {request}")]
        self._waiting.forget_unheard(is_heard)
        if request.no_wait:
            self._find_overdue(now_ns)
            there = self._unlooked + len(self._again)
            if not there and request.expires_ns is None:
                return [Sending(inbox, "", NONE_LEFT, b"")]
            if 0 < there < self._waiting.wanted:
                return [said(inbox, 408, "Requests Pending")]
        if len(self._waiting) >= int(self.config["max_waiting"]):
            # who asks for signs of life will miss them, and need not be told
            return [] if request.beat_ns else [said(inbox, 409, "Exceeded MaxWaiting")]
        self._waiting.add(request)
        return self.deliver(now_ns, is_heard)

    def deliver(self, now_ns: int, is_heard: Heard) -> list[Sending]:
        """Everything that can be sent now: expired requests' ends first, then messages, then signs of life."""
        if self._used_ns is None:
            self._used_ns = now_ns
        sent = self._waiting.expire(now_ns)
        has_timed = bool(sent) or self._waiting.is_beat_due(now_ns)
        self._find_overdue(now_ns)
        # several servers agree on a delivery before it is sent: a request's end overtakes what it was given just now
        messages: list[Sending] = [] if self._is_replicated else sent
        while self._waiting:
            found = self._next()
            if found is None:
                break
            sending = self._sending(*found)
            request, ended = self._waiting.turn_for(sending.size, is_heard)
            sent += ended
            if request is None:
                if found[1] is not None:
                    self._again.postpone(found[0].seq)
                break
            messages.append(sending._replace(inbox=request.inbox))
            self._delivered(*found, now_ns)
            sent += self._waiting.gave(sending.size, now_ns)
        if messages is not sent:
            sent += messages
        if self._waiting and (has_timed or not self._is_at_limit):
            sent += self._waiting.end_no_wait(now_ns, is_replicated=self._is_replicated)
        if self._waiting:
            at = {"consumer_seq": self.state.delivered_consumer_seq, "stream_seq": self._looked_seq}
            sent += self._waiting.beats(now_ns, **at)
        return sent

    def next_deadline_ns(self) -> int | None:
        """When something becomes due by itself: an ack's time, a request's end or a sign of life."""
        times = [self._waiting.next_deadline_ns(), self._forgotten_at_ns()]
        if self._waiting or self._again.most:
            times.append(self._again.next_due_ns())
        return min((one for one in times if one is not None), default=None)

    def is_over(self, now_ns: int) -> bool:
        """Whether nobody has pulled or acknowledged for so long that it is to be forgotten."""
        forgotten_at_ns = self._forgotten_at_ns()
        return forgotten_at_ns is not None and forgotten_at_ns <= now_ns

    def _forgotten_at_ns(self) -> int | None:
        if not self._kept_ns or self._waiting or self._used_ns is None:
            return None
        return max(self._used_ns, self._again.given_up_ns()) + self._kept_ns

    def end_requests(self, code: int, description: str) -> list[Sending]:
        """End every request that waits."""
        return self._waiting.end_all(code, description)

    @property
    def waits_for_room(self) -> bool:
        """Whether a request waits because too much is unacknowledged, which what expires would change."""
        return bool(self._waiting) and self._is_at_limit

    @property
    def _unlooked(self) -> int:
        """How many messages are yet to be delivered for the first time."""
        return self.stream.count_after(self._looked_seq, self._filter)

    @property
    def _is_at_limit(self) -> bool:
        return len(self.state.pending) >= int(self.config["max_ack_pending"])

    @property
    def _is_replicated(self) -> bool:
        return int(self.stream.config["num_replicas"]) > 1

    def _find_overdue(self, now_ns: int) -> None:
        self._notice_removals()
        for seq in self._again.find_overdue(now_ns):
            self._give_up(seq, max(self.state.pending[seq].deliveries - 1, 1))

    def _give_up(self, seq: int, deliveries: int) -> None:
        """A message comes no more; the floor stays where it is, until something else is acknowledged."""
        self._again.forget(seq)
        del self.state.pending[seq]
        self.state.spent[seq] = None
        if deliveries == self._again.most:  # beyond, the limit was lowered, and nobody is told
            self.given_up.append(seq)

    def _next(self) -> tuple[Stored, Pending | None] | None:
        while (seq := self._again.first()) is not None:
            pending = self.state.pending[seq]
            if 0 < self._again.most <= pending.deliveries:
                self._give_up(seq, pending.deliveries)
                continue
            stored = self.stream.get(seq)
            assert stored is not None, "what is gone is pending no more"
            return stored, pending
        if self._is_at_limit:
            return None
        new = self.stream.next_from(self._looked_seq + 1, self._filter)
        if new is None:
            self._looked_seq = max(self._looked_seq, self.stream.last_seq)
            return None
        return new, None

    def _sending(self, stored: Stored, again: Pending | None) -> Sending:
        """To an inbox that is not known yet."""
        deliveries = 1 if again is None else again.deliveries + 1
        waiting = self.stream.count_after(max(stored.seq, self._looked_seq), self._filter)
        reply = (
            f"$JS.ACK.{self.stream.name}.{self.name}.{deliveries}.{stored.seq}.{self.state.delivered_consumer_seq + 1}"
            f".{stored.ts_ns}.{waiting}"
        )
        return Sending("", reply, stored.headers, stored.data, stored.subject)

    def _delivered(self, stored: Stored, again: Pending | None, now_ns: int) -> None:
        state = self.state
        state.delivered_consumer_seq += 1
        if self.config["ack_policy"] == "none":  # as good as acknowledged
            state.delivered_stream_seq = self._looked_seq = state.floor_stream_seq = stored.seq
            state.floor_consumer_seq = state.delivered_consumer_seq
            return
        if again is None:
            state.pending[stored.seq] = Pending(state.delivered_consumer_seq, now_ns, 1)
            state.delivered_stream_seq = self._looked_seq = stored.seq
        else:
            again.deliveries += 1
        self._again.delivered(stored.seq, now_ns)

    # Acknowledging

    def ack(self, stream_seq: int, consumer_seq: int, body: bytes, now_ns: int) -> bool:
        """An acknowledgement by its reply subject, or a word about it; answers whether it is to be answered.

        `all` covers everything up to it. What was never delivered can't be acknowledged. Raises NotModelled.
        """
        self._find_overdue(now_ns)
        if body in (b"", b"+ACK", b"+OK") or body.startswith(b"+TERM"):
            if stream_seq > self._looked_seq:
                return False
            if self.config["ack_policy"] == "all":
                self._ack_all(stream_seq, consumer_seq)
            else:
                self._ack_one(stream_seq)
                self.state.spent.pop(stream_seq, None)
        elif body.startswith(b"+NXT"):
            raise NotModelled("expected an acknowledgement that is modelled, got one that asks for the next message")
        elif body.startswith(b"-NAK"):
            is_open = self.state.floor_consumer_seq < consumer_seq <= self.state.delivered_consumer_seq + 1
            if is_open and stream_seq in self.state.pending:
                self._again.refuse(stream_seq, body[len(b"-NAK") :].strip(), now_ns)
        elif body == b"+WPI" and stream_seq in self.state.pending:
            self.state.pending[stream_seq].since_ns = now_ns
        return True

    def _ack_all(self, stream_seq: int, consumer_seq: int) -> None:
        state = self.state
        if stream_seq <= state.floor_stream_seq or consumer_seq <= state.floor_consumer_seq:
            return
        state.floor_stream_seq, state.floor_consumer_seq = stream_seq, consumer_seq
        for seq in [one for one in state.pending if one <= stream_seq]:
            del state.pending[seq]
            self._again.forget(seq)

    def _ack_one(self, stream_seq: int) -> None:
        """The floor moves only when what lies just above it is acknowledged."""
        state = self.state
        acked = state.pending.pop(stream_seq, None)
        if acked is None:
            return
        self._again.forget(stream_seq)
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
        if self._purges != self.stream.purges:
            # the server forgets what it was about to deliver again at any purge; time brings it back
            self._purges = self.stream.purges
            self._again.forget_queue()
        state = self.state
        purged = self.stream.purged_seq
        for seq in sorted(state.pending):
            if self.stream.get(seq) is None:
                if seq <= purged:
                    self._again.forget(seq)
                    gone = state.pending.pop(seq)
                    floor = gone.consumer_seq if state.pending else state.delivered_consumer_seq
                    state.floor_consumer_seq = max(state.floor_consumer_seq, floor)
                else:
                    self._ack_one(seq)
        for seq in [one for one in state.spent if self.stream.get(one) is None]:
            del state.spent[seq]
        self._looked_seq = max(self._looked_seq, purged)
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
        self.state = self.flushed = self.synced

    def restart(self) -> None:
        """A new server, or a new leader, reads the state; requests are forgotten.

        A lone server reads what was flushed last. Several agree on every change before anybody is told of it, and keep
        what they agreed on in a log of their own.
        """
        state = self.state = (self.state if self._is_replicated else self.flushed).copy()
        last_seq = self.stream.last_seq
        state.delivered_stream_seq = min(state.delivered_stream_seq, last_seq)
        state.floor_stream_seq = min(state.floor_stream_seq, last_seq)
        state.pending = {seq: one for seq, one in state.pending.items() if seq <= last_seq}
        self._looked_seq = state.delivered_stream_seq
        self._waiting = Waiting()
        self._again = Redelivery(self.config, state.pending)
        self._removals = -1
        self._used_ns = None

    def info(self, is_heard: Heard = lambda _: True) -> dict[str, Any]:
        """As CONSUMER.INFO tells it."""
        self._notice_removals()
        state = self.state
        redelivered = sum(one.deliveries > 1 for one in state.pending.values())
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
            "num_redelivered": 0 if int(self.config["max_deliver"]) == 1 else redelivered + len(state.spent),
            "num_waiting": self._waiting.count_heard(is_heard),
            "num_pending": self._unlooked,
        }
