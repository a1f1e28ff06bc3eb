"""The transaction of one session: implicit or a block, its savepoints, its failure, its end.

Source: PostgreSQL's `xact.c`; an error undoes at once what the innermost savepoint, or the transaction, did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import GeneratorType
from typing import Any

from sim.postgres.control import Control, Verb
from sim.postgres.engine import Engine
from sim.postgres.errors import ServerError
from sim.postgres.statement import Outcome, Run, Statement
from sim.postgres.tables import Transaction
from sim.postgres.types import timestamp_us
from sim.postgres.waits import WORKED, Durable, Waiting

_NAMED = {
    Verb.SAVEPOINT: "SAVEPOINT",
    Verb.RELEASE: "RELEASE SAVEPOINT",
    Verb.ROLLBACK_TO: "ROLLBACK TO SAVEPOINT",
}
"""How errors name what works within blocks only."""


class Block:
    """Which transaction a session is in, and how it goes on."""

    def __init__(self, engine: Engine, now_ns: Callable[[], int], on_warning: Callable[[ServerError], None]) -> None:
        self.status = "I"
        """`I` outside a transaction block, `T` within one, `E` within a failed one."""
        self.transaction: Transaction | None = None
        self.engine = engine
        self._committing = False
        self._now_ns = now_ns
        self._on_warning = on_warning

    @property
    def failed(self) -> bool:
        """Whether only the end of the block is heeded."""
        return self.status == "E"

    def begun(self) -> Transaction:
        """The transaction, begun now unless it was before: `now()` stands still from here on."""
        if self.transaction is None:
            self.transaction = Transaction(timestamp_us(self._now_ns()))
        return self.transaction

    def run(self, statement: Statement, values: Sequence[Any]) -> Waiting[Outcome]:
        """Run a statement. Raises ServerError; then `fail` is to follow."""
        transaction = self.begun()
        yield WORKED
        snapshot = self.engine.snapshot(transaction)
        try:
            outcome = statement.handler(Run(self.engine, snapshot), *values)
            if isinstance(outcome, GeneratorType):
                outcome = yield from outcome
            assert isinstance(outcome, Outcome), statement.text
            if outcome.notice is not None:
                self._on_warning(outcome.notice)
            return outcome
        finally:
            self.engine.release(snapshot)

    def end_implicit(self) -> Waiting[None]:
        """Commit what was begun outside a block."""
        if self.status == "I" and self.transaction is not None:
            yield from self._commit(self.transaction)

    def fail(self) -> None:
        """Undo at once: up to the last savepoint, or everything."""
        if self.transaction is not None and not self.failed:
            if self.transaction.savepoints:
                self.engine.undo_to(self.transaction, len(self.transaction.savepoints) - 1)
            else:
                self.abandon()
        if self.status == "T":
            self.status = "E"

    def abandon(self) -> None:
        """Roll back, unless the commit record is written."""
        if self.transaction is not None and not self._committing:
            self.engine.abort(self.transaction)
            self.transaction = None

    def control(self, control: Control) -> Waiting[str]:
        """Run a control statement; answers its tag. Raises ServerError 25P01, 3B001."""
        verb = control.verb
        if verb is Verb.BEGIN:
            if self.status == "T":
                self._warn("25001", "there is already a transaction in progress")
            self.begun()
            self.status = "T"
            return "BEGIN"
        if verb in (Verb.COMMIT, Verb.ROLLBACK):
            tag: str = yield from self._end(verb)
            return tag
        if self.status == "I":
            raise ServerError("25P01", f"{_NAMED[verb]} can only be used in transaction blocks")
        transaction = self.transaction
        if transaction is None:  # the whole block failed, and its savepoints with it
            raise ServerError("3B001", f'savepoint "{control.savepoint}" does not exist')
        if verb is Verb.SAVEPOINT:
            self.engine.save(transaction, control.savepoint)
            return "SAVEPOINT"
        at = self.engine.find_savepoint(transaction, control.savepoint)
        if verb is Verb.RELEASE:
            del transaction.savepoints[at:]
            return "RELEASE"
        self.engine.undo_to(transaction, at)
        self.status = "T"
        return "ROLLBACK"

    def _end(self, verb: Verb) -> Waiting[str]:
        if self.status == "I":
            self._warn("25P01", "there is no transaction in progress")
            return verb.value
        failed, self.status = self.failed, "I"
        if failed or verb is Verb.ROLLBACK:
            self.abandon()
            return "ROLLBACK"
        assert self.transaction is not None, "a block that did not fail has its transaction"
        yield from self._commit(self.transaction)
        return "COMMIT"

    def _commit(self, transaction: Transaction) -> Waiting[None]:
        lsn = self.engine.write_commit(transaction)
        self._committing = True
        if lsn is not None:
            yield Durable(lsn)
        self.engine.commit(transaction)
        self._committing = False
        self.transaction = None

    def _warn(self, sqlstate: str, message: str) -> None:
        self._on_warning(ServerError(sqlstate, message, severity="WARNING"))
