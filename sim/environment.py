"""The one scheduler: SimPy in integer nanoseconds, the order of simultaneous work drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappush
from typing import Any

import simpy
from simpy.core import EmptySchedule
from simpy.events import NORMAL, Event

S = 1_000_000_000
MS = 1_000_000
US = 1_000


class Occurrence:
    """A bare callback in SimPy's queue: what `step` needs of an event, and no more."""

    __slots__ = ("callbacks",)
    _ok = True

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callbacks: list[Callable[[Any], None]] | None = [lambda _: callback()]

    def cancel(self) -> None:
        """Let it pass without effect."""
        if self.callbacks:
            self.callbacks.clear()


class Environment(simpy.Environment):
    """SimPy's environment, which would run simultaneous events in the order of their scheduling: too kind a world."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(initial_time=0)
        self._rng = rng
        self.steps = 0

    @property
    def now_ns(self) -> int:
        """Simulated time since the world began, in ns."""
        return int(self._now)

    def schedule(self, event: Event | Occurrence, priority: int = NORMAL, delay: float = 0) -> None:
        """Put an event into the queue; among those of one moment and priority the seed decides."""
        assert isinstance(delay, int), f"expected whole ns, got {delay!r}"
        drawn = self._rng.getrandbits(30) if priority == NORMAL else 0
        queue: list[Any] = self._queue
        heappush(queue, (self._now + delay, (priority << 32) + drawn, next(self._eid), event))

    def at(self, delay_ns: int, callback: Callable[[], None]) -> Occurrence:
        """Have a callback called after so many ns; answers a handle to cancel it."""
        occurrence = Occurrence(callback)
        self.schedule(occurrence, NORMAL, max(0, delay_ns))
        return occurrence

    def run_until(self, time_ns: int) -> None:
        """Run everything up to and at this moment. What a callback raises passes."""
        queue = self._queue
        while queue and queue[0][0] <= time_ns:
            self.step()
            self.steps += 1
        self._now = max(self._now, time_ns)

    def run_while(self, condition: Callable[[], bool]) -> None:
        """Run while the condition holds, looked at before each step. Raises EmptySchedule if nothing is left."""
        while condition():
            if not self._queue:
                raise EmptySchedule
            self.step()
            self.steps += 1
