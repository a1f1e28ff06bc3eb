"""What of a simulated PostgreSQL outlives its process: committed changes, written and then durable.

A commit writes its record: from then on the kernel has it, and the end of the process can't undo it. Once synced, or
written back by the kernel in its own time, it outlives a loss of power too. Records are lost from the end only: that an
unsynced disk can also come back torn, which fsync=off and full_page_writes=off allow, is not modelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple


class Logged(NamedTuple):
    """One change of a committed transaction: a row's new values, or None for its deletion."""

    table: str
    key: Any
    row: tuple[Any, ...] | None


class PostgresDisk:
    """The durable rows, and the log records that are written but not durable yet."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Any, tuple[Any, ...]]] = {}
        self._unsynced: deque[tuple[int, Sequence[Logged]]] = deque()
        self._lsn = 0
        self._life = 0
        self.is_full = False
        """No table can be made longer; rows are changed and deleted in the room that there is."""

    @property
    def unsynced(self) -> int:
        """Commits that a loss of power would take."""
        return len(self._unsynced)

    def take_over(self) -> int:
        """A new process opens the disk; answers the token of its life, without which it could write nothing."""
        self._life += 1
        return self._life

    def is_open(self, life: int) -> bool:
        """Whether the process of this life still has the disk: a dead one's late timers must change nothing."""
        return life == self._life

    def write(self, changes: Sequence[Logged]) -> int:
        """Write a commit's record; answers its position in the log."""
        self._lsn += 1
        self._unsynced.append((self._lsn, changes))
        return self._lsn

    def sync(self, lsn: int) -> None:
        """Make everything durable that was written up to this position."""
        while self._unsynced and self._unsynced[0][0] <= lsn:
            _apply(self._rows, self._unsynced.popleft()[1])

    def sync_all(self) -> None:
        """Make everything durable that was written."""
        self.sync(self._lsn)

    def lose_power(self) -> None:
        """What is not durable is gone, and so is the process."""
        self._unsynced.clear()
        self._life += 1

    def recover(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """All committed rows that are there, by table, as recovery finds them."""
        if not self._unsynced:
            found = self._rows
        else:
            found = {table: dict(rows) for table, rows in self._rows.items()}
            for _, changes in self._unsynced:
                _apply(found, changes)
        return ((table, row) for table, rows in found.items() for row in rows.values())


def _apply(rows: dict[str, dict[Any, tuple[Any, ...]]], changes: Sequence[Logged]) -> None:
    for change in changes:
        table = rows.setdefault(change.table, {})
        if change.row is None:
            table.pop(change.key, None)
        else:
            table[change.key] = change.row
