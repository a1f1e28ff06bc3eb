"""The statements that only read: state, places, pages, the tail, stored ids, overdue assignments, settings."""

from __future__ import annotations

import hashlib
from itertools import accumulate, islice
from typing import Any

from sim.postgres.schema import AgentEvent
from sim.postgres.statement import Outcome, Run, Statement, limit
from sim.postgres.types import BOOL, FLOAT8, INT2, INT4, INT8, TEXT, TEXTS, TIMESTAMPTZ, epoch_s, unix_ns
from system import sql

ALL_AGENTS = "_all"
VERSION_NUMBER = 180_004
CRITICAL, STANDARD = 1, 2


def _read_state(run: Run, name: str | None) -> Outcome:
    tables, snapshot = run.tables, run.snapshot
    stream = tables.event_stream.find(snapshot, name)
    epoch = None if stream is None else tables.stream_epoch.find(snapshot, stream.epoch)
    if stream is None or epoch is None:
        return Outcome([], "SELECT")
    row = (
        stream.epoch,
        epoch.tag,
        stream.created,
        stream.watermark,
        stream.mark_ns,
        stream.decided_ns,
        stream.fence,
        stream.holder,
        _swept(run, name),
        unix_ns(snapshot.now),
    )
    return Outcome([row], "SELECT")


def _swept(run: Run, name: str | None) -> int:
    mark = run.tables.sweep_mark.find(run.snapshot, name)
    return 0 if mark is None else mark.swept


def _read_epochs(run: Run) -> Outcome:
    return Outcome([(row.ordinal, row.tag) for row in run.tables.stream_epoch.rows(run.snapshot)], "SELECT")


def _read_stored_many(run: Run, ids: list[str | None] | None) -> Outcome:
    # an index scan over an array goes through its distinct values in order
    wanted = sorted({one: None for one in ids or () if one is not None})
    found = [run.tables.agent_events.find_version(run.snapshot, one, run.tables.events_by_id) for one in wanted]
    return Outcome([(v.row.id, v.row.pos, _digest(v.row.payload)) for v in found if v is not None], "SELECT")


