"""By when pg-writer had certainly decided a position: what lies behind it has reached somebody by then."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

NEVER_NS = 1 << 62


class Decided:
    """Upper bounds of the times at which positions were written, or passed over."""

    def __init__(self, seen: Iterable[tuple[int, int]]) -> None:
        """`seen` are (position, time in ns) of everything that agents were sent."""
        both = sorted(seen, reverse=True)
        self._positions = [position for position, _ in reversed(both)]
        self._by_ns = list(accumulate((t_ns for _, t_ns in both), min))[::-1]

    def by_ns(self, position: int) -> int:
        """The earliest time at which somebody had been sent this position or a later one; NEVER_NS if nobody was."""
        place = bisect_left(self._positions, position)
        return self._by_ns[place] if place < len(self._by_ns) else NEVER_NS
