"""Tables of row versions, and who sees which: PostgreSQL's READ COMMITTED without its files.

Every transaction that commits gets the next commit number when it becomes visible; a snapshot is the number of the
last one before it, so it sees a version that was made by a commit up to there and not ended by one. Of its own
transaction a statement sees what earlier statements did, never what it does itself: all parts of a statement have
one snapshot. What is rolled back is undone in place, so no version of an aborted transaction is ever met.

Source: PostgreSQL documentation 13.2.1; `heapam_visibility.c`, `nbtinsert.c`, `nodeModifyTable.c`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

from sim.postgres.errors import ServerError, disk_full, null_violation, unique_violation
from sim.postgres.sorted_keys import SortedKeys
from sim.postgres.waits import Ended, Waiting

Row = TypeVar("Row", bound=tuple[Any, ...])

_NEVER = 1 << 62
"""The commit number of what has not committed."""


class Change(Enum):
    """What a transaction did to a version, so that it can be undone or logged."""

    INSERTED = 1
    ENDED = 2
    LOCKED = 3


class Savepoint(NamedTuple):
    """A place in a transaction to go back to."""

    name: str
    changes: int
    advisory: int


class Transaction:
    """One transaction: what it changed, and whether and when it became visible."""

    __slots__ = ("active", "advisory", "changes", "command", "commit_number", "now", "savepoints", "waits_for")

    def __init__(self, now: int) -> None:
        self.now = now
        """What `now()` answers throughout: a timestamptz."""
        self.active = True
        self.commit_number = _NEVER
        self.command = 0
        """Statements begun so far."""
        self.changes: list[tuple[Change, Table[Any], Version[Any]]] = []
        self.savepoints: list[Savepoint] = []
        self.advisory: list[int] = []
        """Keys of its advisory locks, in the order taken."""
        self.waits_for: Transaction | None = None

    def undo(self, changes_kept: int) -> None:
        """Take back the changes after the first so many."""
        while len(self.changes) > changes_kept:
            change, table, version = self.changes.pop()
            if change is Change.INSERTED:
                table.remove(version)
            elif change is Change.ENDED:
                version.xmax = version.successor = None
            else:
                version.locker = None


class Version(Generic[Row]):
    """One version of a row, from its making to its end."""

    __slots__ = ("cmax", "cmin", "locker", "row", "successor", "xmax", "xmin")

    def __init__(self, row: Row, xmin: Transaction, cmin: int) -> None:
        self.row = row
        self.xmin = xmin
        self.cmin = cmin
        self.xmax: Transaction | None = None
        self.cmax = 0
        self.successor: Version[Row] | None = None
        """The version that an update made of it; None if it was deleted."""
        self.locker: Transaction | None = None
        """Who locked the row without changing it: a writer that waited for the row and then found it not to match."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one statement sees."""

    transaction: Transaction
    command: int
    commit_number: int

    @property
    def now(self) -> int:
        """What `now()` answers: when the transaction began."""
        return self.transaction.now

    def sees(self, version: Version[Any]) -> bool:
        """Whether a version is visible."""
        if version.xmin is self.transaction:
            if version.cmin >= self.command:
                return False
        elif version.xmin.commit_number > self.commit_number:
            return False
        ended_by = version.xmax
        if ended_by is None:
            return True
        if ended_by is self.transaction:
            return version.cmax >= self.command
        return ended_by.commit_number > self.commit_number


class Index(Generic[Row]):
    """Versions by a key: unique or not, in order or not."""

    def __init__(self, name: str, key: Callable[[Row], Any], *, unique: bool = False, ordered: bool = True) -> None:
        self.name = name
        self.key = key
        self.unique = unique
        self._versions: dict[Any, list[Version[Row]]] = {}
        self._keys = SortedKeys() if ordered else None

    def add(self, version: Version[Row]) -> None:
        """Enter a version."""
        key = self.key(version.row)
        bucket = self._versions.get(key)
        if bucket is not None:
            bucket.append(version)
            return
        self._versions[key] = [version]
        if self._keys is not None:
            self._keys.add(key)

    def discard(self, version: Version[Row]) -> None:
        """Take a version out, if it is in."""
        key = self.key(version.row)
        bucket = self._versions.get(key)
        if bucket is None or version not in bucket:
            return
        bucket.remove(version)
        if not bucket:
            del self._versions[key]
            if self._keys is not None:
                self._keys.remove(key)

    def of(self, key: Any) -> Sequence[Version[Row]]:
        """All versions with a key."""
        return self._versions.get(key, ())

    def between(self, low: Any, high: Any) -> Iterator[Version[Row]]:
        """Versions with low <= key < high, in order of keys."""
        assert self._keys is not None, self.name
        for key in self._keys.between(low, high):
            yield from self._versions[key]

    def __iter__(self) -> Iterator[Version[Row]]:
        """All versions, in order of keys if the index is ordered, else in that of their making."""
        for key in self._keys if self._keys is not None else self._versions:
            yield from self._versions[key]