def _digest(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()


def _read_stored(run: Run, event_id: str | None) -> Outcome:
    found = run.tables.agent_events.find_version(run.snapshot, event_id, run.tables.events_by_id)
    return Outcome([] if found is None else [(found.row.pos, found.row.payload)], "SELECT")


def _read_tail(run: Run, name: str | None, after: int | None, rows_max: int | None, bytes_max: int | None) -> Outcome:
    most = limit(rows_max)
    stream = run.tables.event_stream.find(run.snapshot, name)
    if stream is None:
        return Outcome([], "SELECT")
    events: list[AgentEvent] = []
    if after is not None:
        versions = run.tables.agent_events.primary.between(after + 1, stream.watermark + 1)
        events = list(islice((version.row for version in versions if run.snapshot.sees(version)), most))
    ends = list(accumulate(len(e.payload.encode()) for e in events))
    has_more = _either(_reaches(len(events), rows_max), _reaches(ends[-1] if ends else None, bytes_max))
    rows: list[tuple[Any, ...]] = [(stream.watermark, _swept(run, name), has_more, None, None, None, None)]
    for begin, e in zip([0, *ends], events, strict=False):
        if bytes_max is not None and begin < bytes_max:
            rows.append((None, None, None, e.pos, e.agent, e.type, e.payload))
    return Outcome(rows, "SELECT")


def _reaches(value: int | None, bound: int | None) -> bool | None:
    return None if value is None or bound is None else value >= bound


def _either(one: bool | None, other: bool | None) -> bool | None:
    """OR, where NULL is unknown."""
    if one or other:
        return True
    return None if one is None or other is None else False


def _read_retained(run: Run, name: str | None, after: int | None, rows_max: int | None) -> Outcome:
    most = limit(rows_max)
    snapshot = run.snapshot
    stream = run.tables.event_stream.find(snapshot, name)
    if stream is None:
        return Outcome([], "SELECT")
    rows: list[tuple[Any, ...]] = [(stream.watermark, stream.mark_ns, *[None] * 7)]
    if after is None:
        return Outcome(rows, "SELECT")
    versions = run.tables.agent_events.primary.between(after + 1, stream.watermark + 1)
    events = list(islice((version.row for version in versions if snapshot.sees(version)), most))
    rows += [
        (None, None, e.pos, e.agent, e.kept_class, e.id, e.type, e.payload, snapshot.now - e.persisted_at)
        for e in events
    ]
    floors = [row for row in run.tables.agent_floors.rows(snapshot) if after < row.floor]
    rows += [(None, None, row.floor, row.agent, row.kept_class, *[None] * 4) for row in floors]
    return Outcome(rows, "SELECT")


def _floors(run: Run, agent: str | None, *, own_only: bool = False) -> tuple[int, int]:
    """The agent's critical and standard floor; what is addressed to all counts for each."""
    highest: dict[int, int] = {}
    for one in (agent,) if own_only else dict.fromkeys((agent, ALL_AGENTS)):
        for kept_class in (CRITICAL, STANDARD):
            row = run.tables.agent_floors.find(run.snapshot, (one, kept_class))
            if row is not None:
                highest[kept_class] = max(highest.get(kept_class, row.floor), row.floor)
    return highest.get(CRITICAL, 0), highest.get(STANDARD, 0)


def read_place(run: Run, name: str | None, agent: str | None, *, own_floors: bool = False) -> Outcome:
    """READ_PLACE."""
    stream = run.tables.event_stream.find(run.snapshot, name)
    if stream is None:
        return Outcome([], "SELECT")
    ack = run.tables.agent_acks.find(run.snapshot, agent)
    acked = None if ack is None else ack.acked
    return Outcome([(stream.watermark, stream.epoch, acked, *_floors(run, agent, own_only=own_floors))], "SELECT")


def read_page(
    run: Run,
    name: str | None,
    agent: str | None,
    after: int | None,
    rows_max: int | None,
    *,
    first: int = 1,
    own_floors: bool = False,
) -> Outcome:
    """READ_PAGE; `first` is how far behind the cursor its rows begin."""
    most = limit(rows_max)
    stream = run.tables.event_stream.find(run.snapshot, name)
    if stream is None:
        return Outcome([], "SELECT")
    head = (stream.watermark, *_floors(run, agent, own_only=own_floors))
    found: list[AgentEvent] = []
    for one in (agent, ALL_AGENTS):  # who asks as _all gets everything twice: UNION ALL
        if one is not None and after is not None:
            versions = run.tables.events_replay.between((one, after + first), (one, stream.watermark + 1))
            found += islice((version.row for version in versions if run.snapshot.sees(version)), most)
    found.sort(key=lambda event: event.pos)
    events = [(None, None, None, e.pos, e.type, e.payload) for e in found[:most]]
    return Outcome([(*head, None, None, None), *events], "SELECT")


def _read_ground(run: Run, name: str | None, agent: str | None) -> Outcome:
    tables, snapshot = run.tables, run.snapshot
    stream = tables.event_stream.find(snapshot, name)
    epoch = None if stream is None else tables.stream_epoch.find(snapshot, stream.epoch)
    if stream is None or epoch is None:
        return Outcome([], "SELECT")
    mark = tables.sweep_mark.find(snapshot, name)
    completed_at = None if mark is None else mark.completed_at
    ago_s = None if completed_at is None else epoch_s(snapshot.now) - epoch_s(completed_at)
    row = (stream.epoch, stream.created, stream.watermark, epoch.last_seq, *_floors(run, agent), ago_s)
    return Outcome([row], "SELECT")


def _read_kept(run: Run, positions: list[str | None] | None) -> Outcome:
    wanted = sorted({int(one): None for one in positions or () if one is not None})
    found = [run.tables.agent_events.find(run.snapshot, one) for one in wanted]
    return Outcome([(row.pos,) for row in found if row is not None], "SELECT")


def _read_clock(run: Run) -> Outcome:
    return Outcome([(run.snapshot.now,)], "SELECT")


def _read_overdue(run: Run, count_below: int | None, rows_max: int | None) -> Outcome:
    most = limit(rows_max)
    rows: list[tuple[Any, ...]] = []
    if count_below is None:
        return Outcome(rows, "SELECT")
    for version in run.tables.assignments_due:
        if version.row.due_at >= run.snapshot.now or (most is not None and len(rows) >= most):
            break
        if version.row.redispatches < count_below and run.snapshot.sees(version):
            event = run.tables.agent_events.find(run.snapshot, version.row.pos)
            if event is not None:
                rows.append((version.row.pos, version.row.agent, version.row.redispatches, event.payload))
    return Outcome(rows, "SELECT")


def _read_safety(run: Run) -> Outcome:
    settings = run.engine.settings
    shown = ["on" if on else "off" for on in (settings.fsync, settings.full_page_writes, settings.synchronous_commit)]
    return Outcome([(*shown, VERSION_NUMBER)], "SELECT")


STATEMENTS = (
    Statement(
        text=sql.READ_STATE,
        pin="400894aa43f2",
        handler=_read_state,
        parameters=(TEXT,),
        columns=(
            ("epoch", INT4),
            ("tag", TEXT),
            ("created", TEXT),
            ("watermark", INT8),
            ("mark_ns", INT8),
            ("decided_ns", INT8),
            ("fence", INT8),
            ("holder", TEXT),
            ("swept", INT8),
            ("now_ns", INT8),
        ),
        needs=("event_stream", "stream_epoch", "sweep_mark", "event_stream.decided_ns"),
    ),
    Statement(
        text=sql.READ_EPOCHS,
        pin="3590617af5e7",
        handler=_read_epochs,
        columns=(("ordinal", INT4), ("tag", TEXT)),
        needs=("stream_epoch",),
    ),
    Statement(
        text=sql.READ_STORED_MANY,
        pin="3860e0e98eb8",
        handler=_read_stored_many,
        parameters=(TEXTS,),
        columns=(("id", TEXT), ("pos", INT8), ("digest", TEXT)),
        needs=("agent_events",),
    ),
    Statement(
        text=sql.READ_STORED,
        pin="33ea47edd01e",
        handler=_read_stored,
        parameters=(TEXT,),
        columns=(("pos", INT8), ("payload", TEXT)),
        needs=("agent_events",),
    ),
    Statement(
        text=sql.READ_TAIL,
        pin="2a8b01be439c",
        handler=_read_tail,
        parameters=(TEXT, INT8, INT8, INT8),
        columns=(
            ("watermark", INT8),
            ("swept", INT8),
            ("has_more", BOOL),
            ("pos", INT8),
            ("agent", TEXT),
            ("type", TEXT),
            ("payload", TEXT),
        ),
        needs=("event_stream", "sweep_mark", "agent_events"),
    ),
    Statement(
        text=sql.READ_RETAINED,
        pin="4707f2dfa500",
        handler=_read_retained,
        parameters=(TEXT, INT8, INT8),
        columns=(
            ("watermark", INT8),
            ("mark_ns", INT8),
            ("pos", INT8),
            ("agent", TEXT),
            ("class", INT2),
            ("id", TEXT),
            ("type", TEXT),
            ("payload", TEXT),
            ("age_us", INT8),
        ),
        needs=("event_stream", "agent_events", "agent_floors"),
    ),
    Statement(
        text=sql.READ_PLACE,
        pin="a3567cf65a33",
        handler=read_place,
        parameters=(TEXT, TEXT),
        columns=(("watermark", INT8), ("epoch", INT4), ("acked", INT8), ("critical", INT8), ("standard", INT8)),
        needs=("event_stream", "agent_floors", "agent_acks"),
    ),
    Statement(
        text=sql.READ_GROUND,
        pin="90234f1bbcf8",
        handler=_read_ground,
        parameters=(TEXT, TEXT),
        columns=(
            ("epoch", INT4),
            ("created", TEXT),
            ("watermark", INT8),
            ("last_seq", INT8),
            ("critical", INT8),
            ("standard", INT8),
            ("swept_ago_s", FLOAT8),
        ),
        needs=(
            "event_stream",
            "stream_epoch",
            "sweep_mark",
            "agent_floors",
            "stream_epoch.last_seq",
            "sweep_mark.completed_at",
        ),
    ),
    Statement(
        text=sql.READ_KEPT,
        pin="e0a751aa0f8f",
        handler=_read_kept,
        parameters=(TEXTS,),
        columns=(("pos", INT8),),
        needs=("agent_events",),
    ),
    Statement(text=sql.READ_CLOCK, pin="de0be1abcb28", handler=_read_clock, columns=(("now", TIMESTAMPTZ),)),
    Statement(
        text=sql.READ_PAGE,
        pin="5e83051ae5c7",
        handler=read_page,
        parameters=(TEXT, TEXT, INT8, INT8),
        columns=(
            ("watermark", INT8),
            ("critical", INT8),
            ("standard", INT8),
            ("pos", INT8),
            ("type", TEXT),
            ("payload", TEXT),
        ),
        needs=("event_stream", "agent_floors", "agent_events"),
    ),
    Statement(
        text=sql.READ_OVERDUE,
        pin="4fef8fd2d551",
        handler=_read_overdue,
        parameters=(INT4, INT8),
        columns=(("pos", INT8), ("agent", TEXT), ("count", INT4), ("payload", TEXT)),
        needs=("open_assignments", "agent_events"),
    ),
    Statement(
        text=sql.READ_SAFETY,
        pin="86ccf5945981",
        handler=_read_safety,
        columns=(("fsync", TEXT), ("full_page_writes", TEXT), ("synchronous_commit", TEXT), ("version", INT4)),
    ),
)
"""Handlers by the exact texts that they stand for."""
