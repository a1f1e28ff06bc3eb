"""Keys in order: a list of short sorted lists, so that neither end nor middle costs more than a piece of one."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

PIECE_MAX = 512
"""A piece that grows past this is cut in two; moving so many pointers costs less than one step of the interpreter."""


class SortedKeys:
    """A set of keys that can be compared, in their order."""

    def __init__(self) -> None:
        self._pieces: list[list[Any]] = []
        self._lasts: list[Any] = []
        """The last key of each piece."""

    def add(self, key: Any) -> None:
        """Add a key that is not there."""
        if not self._pieces:
            self._pieces.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._pieces) - 1)
        piece = self._pieces[at]
        insort(piece, key)
        if len(piece) > PIECE_MAX:
            # rising keys fill the last piece: cut it at its end, so that full pieces stay behind
            cut = PIECE_MAX if at == len(self._pieces) - 1 and piece[-1] == key else PIECE_MAX // 2
            self._pieces.insert(at + 1, piece[cut:])
            del piece[cut:]
            self._lasts.insert(at, piece[-1])
        self._lasts[at] = piece[-1]
        if at + 1 < len(self._lasts):
            self._lasts[at + 1] = self._pieces[at + 1][-1]

    def remove(self, key: Any) -> None:
        """Remove a key that is there."""
        at = bisect_left(self._lasts, key)
        piece = self._pieces[at]
        index = bisect_left(piece, key)
        assert piece[index] == key, (key, piece[index])
        del piece[index]
        if piece:
            self._lasts[at] = piece[-1]
        else:
            del self._pieces[at], self._lasts[at]

    def between(self, low: Any, high: Any) -> Iterator[Any]:
        """Keys with low <= key < high, in order; the set must not change meanwhile."""
        at = bisect_left(self._lasts, low)
        if at == len(self._pieces):
            return
        start = bisect_left(self._pieces[at], low)
        for number in range(at, len(self._pieces)):
            piece = self._pieces[number]
            for index in range(start, len(piece)):
                key = piece[index]
                if not key < high:
                    return
                yield key
            start = 0

    def __iter__(self) -> Iterator[Any]:
        for piece in self._pieces:
            yield from piece

    def __len__(self) -> int:
        return sum(map(len, self._pieces))
