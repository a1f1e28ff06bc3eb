"""What a migration run executes: the advisory lock, its own table, and the migration files by their exact texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

from sim.errors import NotModelled
from sim.postgres.errors import ServerError
from sim.postgres.schema import Relation, SchemaMigration
from sim.postgres.statement import Outcome, Run, Statement, digest
from sim.postgres.types import INT4, INT8, TEXT, VOID
from sim.postgres.waits import Waiting

LOCK = "SELECT pg_advisory_xact_lock($1)"
CREATE_OWN = (
    "CREATE TABLE IF NOT EXISTS schema_migration"
    " (number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
)
READ_APPLIED = "SELECT number FROM schema_migration"
NOTE_APPLIED = "INSERT INTO schema_migration (number, name) VALUES ($1, $2)"
RESET = "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"
"""What asyncpg's pool runs when a connection is given back; nothing of it is ever there to reset."""

TABLES = (
    "stream_epoch",
    "event_stream",
    "agent_events",
    "agent_floors",
    "sweep_mark",
    "agent_acks",
    "open_assignments",
    "dead_letters",
    "agent_events_readable",
)


def _lock(run: Run, key: int | None) -> Waiting[Outcome]:
    if key is not None:
        yield from run.engine.lock_advisory(key, run.snapshot.transaction)
    return Outcome([(None,)], "SELECT")


def _create_own(run: Run) -> Waiting[Outcome]:
    if run.engine.has_relation("schema_migration", run.snapshot.transaction):
        message = 'relation "schema_migration" already exists, skipping'
        return Outcome([], "CREATE TABLE", notice=ServerError("42P07", message, severity="NOTICE"))
    yield from run.tables.relation.insert(run.snapshot, Relation("schema_migration"))
    return Outcome([], "CREATE TABLE")


def _read_applied(run: Run) -> Outcome:
    return Outcome([(row.number,) for row in run.tables.schema_migration.rows(run.snapshot)], "SELECT")


def _note_applied(run: Run, number: int, name: str) -> Waiting[Outcome]:
    yield from run.tables.schema_migration.insert(run.snapshot, SchemaMigration(number, name, run.snapshot.now))
    return Outcome([], "INSERT 0", 1)


def _create_tables(run: Run) -> Waiting[Outcome]:
    for name in TABLES:
        if run.engine.has_relation(name, run.snapshot.transaction):
            raise ServerError("42P07", f'relation "{name}" already exists')
        yield from run.tables.relation.insert(run.snapshot, Relation(name))
    return Outcome([], "CREATE VIEW")


def _add_former_epoch(run: Run) -> Waiting[Outcome]:
    yield from _add_column(run, "event_stream", "decided_ns")
    return Outcome([], "ALTER TABLE")


def _add_transport(run: Run) -> Waiting[Outcome]:
    yield from _add_column(run, "sweep_mark", "completed_at")
    yield from _add_column(run, "stream_epoch", "last_seq")
    return Outcome([], "ALTER TABLE")


def _add_column(run: Run, table: str, column: str) -> Waiting[None]:
    found = run.tables.relation.find_version(run.snapshot, table)
    if found is None:
        raise ServerError("42P01", f'relation "{table}" does not exist')
    if found.xmin is not run.snapshot.transaction:
        raise NotModelled("ALTER TABLE of a table in use: it would lock out every statement that reads it")
    yield from run.tables.relation.insert(run.snapshot, Relation(f"{table}.{column}"))


def _reset(_: Run) -> Outcome:
    return Outcome([], "RESET")


_FILES: tuple[tuple[str, str, Callable[[Run], Waiting[Outcome]]], ...] = (
    ("0001_events.sql", "6068016585b9", _create_tables),
    ("0002_former_epoch.sql", "cfaf92bc4415", _add_former_epoch),
    ("0003_transport.sql", "6c04fe250236", _add_transport),
)


def _migrations() -> Sequence[Statement]:
    folder = resources.files("system.migrations")
    return [
        Statement(text=folder.joinpath(name).read_text(encoding="utf-8"), pin=pin, handler=handler)
        for name, pin, handler in _FILES
    ]


STATEMENTS = (
    Statement(
        text=LOCK, pin=digest(LOCK), handler=_lock, parameters=(INT8,), columns=(("pg_advisory_xact_lock", VOID),)
    ),
    Statement(text=CREATE_OWN, pin=digest(CREATE_OWN), handler=_create_own),
    Statement(
        text=READ_APPLIED,
        pin=digest(READ_APPLIED),
        handler=_read_applied,
        columns=(("number", INT4),),
        needs=("schema_migration",),
    ),
    Statement(
        text=NOTE_APPLIED,
        pin=digest(NOTE_APPLIED),
        handler=_note_applied,
        parameters=(INT4, TEXT),
        needs=("schema_migration",),
    ),
    Statement(text=RESET, pin=digest(RESET), handler=_reset),
    *_migrations(),
)
"""Handlers by the exact texts that they stand for."""
