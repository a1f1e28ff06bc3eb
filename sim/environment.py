"""The one scheduler: SimPy in integer nanoseconds, the order of simultaneous work drawn from the seed."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.core import EmptySchedule
from simpy.events import NORMAL, Event

from sim.errors import StandsStill

S = 1_000_000_000
MS = 1_000_000
US = 1_000
LOOK_STEPS = 20_000
"""More than ever happen at one moment, unless something goes round in circles."""
COLLECT_LOOKS = 10
"""After so many times so many steps garbage is collected."""
_NORMAL = NORMAL << 32


class Occurrence:
    """A bare callback in SimPy's queue: the least that can happen at a time."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Let it pass without effect."""
        self.callback = None


class Environment(simpy.Environment):
    """SimPy's environment, which would run simultaneous events in the order of their scheduling: too kind a world."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(initial_time=0)
        self._draw = rng.getrandbits
        self._next: Occurrence | None = None
        self.steps = 0

    @property
    def now_ns(self) -> int:
        """Simulated time since the world began, in ns."""
        return int(self._now)

    def schedule(self, event: Event | Occurrence, priority: int = NORMAL, delay: float = 0) -> None:
        """Put an event into the queue; among those of one moment and priority the seed decides."""
        assert isinstance(delay, int), f"expected whole ns, got {delay!r}"
        drawn = self._draw(30) if priority == NORMAL else 0
        queue: list[Any] = self._queue
        heappush(queue, (self._now + delay, (priority << 32) + drawn, next(self._eid), event))

    def at(self, delay_ns: int, callback: Callable[[], object]) -> Occurrence:
        """Have a callback called after so many ns; answers a handle to cancel it."""
        occurrence = Occurrence(callback)
        due: Any = self._now + delay_ns if delay_ns > 0 else self._now
        entry: Any = (due, _NORMAL + self._draw(30), next(self._eid), occurrence)
        heappush(self._queue, entry)
        return occurrence

    def soon(self, callback: Callable[[], object]) -> Occurrence:
        """As `at(0, callback)`, and for the only thing that is to happen at this moment without the queue's work."""
        if self._next is not None or (self._queue and self._queue[0][0] <= self._now):
            return self.at(0, callback)
        self._next = occurrence = Occurrence(callback)
        return occurrence

    def is_next_later(self) -> bool:
        """Whether nothing else is to happen at this very moment."""
        return self._next is None and (not self._queue or self._queue[0][0] > self._now)

    def step(self) -> None:
        """Let the next event happen. Raises EmptySchedule, and what a failed event or a callback raises."""
        self._queue_next()
        if not self._queue:
            raise EmptySchedule
        entry: Any = heappop(self._queue)
        self._now, event = entry[0], entry[3]
        self.steps += 1
        if event.__class__ is Occurrence:
            callback = event.callback
            if callback is not None:
                event.callback = None
                callback()
            return
        callbacks, event.callbacks = event.callbacks, None
        for callback in callbacks:
            callback(event)
        if not event._ok and not event.defused:
            raise event._value

    def run_until(self, time_ns: int) -> None:
        """Run everything up to and at this moment. Raises StandsStill; what a callback raises passes."""
        self._queue_next()
        queue, due, began_ns = self._queue, self.steps + LOOK_STEPS, self._now
        while queue and queue[0][0] <= time_ns:
            self.step()
            self._queue_next()
            if self.steps >= due:
                due, began_ns = self._went_on(began_ns)
        self._now = max(self._now, time_ns)

    def empty(self) -> None:
        """Let nothing happen any more."""
        self._queue.clear()
        self._next = None

    def run_to_end_of(self, process: simpy.Process) -> None:
        """Run until a SimPy process has ended. Raises EmptySchedule if nothing is left, StandsStill, and as `step`.

        Garbage is collected now and then by the count of steps: Python's own moments would follow from what else the
        interpreter has allocated, and what is collected may still run a `finally`.
        """
        queue, due, began_ns = self._queue, self.steps + LOOK_STEPS, self._now
        is_alive, looks = process.is_alive, 0
        while is_alive:
            occurrence = self._next
            if occurrence is not None:
                self._next = None
                if queue and queue[0][0] <= self._now:
                    heappush(queue, self._entry(0, occurrence))  # not the only one: the seed decides
                    continue
            elif not queue:
                raise EmptySchedule
            else:
                entry: Any = heappop(queue)
                occurrence = entry[3]
                if occurrence.__class__ is not Occurrence:
                    heappush(queue, entry)
                    self.step()
                    is_alive = process.is_alive  # it ends in an event of SimPy's, not in a bare callback
                    continue
                self._now = entry[0]
            self.steps += 1
            callback = occurrence.callback
            if callback is not None:
                occurrence.callback = None
                callback()
            if self.steps >= due:
                due, began_ns = self._went_on(began_ns)
                looks += 1
                if looks % COLLECT_LOOKS == 0:
                    gc.collect()

    def _went_on(self, began_ns: float) -> tuple[int, float]:
        """When to look again, and the time now, which must be later than then. Raises StandsStill."""
        if self._now == began_ns:
            raise StandsStill(
                f"expected simulated time to pass, but {LOOK_STEPS:,} steps were at {self._now / S:.9f} s; "
                "look for a loop that waits for a moment that has come already"
            )
        return self.steps + LOOK_STEPS, self._now

    def _entry(self, delay_ns: int, occurrence: Occurrence) -> Any:
        return (self._now + delay_ns, _NORMAL + self._draw(30), next(self._eid), occurrence)

    def _queue_next(self) -> None:
        """Put what waits beside the queue into it."""
        occurrence, self._next = self._next, None
        if occurrence is not None:
            heappush(self._queue, self._entry(0, occurrence))
