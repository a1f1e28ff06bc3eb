"""The statements of the one who leads: the lease, epochs, and the writer's batch behind its fence.

Parts of a statement run in PostgreSQL's order: what the main query reads first, then the rest from the last part back
(`ExecPostprocessPlan`); locks are taken, and errors raised, in that order.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from sim.errors import NotModelled
from sim.postgres.errors import ServerError
from sim.postgres.schema import AgentEvent, DeadLetter, EventStream, OpenAssignment, StreamEpoch, SweepMark
from sim.postgres.statement import EPOCH_BITS, Outcome, Run, Statement, int8, later
from sim.postgres.types import FLOAT8, INT4, INT8, MINUS_INFINITY, TEXT, TEXTS, epoch_s
from sim.postgres.waits import WORKED, Waiting
from system import sql

_REDISPATCHED = re.compile(r"~r[0-9]+\Z")
_INTEGER = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*\Z", re.ASCII)
Texts = Sequence[str | None] | None
Nullable = Any
"""A parameter that goes into a column; the table refuses NULL where it must."""


def _init_state(run: Run, name: Nullable, tag: Nullable, created: Nullable, before: Nullable) -> Waiting[Outcome]:
    tables, snapshot = run.tables, run.snapshot
    watermark = _position(1, before)
    stream = EventStream(name, 1, created, watermark, None, 0, None, MINUS_INFINITY, None)
    found = yield from tables.event_stream.insert_or_find(snapshot, stream)
    yield WORKED
    yield from tables.sweep_mark.insert_or_find(snapshot, SweepMark(name, 0, None))
    yield from tables.stream_epoch.insert_or_find(snapshot, StreamEpoch(1, tag, "first", snapshot.now, 0))
    return Outcome([], "INSERT 0", int(found is None))


def _read_lease(run: Run, name: str | None) -> Outcome:
    row = run.tables.event_stream.find(run.snapshot, name)
    if row is None:
        return Outcome([], "SELECT")
    left_s = -math.inf if row.lease_until == MINUS_INFINITY else epoch_s(row.lease_until) - epoch_s(run.snapshot.now)
    return Outcome([(row.watermark, row.holder, left_s)], "SELECT")


def _take_lease(run: Run, name: str | None, holder: str | None, lease_s: float | None) -> Waiting[Outcome]:
    now = run.snapshot.now

    def matches(row: EventStream) -> bool:
        if (holder is not None and row.holder == holder) or row.lease_until < now:
            return True
        return lease_s is not None and row.lease_until > later(now, 2 * lease_s)

    def change(row: EventStream) -> EventStream:
        return row._replace(holder=holder, lease_until=later(now, lease_s), fence=int8(row.fence + 1))

    row = yield from _update_stream(run, name, matches, change)
    rows = [] if row is None else [(row.epoch, row.created, row.watermark, row.mark_ns, row.fence)]
    return Outcome(rows, "UPDATE")


def _renew_lease(run: Run, name: str | None, fence: int | None, lease_s: float | None) -> Waiting[Outcome]:
    now = run.snapshot.now
    row = yield from _update_stream(
        run, name, lambda row: row.fence == fence, lambda row: row._replace(lease_until=later(now, lease_s))
    )
    return Outcome([] if row is None else [(row.watermark,)], "UPDATE")


def _release_lease(run: Run, name: str | None, holder: str | None, fence: int | None) -> Waiting[Outcome]:
    def matches(row: EventStream) -> bool:
        return holder is not None and row.holder == holder and (fence is None or row.fence == fence)

    def change(row: EventStream) -> EventStream:
        return row._replace(lease_until=MINUS_INFINITY, fence=int8(row.fence + 1))

    row = yield from _update_stream(run, name, matches, change)
    return Outcome([], "UPDATE", int(row is not None))


def _update_stream(run: Run, name: str | None, matches: Any, change: Any) -> Waiting[EventStream | None]:
    version = run.tables.event_stream.find_version(run.snapshot, name)
    if version is None or not matches(version.row):
        return None
    yield WORKED
    return (yield from run.tables.event_stream.update(run.snapshot, version, matches, change))


def _new_epoch(
    run: Run,
    name: str | None,
    fence: int | None,
    tag: Nullable,
    reason: Nullable,
    created: Nullable,
    before: Nullable,
    last_seq: Nullable,
) -> Waiting[Outcome]:
    def matches(row: EventStream) -> bool:
        return row.fence == fence

    def change(row: EventStream) -> EventStream:
        same = created is not None and row.created == created
        decided_ns = (row.decided_ns if row.mark_ns is None else row.mark_ns) if same else None
        return _begun(row, before)._replace(created=created, mark_ns=None, decided_ns=decided_ns)

    return (yield from _begin_epoch(run, name, matches, change, tag, reason, last_seq))


def _lost_epoch(
    run: Run,
    name: str | None,
    fence: int | None,
    watermark: int | None,
    tag: Nullable,
    reason: Nullable,
    seq: Nullable,
    last_seq: Nullable,
) -> Waiting[Outcome]:
    def matches(row: EventStream) -> bool:
        return row.fence == fence and row.watermark == watermark

    return (yield from _begin_epoch(run, name, matches, lambda row: _begun(row, seq), tag, reason, last_seq))


def _begun(row: EventStream, seq: Nullable) -> EventStream:
    return row._replace(epoch=row.epoch + 1, watermark=_position(row.epoch + 1, seq))


def _begin_epoch(
    run: Run, name: str | None, matches: Any, change: Any, tag: Nullable, reason: Nullable, last_seq: Nullable
) -> Waiting[Outcome]:
    tables, snapshot = run.tables, run.snapshot
    version = tables.event_stream.find_version(snapshot, name)
    if version is None or not matches(version.row):
        return Outcome([], "UPDATE")
    held = yield from tables.event_stream.lock(snapshot, version, matches)
    if held is None:
        return Outcome([], "UPDATE")
    epoch = StreamEpoch(held.epoch + 1, tag, reason, snapshot.now, last_seq)
    yield from tables.stream_epoch.insert(snapshot, epoch)
    yield WORKED
    row = yield from tables.event_stream.update(snapshot, version, matches, change)
    assert row is not None, "the row was locked"
    return Outcome([(row.watermark,)], "UPDATE")


def _tell_by_table(run: Run, name: str | None, fence: int | None, seq: int | None) -> Waiting[Outcome]:
    tables, snapshot = run.tables, run.snapshot
    stream = tables.event_stream.find(snapshot, name)
    if stream is None or stream.fence != fence:
        return Outcome([], "UPDATE")
    version = tables.stream_epoch.find_version(snapshot, stream.epoch)
    assert version is not None, "an epoch is never deleted"

    def change(row: StreamEpoch) -> StreamEpoch:
        return row._replace(last_seq=row.last_seq if seq is None else max(row.last_seq, seq))

    row = yield from tables.stream_epoch.update(snapshot, version, lambda _: True, change)
    return Outcome([], "UPDATE", int(row is not None))


def write_batch(run: Run, *values: Any, is_fenced: bool = True) -> Waiting[Outcome]:
    """WRITE_BATCH."""
    name, fence, before, after = values[:4]
    mark_ns, lease_s, limit_s = values[16:]
    now = run.snapshot.now

    def matches(row: EventStream) -> bool:
        if not is_fenced:
            return fence is not None and before is not None
        return bool(row.fence == fence and row.watermark == before)

    def change(row: EventStream) -> EventStream:
        return row._replace(watermark=after, mark_ns=mark_ns, lease_until=later(now, lease_s))

    if (yield from _update_stream(run, name, matches, change)) is None:
        return Outcome([(0,)], "SELECT")
    yield WORKED
    yield from _write_events(run, values[4:10], limit_s)
    yield from _write_dead(run, values[10:16])
    return Outcome([(1,)], "SELECT")


def _write_events(run: Run, columns: Sequence[Texts], limit_s: float | None) -> Waiting[None]:
    tables, snapshot = run.tables, run.snapshot
    for pos, agent, kept_class, event_id, kind, payload in _rows(columns):
        row = AgentEvent(
            _integer(pos, "bigint", 64),
            agent,
            _integer(kept_class, "smallint", 16),
            event_id,
            kind,
            payload,
            snapshot.now,
        )
        yield from tables.agent_events.insert(snapshot, row)
        if kind == "task.assigned" and agent != "_all" and not _REDISPATCHED.search(event_id):
            assignment = OpenAssignment(row.pos, agent, later(snapshot.now, limit_s), 0)
            yield from tables.open_assignments.insert_or_find(snapshot, assignment)


def _write_dead(run: Run, columns: Sequence[Texts]) -> Waiting[None]:
    table = run.tables.dead_letters
    for pos, last_pos, reason, detail, subject, payload in _rows(columns):
        row = DeadLetter(
            _integer(pos, "bigint", 64),
            _integer(last_pos, "bigint", 64),
            reason,
            detail,
            subject,
            _base64(payload),
            run.snapshot.now,
        )
        yield from table.insert_or_find(run.snapshot, row, table.primary)


def _rows(columns: Sequence[Texts]) -> Iterable[tuple[Nullable, ...]]:
    """`unnest` of several arrays: the shorter ones are filled up with nulls."""
    return zip_longest(*(column or () for column in columns))


def _position(ordinal: int, seq: int | None) -> Nullable:
    return None if seq is None else int8((ordinal << EPOCH_BITS) + seq)


def _integer(text: str | None, kind: str, bits: int) -> Any:
    """A text cast to an integer type, null staying null. Raises ServerError 22P02, 22003."""
    if text is None:
        return None
    if not _INTEGER.match(text):
        if re.search(r"[0-9]_[0-9]|0[xXoObB]", text):
            raise NotModelled(f"expected a decimal integer, got {text!r}")
        raise ServerError("22P02", f'invalid input syntax for type {kind}: "{text}"')
    value = int(text)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ServerError("22003", f'value "{text}" is out of range for type {kind}')
    return value


def _base64(text: str | None) -> bytes | None:
    """`decode(text, 'base64')`. Raises ServerError 22023."""
    if text is None:
        return None
    try:
        return binascii.a2b_base64(re.sub(r"[ \t\n\r]", "", text).encode(), strict_mode=True)
    except binascii.Error:
        raise ServerError("22023", "invalid base64 end sequence") from None


def _mark_redispatched(run: Run, pos: int | None, count: Nullable, limit_s: float | None) -> Waiting[Outcome]:
    table = run.tables.open_assignments

    def matches(row: OpenAssignment) -> bool:
        return bool(count is not None and row.redispatches < count)

    version = table.find_version(run.snapshot, pos)
    if version is None or not matches(version.row):
        return Outcome([], "UPDATE", 0)
    yield WORKED

    def change(row: OpenAssignment) -> OpenAssignment:
        return row._replace(redispatches=count, due_at=later(run.snapshot.now, limit_s))

    row = yield from table.update(run.snapshot, version, matches, change)
    return Outcome([], "UPDATE", int(row is not None))


STATEMENTS = (
    Statement(
        text=sql.INIT_STATE,
        pin="af945666c9ea",
        handler=_init_state,
        parameters=(TEXT, TEXT, TEXT, INT8),
        needs=("event_stream", "sweep_mark", "stream_epoch"),
    ),
    Statement(
        text=sql.READ_LEASE,
        pin="986a55cee202",
        handler=_read_lease,
        parameters=(TEXT,),
        columns=(("watermark", INT8), ("holder", TEXT), ("left_s", FLOAT8)),
        needs=("event_stream",),
    ),
    Statement(
        text=sql.TAKE_LEASE,
        pin="547083c7e495",
        handler=_take_lease,
        parameters=(TEXT, TEXT, FLOAT8),
        columns=(("epoch", INT4), ("created", TEXT), ("watermark", INT8), ("mark_ns", INT8), ("fence", INT8)),
        needs=("event_stream",),
    ),
    Statement(
        text=sql.RENEW_LEASE,
        pin="d94cd3a47bf9",
        handler=_renew_lease,
        parameters=(TEXT, INT8, FLOAT8),
        columns=(("watermark", INT8),),
        needs=("event_stream",),
    ),
    Statement(
        text=sql.RELEASE_LEASE,
        pin="cfe7f676f45f",
        handler=_release_lease,
        parameters=(TEXT, TEXT, INT8),
        needs=("event_stream",),
    ),
    Statement(
        text=sql.NEW_EPOCH,
        pin="24cc405f9124",
        handler=_new_epoch,
        parameters=(TEXT, INT8, TEXT, TEXT, TEXT, INT8, INT8),
        columns=(("watermark", INT8),),
        needs=("event_stream", "stream_epoch", "event_stream.decided_ns", "stream_epoch.last_seq"),
    ),
    Statement(
        text=sql.LOST_EPOCH,
        pin="826b8148f22e",
        handler=_lost_epoch,
        parameters=(TEXT, INT8, INT8, TEXT, TEXT, INT8, INT8),
        columns=(("watermark", INT8),),
        needs=("event_stream", "stream_epoch", "stream_epoch.last_seq"),
    ),
    Statement(
        text=sql.TELL_BY_TABLE,
        pin="dd412feb97b4",
        handler=_tell_by_table,
        parameters=(TEXT, INT8, INT8),
        needs=("event_stream", "stream_epoch", "stream_epoch.last_seq"),
    ),
    Statement(
        text=sql.WRITE_BATCH,
        pin="85dfaaf9d8ee",
        handler=write_batch,
        parameters=(TEXT, INT8, INT8, INT8, *[TEXTS] * 12, INT8, FLOAT8, FLOAT8),
        columns=(("count", INT8),),
        needs=("event_stream", "agent_events", "dead_letters", "open_assignments"),
    ),
    Statement(
        text=sql.MARK_REDISPATCHED,
        pin="f298a8ad5c9c",
        handler=_mark_redispatched,
        parameters=(INT8, INT4, FLOAT8),
        needs=("open_assignments",),
    ),
)
"""Handlers by the exact texts that they stand for."""
