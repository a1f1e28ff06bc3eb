"""A model broken on purpose is found: in its own arm, by a schedule that is named, and not without the break."""

from __future__ import annotations

import asyncio
import itertools
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from faults.stack import EmbeddedStack
from sim.postgres import statements_keeper, statements_reader, statements_writer
from sim.postgres.backend import Backend
from sim.postgres.blocks import Block
from sim.postgres.engine import Engine
from sim.postgres.statement import Outcome, Run
from sim.postgres.statements import REGISTRY
from sim.postgres.tables import Index, Snapshot, Table, Transaction, Version
from sim.postgres.waits import Waiting
from system import sql
from system.database import Database
from system.migrate import migrate
from tests.sim.postgres.harness import WAIT_S
from tests.sim.postgres.programs import SESSIONS
from tests.sim.postgres.real import RealServer
from tests.sim.postgres.stories import STORIES
from tests.sim.postgres.transcript import Difference, Script, Transcript, held, record

pytestmark = [pytest.mark.stack, pytest.mark.conformance]
Patch = pytest.MonkeyPatch


def no_row_lock(patch: Patch) -> None:
    """A second writer of a row does not wait for the first."""

    def lock(self: Any, snapshot: Snapshot, version: Version[Any], matches: Any) -> Waiting[Version[Any] | None]:
        yield from ()
        return version if version.xmax is None else None

    patch.setattr(Table, "_lock", lock)


def no_second_look(patch: Patch) -> None:
    """A writer that has waited does not look again whether the row still matches."""
    original = Table._lock
    patch.setattr(Table, "_lock", lambda self, snapshot, version, _: original(self, snapshot, version, lambda _: True))


def no_advisory_lock(patch: Patch) -> None:
    """An advisory lock is granted to everybody."""

    def lock(self: Any, key: int, transaction: Transaction) -> Waiting[None]:
        yield from ()

    patch.setattr(Engine, "lock_advisory", lock)


def rollback_keeps_rows(patch: Patch) -> None:
    """ROLLBACK commits."""
    patch.setattr(Block, "abandon", _commit_instead)


def _commit_instead(self: Block) -> None:
    if self.transaction is not None and not self._committing:
        self.engine.commit(self.transaction)
        self.transaction = None


def savepoint_keeps_rows(patch: Patch) -> None:
    """ROLLBACK TO undoes nothing."""

    def undo_to(self: Engine, transaction: Transaction, at: int) -> None:
        del transaction.savepoints[at + 1 :]

    patch.setattr(Engine, "undo_to", undo_to)


def dirty_reads(patch: Patch) -> None:
    """A statement sees what others have not committed."""

    def sees(self: Snapshot, version: Version[Any]) -> bool:
        return version.xmax is None and not (version.xmin is self.transaction and version.cmin >= self.command)

    patch.setattr(Snapshot, "sees", sees)


def errors_do_not_fail_the_block(patch: Patch) -> None:
    """After an error a block goes on."""
    patch.setattr(Block, "fail", lambda self: None)


def fence_ignored(patch: Patch) -> None:
    """WRITE_BATCH writes whoever holds the fence, wherever the watermark stands."""

    def write(run: Run, *values: Any) -> Waiting[Outcome]:
        return statements_writer.write_batch(run, *values, is_fenced=False)

    _handle(patch, sql.WRITE_BATCH, write)


def floors_not_raised(patch: Patch) -> None:
    """SWEEP forgets the floors."""

    def sweep(run: Run, *values: Any) -> Waiting[Outcome]:
        return statements_keeper.sweep(run, *values, raises_floors=False)

    _handle(patch, sql.SWEEP, sweep)


def page_in_disorder(patch: Patch) -> None:
    """READ_PAGE answers its events from the last to the first."""

    def read(run: Run, *values: Any) -> Outcome:
        found = statements_reader.read_page(run, *values)
        return Outcome([*found.rows[:1], *reversed(found.rows[1:])], found.verb)

    _handle(patch, sql.READ_PAGE, read)


def null_is_a_value(patch: Patch) -> None:
    """A NULL in a column that needs a value is stored."""
    patch.setattr(Table, "_new", lambda self, snapshot, row: Version(row, snapshot.transaction, snapshot.command))


def null_equals_null(patch: Patch) -> None:
    """A NULL position is read as 0."""

    def read(run: Run, name: Any, after: int | None, *bounds: int | None) -> Outcome:
        outcome = REGISTRY_BEFORE[sql.READ_TAIL].handler(run, name, after or 0, *bounds)
        assert isinstance(outcome, Outcome)
        return outcome

    _handle(patch, sql.READ_TAIL, read)


def repeats_are_stored(patch: Patch) -> None:
    """The unique index on the events' ids lets everything pass."""
    original = Index.__init__

    def init(self: Any, name: str, key: Any, *, unique: bool = False, ordered: bool = True) -> None:
        original(self, name, key, unique=unique and name != "agent_events_id", ordered=ordered)

    patch.setattr(Index, "__init__", init)


