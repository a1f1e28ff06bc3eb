"""All databases: keys, their values, when they expire, and who watches them. It reads no clock and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import TypeAlias, TypeVar

from sim.redis.errors import wrong_type
from sim.redis.stream import Stream
from sim.redis.values import HashValue, SetValue, SortedSet, Value

DATABASES = 16
Watched: TypeAlias = "tuple[int, bytes]"
"""A database and a key."""
Kept: TypeAlias = "tuple[tuple[int, bytes, Value, int | None], ...]"
"""Everything: database, key, value, and when it expires in ms."""
V = TypeVar("V", HashValue, SetValue, SortedSet, Stream)


class Keyspace:
    """The data of one life of a server."""

    def __init__(self) -> None:
        self._values: list[dict[bytes, Value]] = [{} for _ in range(DATABASES)]
        self._expiry_ms: list[dict[bytes, int]] = [{} for _ in range(DATABASES)]
        self._due: list[tuple[int, int, bytes]] = []
        self._versions: dict[Watched, int] = {}
        self._changes = 0

    def get(self, db: int, key: bytes) -> Value | None:
        """What a key holds."""
        return self._values[db].get(key)

    def of_type(self, db: int, key: bytes, kind: type[V]) -> V | None:
        """What a key holds, if it holds this type. Raises Refused for another."""
        value = self._values[db].get(key)
        if value is not None and not isinstance(value, kind):
            raise wrong_type()
        return value

    def put(self, db: int, key: bytes, value: Value) -> None:
        """Let a key hold this, and keep when it expires."""
        self._values[db][key] = value
        self.touch(db, key)

    def delete(self, db: int, key: bytes) -> bool:
        """Whether it was there."""
        if key not in self._values[db]:
            return False
        del self._values[db][key]
        self._expiry_ms[db].pop(key, None)
        self.touch(db, key)
        return True

    def delete_if_empty(self, db: int, key: bytes) -> None:
        """A hash or a set without members is not there; a stream may be empty."""
        value = self._values[db].get(key)
        if value is not None and not isinstance(value, Stream | bytes) and not len(value):
            self.delete(db, key)

    def clear(self) -> None:
        """Forget everything."""
        for db, values in enumerate(self._values):
            for key in tuple(values):
                self.delete(db, key)

    def size(self, db: int) -> int:
        """Keys of a database."""
        return len(self._values[db])

    def expiring(self, db: int) -> int:
        """Keys of a database that will expire."""
        return len(self._expiry_ms[db])

    # Expiry

    def expiry_ms(self, db: int, key: bytes) -> int | None:
        """When a key expires; None for never."""
        return self._expiry_ms[db].get(key)

    def expire_at(self, db: int, key: bytes, when_ms: int | None) -> None:
        """Set or forget when a key expires."""
        if when_ms is None:
            self._expiry_ms[db].pop(key, None)
        else:
            self._expiry_ms[db][key] = when_ms
            heappush(self._due, (when_ms, db, key))
        self.touch(db, key)

    def expire(self, now_ms: int) -> Iterator[Watched]:
        """Delete what has expired; each of it is answered once it is gone."""
        while self._due and self._due[0][0] < now_ms:
            when_ms, db, key = heappop(self._due)
            if self._expiry_ms[db].get(key) == when_ms:
                self.delete(db, key)
                yield db, key

    # WATCH

    def version(self, watched: Watched) -> int:
        """A number that a key's next change raises."""
        return self._versions.setdefault(watched, self._changes)

    def forget_versions(self) -> None:
        """Nobody watches anything any more."""
        self._versions.clear()

    def touch(self, db: int, key: bytes) -> None:
        """A key has changed."""
        if self._versions and (db, key) in self._versions:
            self._changes += 1
            self._versions[db, key] = self._changes

    # The append-only file's own

    def kept(self) -> Kept:
        """Everything, sharing nothing that changes."""
        return tuple(
            (db, key, _copied(value), self._expiry_ms[db].get(key))
            for db, values in enumerate(self._values)
            for key, value in values.items()
        )

    def restore(self, kept: Kept) -> None:
        """Have everything again."""
        for db, key, value, when_ms in kept:
            self.put(db, key, _copied(value))
            if when_ms is not None:
                self.expire_at(db, key, when_ms)


def _copied(value: Value) -> Value:
    match value:
        case HashValue():
            return HashValue(value)
        case SetValue():
            return SetValue(value)
        case SortedSet() | Stream():
            return value.copy()
    return value
