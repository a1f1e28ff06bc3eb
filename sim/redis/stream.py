"""A Redis stream: entries under rising ids, in nodes as the real one has them, for `XTRIM … ~` removes whole nodes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from sim.redis.listpack import EMPTY_BYTES, NODE_BYTES_MAX, NODE_ENTRIES_MAX, element_bytes

Id: TypeAlias = "tuple[int, int]"
"""Milliseconds and a sequence, each of 64 bits."""
Fields: TypeAlias = "tuple[bytes, ...]"
"""Names and values in turns."""
Entry: TypeAlias = "tuple[Id, Fields]"
ID_PART_MAX = 2**64 - 1
ID_MIN: Id = (0, 0)
ID_MAX: Id = (ID_PART_MAX, ID_PART_MAX)
SAME_FIELDS, ITS_OWN_FIELDS = 2, 0
APPROXIMATE_LIMIT = 100 * NODE_ENTRIES_MAX
"""How many entries `~` removes at most, unless told otherwise."""


@dataclass(slots=True)
class Node:
    """A run of entries; those removed from its middle still take room."""

    first: Id
    names: tuple[bytes, ...]
    size_bytes: int
    last: Id
    live: int = 0
    removed: int = 0

    @property
    def is_full(self) -> bool:
        """Whether the next entry begins a new one."""
        return self.size_bytes >= NODE_BYTES_MAX or self.live + self.removed >= NODE_ENTRIES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Trim:
    """What is to be removed: what lies below an id, or what is more than so many."""

    min_id: Id | None = None
    length_max: int | None = None
    is_approximate: bool = False
    limit: int = 0
    """Entries looked at, at most; 0: any number."""


class Stream:
    """Entries by their ids."""

    def __init__(self) -> None:
        self.last_id: Id = ID_MIN
        self.nodes: deque[Node] = deque()
        self._ids: list[Id] = []
        self._fields: list[Fields] = []
        self._gone = 0
        """Of the lists' beginning: cut off now and then, not at each trim."""

    def __len__(self) -> int:
        return len(self._ids) - self._gone

    @property
    def first(self) -> Entry | None:
        """The lowest entry."""
        return (self._ids[self._gone], self._fields[self._gone]) if len(self) else None

    @property
    def last(self) -> Entry | None:
        """The highest entry."""
        return (self._ids[-1], self._fields[-1]) if len(self) else None

    def copy(self) -> Stream:
        """One that shares nothing that changes."""
        other = Stream()
        other.last_id = self.last_id
        other.nodes = deque(
            Node(one.first, one.names, one.size_bytes, one.last, one.live, one.removed) for one in self.nodes
        )
        other._ids, other._fields = self._ids[self._gone :], self._fields[self._gone :]
        return other

    def append(self, id: Id, fields: Fields) -> None:
        """Add an entry above all others."""
        assert id > self.last_id, f"expected an id above {self.last_id}, got {id}"
        names = fields[::2]
        if not self.nodes or self.nodes[-1].is_full:
            master: list[int | bytes] = [1, 0, len(names), *names, 0]
            size = EMPTY_BYTES + sum(map(element_bytes, master))
            self.nodes.append(Node(id, names, size, id))
        node = self.nodes[-1]
        alike = names == node.names
        words: list[int | bytes] = [SAME_FIELDS if alike else ITS_OWN_FIELDS]
        words += [(id[0] - node.first[0]), _signed(id[1] - node.first[1])]
        words += fields[1::2] if alike else (len(names), *fields)
        words.append(len(fields) // 2 + 3 if alike else len(fields) + 4)
        node.size_bytes += sum(map(element_bytes, words))
        node.live += 1
        node.last = id
        self.last_id = id
        self._ids.append(id)
        self._fields.append(fields)

    def between(self, low: Id, high: Id, *, backwards: bool = False) -> Iterator[Entry]:
        """Entries from one id to another, both included."""
        start = bisect_left(self._ids, low, self._gone)
        end = bisect_right(self._ids, high, self._gone)
        places = range(end - 1, start - 1, -1) if backwards else range(start, end)
        return ((self._ids[place], self._fields[place]) for place in places)

    def trim(self, how: Trim) -> int:
        """Remove entries from the beginning; answers how many."""
        removed = 0
        while self.nodes:
            node = self.nodes[0]
            if how.length_max is not None and len(self) <= how.length_max:
                break
            if how.limit and removed + node.live > how.limit:
                break
            if self._is_surplus(node, how):
                self.nodes.popleft()
                self._drop(node.live)
                removed += node.live
                continue
            if not how.is_approximate:
                count = self._surplus_within(node, how)
                node.live -= count
                node.removed += count
                self._drop(count)
                removed += count
            break
        return removed

    def _is_surplus(self, node: Node, how: Trim) -> bool:
        if how.min_id is not None:
            return node.last < how.min_id
        assert how.length_max is not None
        return len(self) - node.live >= how.length_max

    def _surplus_within(self, node: Node, how: Trim) -> int:
        if how.min_id is not None:
            count = 0
            while count < node.live and _as_compared(self._ids[self._gone + count], node.first) < how.min_id:
                count += 1
            return count
        assert how.length_max is not None
        return len(self) - how.length_max

    def _drop(self, count: int) -> None:
        self._gone += count
        if self._gone > 1_000 and self._gone * 2 > len(self._ids):
            del self._ids[: self._gone], self._fields[: self._gone]
            self._gone = 0


def _signed(difference: int) -> int:
    """As the 64 bits that the real one stores."""
    wrapped = difference % 2**64
    return wrapped - 2**64 if wrapped >= 2**63 else wrapped


def _as_compared(id: Id, first: Id) -> Id:
    """The id that an exact trim takes an entry's for: 6.2 keeps both differences to the node's first in 32 bits.

    So entries of one node that are 2^31 ms, or as many sequences, apart are removed too early, or too late.
    """
    ms, seq = (one + _as_int(own - one) for own, one in zip(id, first, strict=True))
    return ms % 2**64, seq % 2**64


def _as_int(difference: int) -> int:
    """What C's int keeps of it."""
    return (difference + 2**31) % 2**32 - 2**31


def id_text(id: Id) -> bytes:
    """As clients know it."""
    return b"%d-%d" % id
