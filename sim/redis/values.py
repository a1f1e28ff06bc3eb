"""What a key may hold, beside a stream: a string (bytes), a hash (dict), a set, a sorted set."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import TypeAlias
from zlib import crc32

from sim.redis.codec import integer
from sim.redis.stream import Stream

NUMBERS_MAX = 512
"""Sets of so many numbers and no more are kept, and told, in their order (`set-max-intset-entries`)."""


class HashValue(dict[bytes, bytes]):
    """Fields in the order of their coming, as the real one has them while they are few and short."""


class SetValue(dict[bytes, None]):
    """Members: in the order of their coming. The real one has them in one that nobody is promised."""

    def told(self) -> tuple[bytes, ...]:
        """All of them: small numbers in their order, as the real one promises nowhere and does."""
        if len(self) <= NUMBERS_MAX and all(integer(one) is not None for one in self):
            return tuple(sorted(self, key=int))
        return tuple(self)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Some members and where to go on, 0 for nowhere: whoever is there from the first call to the last is told."""
        if len(self) <= NUMBERS_MAX and all(integer(one) is not None for one in self):
            return 0, list(self.told())
        behind = sorted((crc32(one) + 1, one) for one in self if crc32(one) >= cursor)
        if len(behind) <= count:
            return 0, [one for _, one in behind]
        upto = behind[count - 1][0]
        return (upto, [one for place, one in behind if place <= upto]) if upto < 2**32 else (0, [m for _, m in behind])


class SortedSet:
    """Members by score, and among equals by their bytes."""

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self._order: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[float, bytes]]:
        return iter(self._order)

    def copy(self) -> SortedSet:
        """One that shares nothing that changes."""
        other = SortedSet()
        other.scores, other._order = dict(self.scores), list(self._order)
        return other

    def put(self, member: bytes, score: float) -> bool:
        """Give a member this score; whether anything changed."""
        before = self.scores.get(member)
        if before == score:
            return False
        if before is not None:
            self._forget(before, member)
        self.scores[member] = score
        insort(self._order, (score, member))
        return True

    def remove(self, member: bytes) -> bool:
        """Whether it was there."""
        score = self.scores.pop(member, None)
        if score is None:
            return False
        self._forget(score, member)
        return True

    def by_rank(self, start: int, end: int) -> list[tuple[float, bytes]]:
        """From one rank to before another."""
        return self._order[start:end]

    def by_score(self, low: float, high: float, *, above: bool, below: bool) -> list[tuple[float, bytes]]:
        """From one score to another; `above` and `below` leave the limits themselves out."""
        by = (bisect_right if above else bisect_left), (bisect_left if below else bisect_right)
        start, end = (find(self._order, limit, key=_score) for find, limit in zip(by, (low, high), strict=True))
        return self._order[start:end]

    def _forget(self, score: float, member: bytes) -> None:
        del self._order[bisect_left(self._order, (score, member))]


def _score(one: tuple[float, bytes]) -> float:
    return one[0]


Value: TypeAlias = bytes | HashValue | SetValue | SortedSet | Stream
