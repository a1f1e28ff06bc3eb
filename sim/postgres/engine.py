"""Transactions over the tables: snapshots, commits, rollbacks, advisory locks, and the pruning of dead versions."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from sim.postgres.disk import Logged, PostgresDisk
from sim.postgres.errors import ServerError
from sim.postgres.schema import Tables
from sim.postgres.settings import PostgresSettings
from sim.postgres.tables import Change, Savepoint, Snapshot, Table, Transaction, Version
from sim.postgres.waits import Ended, Waiting


class Engine:
    """The state of one database in memory."""

    def __init__(self, disk: PostgresDisk, settings: PostgresSettings, asked: Counter[str] | None = None) -> None:
        self.settings = settings
        self.asked: Counter[str] = Counter() if asked is None else asked
        """Statements that came: `statement`, or `control` for those that begin and end transactions."""
        self.tables = Tables()
        for table in self.tables.by_name.values():
            table.has_room = lambda: not disk.is_full
        self.ended: list[Transaction] = []
        """Transactions that ended, or rolled back to a savepoint, since the list was last emptied by the host."""
        self._disk = disk
        self._commits = 0
        self._snapshots: list[Snapshot] = []
        self._dead: deque[tuple[int, Table[Any], Version[Any]]] = deque()
        self._advisory: dict[int, Transaction] = {}
        self._relations: dict[str, None] = {}
        """Relations that everybody sees; none is ever dropped."""
        self._recover()

    @property
    def dead_versions(self) -> int:
        """Versions that nobody will see again and that are still kept."""
        return len(self._dead)

    def snapshot(self, transaction: Transaction) -> Snapshot:
        """Begin a statement; `release` its snapshot at its end."""
        transaction.command += 1
        snapshot = Snapshot(transaction, transaction.command, self._commits)
        self._snapshots.append(snapshot)
        return snapshot

    def release(self, snapshot: Snapshot) -> None:
        """End a statement, and forget the versions that only it could still see."""
        for at, held in enumerate(self._snapshots):
            if held is snapshot:
                del self._snapshots[at]
                break
        self._prune()

    def has_relation(self, name: str, transaction: Transaction) -> bool:
        """Whether a table or column is there for this transaction now."""
        if name in self._relations:
            return True
        now = Snapshot(transaction, transaction.command + 1, self._commits)
        version = self.tables.relation.find_version(now, name)
        if version is not None and not version.xmin.active:
            self._relations[name] = None
        return version is not None

    def write_commit(self, transaction: Transaction) -> int | None:
        """Write the transaction's commit record; answers its position, or None if it wrote nothing to log."""
        if not transaction.changes:
            return None
        logged: list[Logged] = []
        for change, table, version in transaction.changes:
            if change is Change.INSERTED:
                logged.append(Logged(table.name, table.primary.key(version.row), version.row))
            elif change is Change.ENDED:
                logged.append(Logged(table.name, table.primary.key(version.row), None))
        return self._disk.write(logged)

    def commit(self, transaction: Transaction) -> None:
        """Make the transaction visible and free its locks."""
        self._commits += 1
        transaction.commit_number = self._commits
        for change, table, version in transaction.changes:
            if change is Change.ENDED:
                self._dead.append((self._commits, table, version))
        self._end(transaction)
        self._prune()

    def abort(self, transaction: Transaction) -> None:
        """Undo the transaction and free its locks."""
        transaction.undo(0)
        self._end(transaction)

    def save(self, transaction: Transaction, name: str) -> None:
        """Set a savepoint."""
        transaction.savepoints.append(Savepoint(name, len(transaction.changes), len(transaction.advisory)))

    def find_savepoint(self, transaction: Transaction, name: str) -> int:
        """The newest savepoint of that name, by its number. Raises ServerError 3B001."""
        for at in range(len(transaction.savepoints) - 1, -1, -1):
            if transaction.savepoints[at].name == name:
                return at
        raise ServerError("3B001", f'savepoint "{name}" does not exist')

    def undo_to(self, transaction: Transaction, at: int) -> None:
        """Undo what came after a savepoint, which stays."""
        savepoint = transaction.savepoints[at]
        del transaction.savepoints[at + 1 :]
        transaction.undo(savepoint.changes)
        for key in transaction.advisory[savepoint.advisory :]:
            del self._advisory[key]
        del transaction.advisory[savepoint.advisory :]
        self.ended.append(transaction)

    def lock_advisory(self, key: int, transaction: Transaction) -> Waiting[None]:
        """Take the advisory lock of this key until the transaction ends."""
        while (holder := self._advisory.get(key)) is not None:
            if holder is transaction:
                return
            yield Ended(holder)
        self._advisory[key] = transaction
        transaction.advisory.append(key)

    def _end(self, transaction: Transaction) -> None:
        for key in transaction.advisory:
            del self._advisory[key]
        transaction.advisory.clear()
        transaction.savepoints.clear()
        transaction.changes = []
        transaction.active = False
        self.ended.append(transaction)

    def _prune(self) -> None:
        oldest = min([snapshot.commit_number for snapshot in self._snapshots], default=self._commits)
        while self._dead and self._dead[0][0] <= oldest:
            _, table, version = self._dead.popleft()
            table.remove(version)

    def _recover(self) -> None:
        past = Transaction(0)
        past.active = False
        past.commit_number = 0
        for table, row in self._disk.recover():
            self.tables.by_name[table].restore(row, past)


def waits_for_itself(transaction: Transaction) -> bool:
    """Whether a waiting transaction waits, over others, for itself."""
    seen: list[Transaction] = []
    current = transaction.waits_for
    while current is not None and not any(current is one for one in seen):
        if current is transaction:
            return True
        seen.append(current)
        current = current.waits_for
    return False