class Table(Generic[Row]):
    """The versions of one table's rows, by all its indexes; the first of them is the primary key."""

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        *indexes: Index[Row],
        nullable: Sequence[str] = (),
        check: Callable[[Row], None] | None = None,
    ) -> None:
        self.name = name
        self.indexes = indexes
        self.primary = indexes[0]
        self._columns = tuple(columns)
        self._needed = tuple(at for at, column in enumerate(columns) if column not in nullable)
        self._check = check
        """Raises ServerError 23514."""
        self.has_room: Callable[[], bool] = lambda: True
        """Whether the disk has room for one more row."""

    def remove(self, version: Version[Row]) -> None:
        """Forget a version that nobody can see."""
        for index in self.indexes:
            index.discard(version)

    def restore(self, row: Row, by: Transaction) -> None:
        """Enter a row that is known to be whole, as recovery does."""
        version = Version(row, by, 0)
        for index in self.indexes:
            index.add(version)

    # reading

    def find(self, snapshot: Snapshot, key: Any) -> Row | None:
        """The visible row with this primary key."""
        version = self.find_version(snapshot, key)
        return None if version is None else version.row

    def find_version(self, snapshot: Snapshot, key: Any, index: Index[Row] | None = None) -> Version[Row] | None:
        """The visible version with this key of a unique index, the primary one unless told otherwise."""
        for version in (index or self.primary).of(key):
            if snapshot.sees(version):
                return version
        return None

    def rows(self, snapshot: Snapshot) -> Iterator[Row]:
        """All visible rows, in the order of the primary key."""
        return (version.row for version in self.primary if snapshot.sees(version))

    # writing

    def insert(self, snapshot: Snapshot, row: Row) -> Waiting[None]:
        """Insert a row. Raises ServerError 23502, 23505, 23514, 53100; waits for whoever is inserting the same key."""
        version = self._new(snapshot, row)
        if not self.has_room():
            raise disk_full()
        snapshot.transaction.changes.append((Change.INSERTED, self, version))
        for index in self.indexes:
            while index.unique:
                found = _conflict(index, row, snapshot.transaction)
                if isinstance(found, Version):
                    raise unique_violation(self.name, index.name)
                if found is None:
                    break
                yield Ended(found)
            index.add(version)

    def insert_or_find(
        self, snapshot: Snapshot, row: Row, on_conflict: Index[Row] | None = None
    ) -> Waiting[Version[Row] | None]:
        """Insert a row, or answer the one in its way, `ON CONFLICT`: on one index, or on any unique one.

        Waits for whoever is inserting, changing or deleting it. Raises ServerError 23502, 23514, 53100.
        """
        version = self._new(snapshot, row)
        indexes = [index for index in self.indexes if index.unique] if on_conflict is None else [on_conflict]
        at = 0
        while at < len(indexes):
            found = _conflict(indexes[at], row, snapshot.transaction)
            if isinstance(found, Version):
                return found
            if found is None:
                at += 1
            else:
                yield Ended(found)
                at = 0
        if not self.has_room():
            raise disk_full()
        snapshot.transaction.changes.append((Change.INSERTED, self, version))
        for index in self.indexes:
            assert index in indexes or not index.unique, f"{index.name} is no arbiter, and may conflict"
            index.add(version)
        return None

    def upsert(self, snapshot: Snapshot, row: Row, index: Index[Row], change: Callable[[Row], Row]) -> Waiting[Row]:
        """`INSERT ... ON CONFLICT DO UPDATE`; answers the row as it is then. Raises as `insert_or_find`, and 21000."""
        while True:
            found = yield from self.insert_or_find(snapshot, row, index)
            if found is None:
                return row
            if found.xmin is snapshot.transaction and found.cmin == snapshot.command:
                raise ServerError("21000", "ON CONFLICT DO UPDATE command cannot affect row a second time")
            if found.locker is not None and found.locker.active and found.locker is not snapshot.transaction:
                yield Ended(found.locker)
                continue
            return self._succeed(snapshot, found, change(found.row))

    def update(
        self,
        snapshot: Snapshot,
        version: Version[Row],
        matches: Callable[[Row], bool],
        change: Callable[[Row], Row],
    ) -> Waiting[Row | None]:
        """Update a visible version's row; answers the new row, or None if it is gone or no longer matches.

        The new row is made, and its constraints are checked, before other writers are waited for, and once more if
        there were any (ExecUpdate).
        """
        self._new(snapshot, change(version.row))
        newest = yield from self._lock(snapshot, version, matches)
        return None if newest is None else self._succeed(snapshot, newest, change(newest.row))

    def lock(self, snapshot: Snapshot, version: Version[Row], matches: Callable[[Row], bool]) -> Waiting[Row | None]:
        """Lock a visible version's row (FOR UPDATE); answers it as it is now, or None if it is gone or fits no more."""
        newest = yield from self._lock(snapshot, version, matches)
        if newest is None:
            return None
        self._hold(snapshot, newest)
        return newest.row

    def delete(
        self, snapshot: Snapshot, version: Version[Row], matches: Callable[[Row], bool] = lambda _: True
    ) -> Waiting[Row | None]:
        """Delete a visible version's row; answers it, or None if it is gone or no longer matches."""
        newest = yield from self._lock(snapshot, version, matches)
        if newest is None:
            return None
        self._end(snapshot, newest)
        return newest.row

    def _lock(
        self, snapshot: Snapshot, version: Version[Row], matches: Callable[[Row], bool]
    ) -> Waiting[Version[Row] | None]:
        """Wait for other writers of the row, then look at it again as it is now (EvalPlanQual)."""
        newest = version
        while True:
            for other in (newest.xmax, newest.locker):
                if other is not None and other.active and other is not snapshot.transaction:
                    yield Ended(other)
                    break
            else:
                if newest.xmax is None:
                    break
                if newest.xmax is snapshot.transaction or newest.successor is None:
                    return None  # this statement changed it already, or it was deleted
                newest = newest.successor
        if newest is version:
            return version
        if matches(newest.row):
            return newest
        self._hold(snapshot, newest)
        return None

    def _hold(self, snapshot: Snapshot, version: Version[Row]) -> None:
        if version.locker is not snapshot.transaction:
            version.locker = snapshot.transaction
            snapshot.transaction.changes.append((Change.LOCKED, self, version))

    def _new(self, snapshot: Snapshot, row: Row) -> Version[Row]:
        for at in self._needed:
            if row[at] is None:
                raise null_violation(self.name, self._columns[at])
        if self._check is not None:
            self._check(row)
        return Version(row, snapshot.transaction, snapshot.command)

    def _end(self, snapshot: Snapshot, version: Version[Row]) -> None:
        version.xmax = snapshot.transaction
        version.cmax = snapshot.command
        snapshot.transaction.changes.append((Change.ENDED, self, version))

    def _succeed(self, snapshot: Snapshot, version: Version[Row], row: Row) -> Row:
        successor = self._new(snapshot, row)
        assert self.primary.key(row) == self.primary.key(version.row), (self.name, "no statement changes a key")
        self._end(snapshot, version)
        version.successor = successor
        snapshot.transaction.changes.append((Change.INSERTED, self, successor))
        for index in self.indexes:
            index.add(successor)
        return row


def _conflict(index: Index[Row], row: Row, me: Transaction) -> Version[Row] | Transaction | None:
    """The live version with the row's key, or the transaction that decides whether there is one."""
    for version in index.of(index.key(row)):
        if version.xmin.active and version.xmin is not me:
            return version.xmin
        ended_by = version.xmax
        if ended_by is None:
            return version
        if ended_by.active and ended_by is not me:
            return ended_by
    return None