def cancel_ignored(patch: Patch) -> None:
    """A CancelRequest does nothing."""
    original = Backend.interrupt
    patch.setattr(Backend, "interrupt", lambda self, error: error.sqlstate != "57014" and original(self, error))


def now_moves(patch: Patch) -> None:
    """now() moves within a transaction."""
    ticks = itertools.count(1)
    patch.setattr(Snapshot, "now", property(lambda self: self.transaction.now + next(ticks)))


def no_deadlock(patch: Patch) -> None:
    """Nobody notices a deadlock."""
    patch.setattr("sim.postgres.backend.waits_for_itself", lambda _: False)


def lost_connection_commits(patch: Patch) -> None:
    """The end of a connection commits."""
    original = Backend._finish

    def finish(self: Backend) -> None:
        if self._session is not None:
            _commit_instead(self._session._block)
        original(self)

    patch.setattr(Backend, "_finish", finish)


def limit_off_by_one(patch: Patch) -> None:
    """READ_OVERDUE answers one row too many."""

    def read(run: Run, count_below: int | None, rows_max: int | None) -> Outcome:
        more = None if rows_max is None else rows_max + 1
        outcome = REGISTRY_BEFORE[sql.READ_OVERDUE].handler(run, count_below, more)
        assert isinstance(outcome, Outcome)
        return outcome

    _handle(patch, sql.READ_OVERDUE, read)


REGISTRY_BEFORE = dict(REGISTRY)


def _handle(patch: Patch, text: str, handler: Callable[..., Any]) -> None:
    patch.setitem(REGISTRY, text, replace(REGISTRY[text], handler=handler))


def checked_after_the_wait(patch: Patch) -> None:
    """An update looks at its new row only when it has the lock."""

    def update(self: Any, snapshot: Snapshot, version: Version[Any], matches: Any, change: Any) -> Waiting[Any]:
        newest = yield from self._lock(snapshot, version, matches)
        return None if newest is None else self._succeed(snapshot, newest, change(newest.row))

    patch.setattr(Table, "update", update)


def abandoned_is_ended(patch: Patch) -> None:
    """A statement ends with its client."""
    patch.setattr(Backend, "connection_lost", lambda self, exc: self._finish())


BREAKS: dict[Callable[[Patch], None], str] = {
    no_row_lock: "waiting",
    no_second_look: "waiting",
    no_advisory_lock: "waiting",
    no_deadlock: "deadlock",
    rollback_keeps_rows: "nulls",
    savepoint_keeps_rows: "deadlock",
    lost_connection_commits: "deadlock",
    dirty_reads: "waiting",
    errors_do_not_fail_the_block: "nulls",
    fence_ignored: "leading",
    floors_not_raised: "keeping",
    page_in_disorder: "reading",
    limit_off_by_one: "keeping",
    null_is_a_value: "nulls",
    null_equals_null: "nulls",
    repeats_are_stored: "repeats",
    cancel_ignored: "waiting",
    now_moves: "clock",
    checked_after_the_wait: "waiting",
    abandoned_is_ended: "abandoned",
}
"""With the first story that shows it."""


@pytest.fixture(scope="module")
def transcripts(stack: EmbeddedStack) -> list[Transcript]:
    """What the real server answered to the stories; no model has been asked yet."""
    return asyncio.run(_recorded(stack.postgres_dsn))


async def _recorded(dsn: str) -> list[Transcript]:
    name = f"test_{uuid.uuid4().hex}"
    first = RealServer(dsn)
    await (await first.watcher()).execute(f"create database {name}")
    server = RealServer(re.sub(r"/[^/]*$", f"/{name}", dsn))
    database = Database(server.dsn, size_max=1, timeout_s=WAIT_S)
    await migrate(database)
    await database.close()
    found = [
        await record(story, server, Script(actions=[*actions]), sessions=SESSIONS) for story, actions in STORIES.items()
    ]
    await server.close()
    await (await first.watcher()).execute(f"drop database {name} with (force)")
    await first.close()
    return found


async def _all_held(transcripts: list[Transcript]) -> None:
    for transcript in transcripts:
        await held(transcript)


async def test_the_whole_model_holds(transcripts: list[Transcript]) -> None:
    """Without a break there is no difference: whatever the breaks show is theirs."""
    await _all_held(transcripts)
    assert [transcript.name for transcript in transcripts] == list(STORIES)


@pytest.mark.parametrize(("break_it", "story"), BREAKS.items(), ids=lambda one: getattr(one, "__name__", ""))
async def test_a_broken_model_is_found(
    transcripts: list[Transcript], break_it: Callable[[Patch], None], story: str, monkeypatch: Patch
) -> None:
    """The comparison finds the break, and names the story; the real server's arm knows nothing of it."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: None)  # a broken model may break down, too
    break_it(monkeypatch)
    with pytest.raises(Difference, match=f"^{story}: ") as found:
        await _all_held(transcripts)
    assert found.value.name == story
