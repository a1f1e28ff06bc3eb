"""What a consumer delivered and nobody acknowledged, pure: when it comes again, in which order, and how often.

As in nats-server's `consumer.go`, what is refused and what is overdue wait in one queue, in the order in which that
happened; what became overdue at once is in the order of the stream. The queue is in memory: after a restart only
time brings a message again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sim.errors import NotModelled

NEVER_NS = 1 << 62
AT_ONCE_NS = 1_000_000
"""What becomes overdue within this time of each other is found overdue together."""


@dataclass(slots=True)
class Pending:
    """A message that was delivered and not acknowledged."""

    consumer_seq: int
    """Of its first delivery."""
    since_ns: int
    """From when its time runs."""
    deliveries: int


class Redelivery:
    """The messages that come again, of those that are pending by their sequence."""

    def __init__(self, config: dict[str, Any], pending: dict[int, Pending]) -> None:
        """Pending messages are shared with the consumer."""
        self._pending = pending
        self._queue: dict[int, None] = {}
        self._earliest_ns = 0
        """Nothing is overdue before this; a search for what is would cost too much at every message."""
        self.configure(config)

    def configure(self, config: dict[str, Any]) -> None:
        """Go by other times and another limit, for what is pending too."""
        self._waits_ns = [int(one) for one in config.get("backoff") or [config["ack_wait"]]]
        self._most = max(0, int(config["max_deliver"]))
        self._earliest_ns = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def most(self) -> int:
        """How often a message may be delivered; 0: for ever."""
        return self._most

    def first(self) -> int | None:
        """The sequence that comes next."""
        return next(iter(self._queue), None)

    def postpone(self, seq: int) -> None:
        """Nobody could take it: others come before it."""
        del self._queue[seq]
        self._queue[seq] = None

    def forget(self, seq: int) -> None:
        """It does not come again, or not for now."""
        self._queue.pop(seq, None)

    def forget_queue(self) -> None:
        """Nothing comes again but by its time."""
        self._queue.clear()
        self._earliest_ns = 0

    def delivered(self, seq: int, now_ns: int) -> None:
        """Its time runs anew."""
        self._queue.pop(seq, None)
        one = self._pending[seq]
        one.since_ns = now_ns
        self._earliest_ns = min(self._earliest_ns, self._due_ns(one))

    def refuse(self, seq: int, delay: bytes, now_ns: int) -> None:
        """A nak: it comes again, at once or after a delay that is told in JSON. Raises NotModelled."""
        if not delay:
            self._queue.setdefault(seq)
            return
        if not delay.startswith(b"{"):
            raise NotModelled(f"expected a nak with its delay in JSON, got {delay!r}")
        self._queue.pop(seq, None)
        one = self._pending[seq]
        # the server moves the time back by the first of the waits, whichever of them is to come
        one.since_ns = now_ns - self._waits_ns[0] + int(json.loads(delay).get("delay", 0))
        self._earliest_ns = min(self._earliest_ns, self._due_ns(one))

    def find_overdue(self, now_ns: int) -> list[int]:
        """Queue everything whose time is over; the sequences of what may come no more instead."""
        if now_ns < self._earliest_ns:
            return []
        waiting = [(self._due_ns(one), seq) for seq, one in self._pending.items() if seq not in self._queue]
        overdue = sorted(one for one in waiting if one[0] <= now_ns)
        self._earliest_ns = min((due_ns for due_ns, _ in waiting if due_ns > now_ns), default=NEVER_NS)
        spent = []
        for seq in _in_groups(overdue):
            # the server counts what came again, but looks at once at what may come but once
            if 0 < self._most <= max(self._pending[seq].deliveries - 1, 1):
                spent.append(seq)
            else:
                self._queue[seq] = None
        return spent

    def next_due_ns(self) -> int | None:
        """When the next one becomes overdue."""
        return min((self._due_ns(one) for seq, one in self._pending.items() if seq not in self._queue), default=None)

    def given_up_ns(self) -> int:
        """When everything has been overdue for as long as it was not; 0 if nothing is pending."""
        return max((2 * self._due_ns(one) - one.since_ns for one in self._pending.values()), default=0)

    def _due_ns(self, one: Pending) -> int:
        return one.since_ns + self._waits_ns[min(one.deliveries, len(self._waits_ns)) - 1]


def _in_groups(overdue: list[tuple[int, int]]) -> list[int]:
    """Sequences by their times; those at once by themselves."""
    ordered: list[int] = []
    group: list[int] = []
    begun_ns = 0
    for due_ns, seq in overdue:
        if due_ns > begun_ns + AT_ONCE_NS:
            ordered += sorted(group)
            group, begun_ns = [], due_ns
        group.append(seq)
    return ordered + sorted(group)
