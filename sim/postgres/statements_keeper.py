"""The statements that delete: the sweep with its floors, acknowledgements, old dead letters.

Parts run in PostgreSQL's order, as in `statements_writer`.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from sim.postgres.schema import AgentAck, AgentEvent, AgentFloor, OpenAssignment, SweepMark
from sim.postgres.statement import EPOCH_BITS, Outcome, Run, Statement, earlier, limit
from sim.postgres.types import FLOAT8, INT2, INT8, MINUS_INFINITY, TEXT, TIMESTAMPTZ
from sim.postgres.waits import WORKED, Waiting
from system import sql


def delete_expired(
    run: Run,
    name: str | None,
    kept_class: int | None,
    retention_s: float | None,
    rows_max: int | None,
    since: int | None,
) -> Waiting[list[AgentEvent]]:
    """The parts of a sweep that delete, and raise its mark."""
    tables, snapshot = run.tables, run.snapshot
    deleted: list[AgentEvent] = []
    most = limit(rows_max)
    last = earlier(snapshot.now, retention_s)
    if kept_class is not None and last is not None:
        low = (kept_class, MINUS_INFINITY if since is None else since)
        high = (kept_class, last + 1)
        seen = (version for version in tables.events_sweep.between(low, high) if snapshot.sees(version))
        doomed = sorted(islice(seen, most), key=lambda version: version.row.pos)
        for at, version in enumerate(doomed):
            if at == len(doomed) // 2:
                yield WORKED
            row = yield from tables.agent_events.delete(snapshot, version)
            if row is not None:
                deleted.append(row)
    if not deleted:
        return deleted
    yield WORKED
    yield from _raise_mark(run, name, max(row.pos for row in deleted))
    for row in deleted:
        assignment = tables.open_assignments.find_version(snapshot, row.pos)
        if assignment is not None:
            yield from tables.open_assignments.delete(snapshot, assignment)
    return deleted


def sweep(run: Run, *values: Any, raises_floors: bool = True) -> Waiting[Outcome]:
    """SWEEP."""
    deleted = yield from delete_expired(run, *values)
    if not deleted:
        return Outcome([(0, None)], "SELECT")
    if raises_floors:
        yield from _raise_floors(run, deleted)
    return Outcome([(len(deleted), max(row.persisted_at for row in deleted))], "SELECT")


def _raise_mark(run: Run, name: str | None, swept: int) -> Waiting[None]:
    table = run.tables.sweep_mark
    mark = SweepMark(name, swept, None)  # type: ignore[arg-type]
    yield from table.upsert(run.snapshot, mark, table.primary, lambda row: row._replace(swept=max(row.swept, swept)))


def _raise_floors(run: Run, deleted: list[AgentEvent]) -> Waiting[None]:
    table = run.tables.agent_floors
    highest: dict[tuple[str, int], int] = {}
    for row in deleted:
        key = row.agent, row.kept_class
        highest[key] = max(highest.get(key, row.pos), row.pos)
    for (agent, kept_class), floor in sorted(highest.items()):

        def change(row: AgentFloor, floor: int = floor) -> AgentFloor:
            return row._replace(floor=max(row.floor, floor))

        yield from table.upsert(run.snapshot, AgentFloor(agent, kept_class, floor), table.primary, change)


def _note_swept(run: Run, name: str | None, begun: int | None) -> Waiting[Outcome]:
    table = run.tables.sweep_mark
    mark = SweepMark(name, 0, begun)  # type: ignore[arg-type]
    yield from table.upsert(run.snapshot, mark, table.primary, lambda row: row._replace(completed_at=begun))
    return Outcome([], "INSERT 0", 1)


def _store_ack(run: Run, name: str | None, agent: str | None, acked: int | None) -> Waiting[Outcome]:
    tables, snapshot = run.tables, run.snapshot
    stream = tables.event_stream.find(snapshot, name)
    is_current = stream is not None and acked is not None and stream.epoch == acked >> EPOCH_BITS
    watermark = stream.watermark if stream is not None and is_current else None
    if watermark is None or acked is None or acked > watermark:
        return Outcome([(watermark, None)], "SELECT")

    def change(row: AgentAck) -> AgentAck:
        return row._replace(acked=max(row.acked, acked), acked_at=snapshot.now)

    table = tables.agent_acks
    ack = AgentAck(agent, acked, snapshot.now)  # type: ignore[arg-type]
    stored = yield from table.upsert(snapshot, ack, table.primary, change)
    yield WORKED

    def matches(row: OpenAssignment) -> bool:
        return row.agent == agent and row.pos <= acked

    closed = tables.assignments_by_agent.between((agent, MINUS_INFINITY), (agent, acked + 1))
    for version in [version for version in closed if snapshot.sees(version)]:
        yield from tables.open_assignments.delete(snapshot, version, matches)
    return Outcome([(watermark, stored.acked)], "SELECT")


def _prune_dead_letters(run: Run, retention_s: float | None) -> Waiting[Outcome]:
    if not any(run.tables.dead_letters.rows(run.snapshot)):
        return Outcome([], "DELETE", 0)  # the limit is looked at with each row, so with none not at all
    before = earlier(run.snapshot.now, retention_s)
    if before is None:
        return Outcome([], "DELETE", 0)
    old = run.tables.letters_recorded.between((MINUS_INFINITY, MINUS_INFINITY), (before, MINUS_INFINITY))
    count = 0
    for version in [version for version in old if run.snapshot.sees(version)]:
        row = yield from run.tables.dead_letters.delete(run.snapshot, version)
        count += row is not None
    return Outcome([], "DELETE", count)


STATEMENTS = (
    Statement(
        text=sql.SWEEP,
        pin="81cface63396",
        handler=sweep,
        parameters=(TEXT, INT2, FLOAT8, INT8, TIMESTAMPTZ),
        columns=(("count", INT8), ("last", TIMESTAMPTZ)),
        needs=("agent_events", "agent_floors", "open_assignments", "sweep_mark"),
    ),
    Statement(
        text=sql.NOTE_SWEPT,
        pin="93d8d5f61911",
        handler=_note_swept,
        parameters=(TEXT, TIMESTAMPTZ),
        needs=("sweep_mark", "sweep_mark.completed_at"),
    ),
    Statement(
        text=sql.STORE_ACK,
        pin="adb29f0e2b0e",
        handler=_store_ack,
        parameters=(TEXT, TEXT, INT8),
        columns=(("watermark", INT8), ("acked", INT8)),
        needs=("event_stream", "open_assignments", "agent_acks"),
    ),
    Statement(
        text=sql.PRUNE_DEAD_LETTERS,
        pin="e41aad2d1012",
        handler=_prune_dead_letters,
        parameters=(FLOAT8,),
        needs=("dead_letters",),
    ),
)
"""Handlers by the exact texts that they stand for."""
