"""The statements of planted bugs: the relay's own, broken in one place each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from faults.planted import texts
from sim.postgres import statements_keeper, statements_reader, statements_writer
from sim.postgres.schema import AgentFloor
from sim.postgres.statement import Outcome, Run, Statement, digest
from sim.postgres.types import INT2, INT8, TEXT, TIMESTAMPTZ
from sim.postgres.waits import Waiting
from system import sql


def _sweep_naming_floors(
    run: Run,
    name: str | None,
    kept_class: int | None,
    retention_s: float | None,
    rows_max: int | None,
    since: int | None,
) -> Waiting[Outcome]:
    deleted = yield from statements_keeper.delete_expired(run, name, kept_class, retention_s, rows_max, since)
    found = []
    for agent in sorted({row.agent for row in deleted}):
        own = [row for row in deleted if row.agent == agent]
        last = max(row.persisted_at for row in own)
        found.append((agent, own[0].kept_class, max(row.pos for row in own), len(own), last))
    return Outcome(found, "SELECT")


def _raise_floor(run: Run, agent: str | None, kept_class: int | None, floor: int | None) -> Waiting[Outcome]:
    table = run.tables.agent_floors
    row = AgentFloor(agent, kept_class, floor)  # type: ignore[arg-type]
    yield from table.upsert(run.snapshot, row, table.primary, lambda old: old._replace(floor=max(old.floor, row.floor)))
    return Outcome([], "INSERT 0", 1)


def _variant(of: str, text: str, handler: object) -> Statement:
    """The relay's statement with another text and handler."""
    known = {
        one.text: one
        for one in (*statements_reader.STATEMENTS, *statements_writer.STATEMENTS, *statements_keeper.STATEMENTS)
    }
    return replace(known[of], text=text, pin=digest(text), handler=handler)  # type: ignore[arg-type]


STATEMENTS = (
    _variant(sql.SWEEP, texts.SWEEP_WITHOUT_FLOORS, partial(statements_keeper.sweep, raises_floors=False)),
    replace(
        _variant(sql.SWEEP, texts.SWEEP_NAMING_FLOORS, _sweep_naming_floors),
        columns=(("agent", TEXT), ("class", INT2), ("floor", INT8), ("count", INT8), ("last", TIMESTAMPTZ)),
    ),
    Statement(
        text=texts.RAISE_FLOOR,
        pin=digest(texts.RAISE_FLOOR),
        handler=_raise_floor,
        parameters=(TEXT, INT2, INT8),
        needs=("agent_floors",),
    ),
    _variant(sql.READ_PAGE, texts.PAGE_FROM_CURSOR, partial(statements_reader.read_page, first=0)),
    _variant(sql.READ_PAGE, texts.PAGE_WITH_OWN_FLOORS, partial(statements_reader.read_page, own_floors=True)),
    _variant(sql.READ_PLACE, texts.PLACE_WITH_OWN_FLOORS, partial(statements_reader.read_place, own_floors=True)),
    _variant(sql.WRITE_BATCH, texts.WRITE_UNFENCED, partial(statements_writer.write_batch, is_fenced=False)),
)
"""Handlers by the exact texts that they stand for; the texts follow the relay's, which are pinned."""
