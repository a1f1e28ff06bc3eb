"""What of a simulated Redis outlives its process: the append-only file, written and then durable.

What was written the kernel has: the end of the process can't undo it. What was synced, or written back by the kernel in
its own time, outlives a loss of power too. Records are lost from the end only, and a transaction is lost whole, for the
server cuts off a torn end when it loads the file (`aof-load-truncated`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sim.redis.keyspace import Kept

Logged: TypeAlias = "tuple[int, tuple[bytes, ...]]"
"""A database and the words of a command."""
Record: TypeAlias = "tuple[Logged, ...]"
"""One command, or all of a transaction."""
REWRITE_AT = 20_000
"""Records at which the file is written anew from what is there, as the real one does at 64 MB."""


class RedisDisk:
    """The file: a base, and the records behind it."""

    def __init__(self) -> None:
        self.base: Kept = ()
        self.records: list[Record] = []
        self._synced = 0
        self.is_full = False
        """No write finds room; what is there is read as before."""

    @property
    def unsynced(self) -> int:
        """Records that a loss of power would take."""
        return len(self.records) - self._synced

    @property
    def is_long(self) -> bool:
        """Whether it is time to write it anew: it has doubled, and is worth the trouble."""
        return self.unsynced == 0 and len(self.records) > max(REWRITE_AT, len(self.base))

    def write(self, records: Sequence[Record]) -> bool:
        """Append; False if there is no room, and then nothing was written."""
        if self.is_full:
            return False
        self.records += records
        return True

    def sync(self) -> None:
        """Make everything durable that was written."""
        self._synced = len(self.records)

    def lose_power(self) -> int:
        """What is not durable is gone; answers how many records."""
        lost = self.unsynced
        del self.records[self._synced :]
        return lost

    def rewrite(self, kept: Kept) -> None:
        """Have this instead of all that is there; it takes its place whole, when it is durable."""
        if not self.is_full:
            self.base, self.records, self._synced = kept, [], 0
