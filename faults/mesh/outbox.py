"""A publisher's outbox: an event leaves it only when its outcome is known for good. Pure."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable

from faults.arrivals import Arrival


class Settled(enum.Enum):
    """What one attempt to publish an event came to."""

    ACKED = "acked"
    REFUSED = "refused"
    """Definitely not stored, and no retry changes that."""
    UNKNOWN = "unknown"
    """Stored or not: to be published again with the same id."""


class Outbox:
    """What one publisher has yet to publish, oldest first; bounded by the plan's events."""

    def __init__(self, arrivals: Iterable[Arrival]) -> None:
        self._todo = deque(arrivals)
        self._repeats: deque[Arrival] = deque()
        self._flying: dict[str, Arrival] = {}
        self._alone: set[str] = set()
        self._repeated: set[str] = set()
        self.acked = 0
        """Events that were acknowledged, each counted once."""
        self.refused = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything was published, repeats included, and every outcome is known."""
        return not (self._todo or self._repeats or self._flying)

    @property
    def size(self) -> int:
        """How many events wait or fly."""
        return len(self._todo) + len(self._repeats) + len(self._flying)

    def due_in_s(self, now_s: float) -> float | None:
        """How long until there is something to publish: 0 if there is, None if there never will be."""
        if self._repeats:
            return 0.0
        return max(0.0, self._todo[0].at_s - now_s) if self._todo else None

    def take(self, now_s: float, count_max: int) -> list[Arrival]:
        """The next events to publish in one go, due by now; each is *flying* until it is settled."""
        assert not self._flying, "settle the last batch first"
        taken: list[Arrival] = []
        while len(taken) < count_max and self._todo and self._todo[0].at_s <= now_s:
            if self._todo[0].id in self._alone and taken:
                break
            taken.append(self._todo.popleft())
            if taken[-1].id in self._alone:
                break
        if not taken and self._repeats:
            taken = [self._repeats.popleft()]
        self._flying = {arrival.id: arrival for arrival in taken}
        return taken

    def interrupted(self) -> list[Arrival]:
        """Its publisher has died: what flew has an unknown outcome, and waits again, first in line."""
        flying = list(self._flying.values())
        self.settle((arrival.id, Settled.UNKNOWN) for arrival in flying)
        return flying

    def settle(self, outcomes: Iterable[tuple[str, Settled]], *, alone: bool = False) -> None:
        """Take the outcomes of a batch; what is unknown waits again, first in line, for itself if `alone`.

        An event that the plan wants repeated is published once more after its first acknowledgement.
        """
        again: list[Arrival] = []
        for event_id, outcome in outcomes:
            arrival = self._flying.pop(event_id)
            if outcome is Settled.UNKNOWN:
                again.append(arrival)
                if alone:
                    self._alone.add(event_id)
            elif outcome is Settled.REFUSED:
                self.refused += 1
            elif event_id not in self._repeated:
                self.acked += 1
                if arrival.repeated:
                    self._repeated.add(event_id)
                    self._repeats.append(arrival)
        assert not self._flying, f"no outcome for {sorted(self._flying)}"
        self._todo.extendleft(reversed(again))
