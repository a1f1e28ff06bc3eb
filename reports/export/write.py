"""The export itself: tables and connections, merged by time into one history that says what it can't show.

Publishes are the events that the tables still have, at the moment of their persistence, from which ages count: those of
the window, and whatever a connection of the window was to be sent, however old. What was deleted since is gone from
both sides; the floors say up to where.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reports.export.connections import Connection, Fact, NanosecondsOf, records_of
from reports.export.tables import StoredEvent, Tables
from reports.history import (
    Acked,
    ByClass,
    Epoch,
    Floors,
    Phase,
    Publish,
    Published,
    Record,
    Run,
    Swept,
    Witness,
    encode,
)

ALL_AGENTS = "_all"
SWEEP_JITTER = 1.2
"""A sweep follows the last one after up to so many intervals."""
PROGRESS_EVENTS = 10_000


class ExportRefused(ValueError):
    """What was asked for can't be exported: what was expected, what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the relay was configured with; the exporter runs in the same environment."""

    dsn: str
    stream: str
    retention_critical_s: float
    retention_standard_s: float
    critical_types: frozenset[str]
    sweep_interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From when until when connections are taken, and how far the clocks of replicas and Postgres may be apart."""

    since: datetime
    until: datetime
    clock_slack_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    records: int
    events: int
    connections: int
    unended: int
    deliveries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """The connections of the window: those that are exported, and how many are not, and why."""

    exported: Sequence[Connection]
    torn: int
    """Of these the logs lack lines: one that is missing may have told what now seems to be passed over in silence."""
    ahead: int
    """These were sent more than pg-writer had decided of: the tables do not know it yet."""

    @property
    def unended(self) -> int:
        """Whose end is not in the logs."""
        return sum(one.opened is not None and one.closed is None for one in self.exported)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extent:
    """Which positions are exported, and how many events."""

    low: int
    high: int
    events: int
    began_at: datetime


async def export(
    tables: Tables,
    connections: Sequence[Connection],
    deployment: Deployment,
    window: Window,
    out: Path,
    watch: Callable[[int, int], None] = lambda done, events: None,
) -> Exported:
    """Write the history into a file that is not there yet; `watch` is told events written and events in all.

    Raises ExportRefused, TablesUnreadable, OSError.
    """
    taken = _taken([one for one in connections if _is_within(one, window)], tables)
    extent = await _extent(tables, taken.exported, window)
    facts, forgotten = await _facts(tables, taken.exported)
    ns = NanosecondsOf(extent.began_at)
    others = sorted(
        [
            *(record for one in taken.exported for record in records_of(one, facts, ns)),
            *(Epoch(t_ns=ns(one.began_at), tag=one.tag) for one in tables.epochs),
            *[
                Acked(t_ns=ns(at), agent=agent, cursor=tables.cursor_of(position))
                for agent, position, at in await tables.acks(window.since, window.until)
            ],
        ],
        # epochs first: what comes at the same moment may name them
        key=lambda record: (record.t_ns, not isinstance(record, Epoch)),
    )
    end = [
        *_swept(tables, ns(window.until)),
        await _witness(tables, deployment, window, taken, forgotten=forgotten, t_ns=ns(window.until)),
        Phase(t_ns=ns(window.until), name="end"),
    ]
    unfinished = out.with_name(f"{out.name}.unfinished")
    count = events = 0
    try:
        with unfinished.open("wb") as file:
            file.write(encode(_run(deployment, window, extent, tables, out)))
            async for record in _merged(tables, extent, others, deployment, ns):
                file.write(encode(record))
                count += 1
                events += isinstance(record, Publish)
                if isinstance(record, Publish) and events % PROGRESS_EVENTS == 0:
                    watch(events, extent.events)
            file.writelines(encode(record) for record in end)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return Exported(
        records=count + len(end) + 1,
        events=events,
        connections=len(taken.exported),
        unended=taken.unended,
        deliveries=sum(one.closed.count for one in taken.exported if one.closed is not None),
    )


def _is_within(one: Connection, window: Window) -> bool:
    """By its end, if it has one: what it was sent is known only then."""
    at = one.began_at if one.closed is None else one.closed.timestamp
    return window.since <= at <= window.until


def _taken(within: Sequence[Connection], tables: Tables) -> _Taken:
    whole = [one for one in within if one.is_whole]
    decided = [one for one in whole if not _is_ahead(one, tables)]
    return _Taken(exported=decided, torn=len(within) - len(whole), ahead=len(whole) - len(decided))


def _is_ahead(one: Connection, tables: Tables) -> bool:
    """Where sessions do not read Postgres, what is not stored there yet may be sent, or told to be gone."""
    cursors = [None if one.closed is None else one.closed.reached]
    cursors += [cursor for line in one.told for cursor in (line.critical, line.standard)]
    cursors += [cursor for line in one.sent for cursor in line.cursors[-1:]]
    return any((tables.position_of(cursor) or 0) > tables.watermark for cursor in cursors)


async def _extent(tables: Tables, taken: Sequence[Connection], window: Window) -> _Extent:
    """The positions of the window, and those that its connections were to be sent."""
    low, high = await tables.bounds(window.since, window.until)
    starts = [tables.position_of(one.start) or 0 for one in taken if one.closed is not None]
    ends = [tables.position_of(one.closed.reached) or 0 for one in taken if one.closed is not None]
    lowest = min([*([] if low is None else [low]), *(start + 1 for start in starts)], default=0)
    highest = max([*([] if high is None else [high]), *ends], default=0)
    earliest, events = await tables.earliest(lowest, highest)
    began = [*([] if earliest is None else [earliest]), *(one.began_at for one in taken)]
    return _Extent(low=lowest, high=highest, events=events, began_at=min(began, default=window.since))


async def _facts(tables: Tables, taken: Sequence[Connection]) -> tuple[dict[str, Fact], int]:
    """What is known of each event that was logged as sent, and how many are known no more.

    One that is neither stored nor can have been deleted was nobody's: it stays, so that the judge sees it.
    """
    logged: dict[int, str] = {}
    for one in taken:
        for line in one.sent if one.is_logged else ():
            for cursor in line.cursors:
                position = tables.position_of(cursor)
                if position is None:
                    raise ExportRefused(
                        f"connection {one.name}: expected cursors of this database's epochs, got {cursor!r}; "
                        "are these the logs of its relays?"
                    )
                logged[position] = one.agent
    facts: dict[str, Fact] = {}
    async for position, addressee, event_id, kind in tables.facts(logged):
        facts[tables.cursor_of(position)] = Fact(event_id, kind, addressee)
    forgotten = 0
    for position, agent in logged.items():
        cursor = tables.cursor_of(position)
        if cursor in facts:
            continue
        if position <= max(tables.floors.get((who, of), 0) for who in (agent, ALL_AGENTS) for of in (True, False)):
            forgotten += 1
        else:
            facts[cursor] = Fact(f"unknown@{cursor}", "unknown", agent)
    return facts, forgotten


async def _merged(
    tables: Tables, extent: _Extent, others: Sequence[Record], deployment: Deployment, ns: NanosecondsOf
) -> AsyncIterator[Record]:
    """Events as publishes, and all other records, by time."""
    place = 0
    async for event in tables.events(extent.low, extent.high):
        t_ns = ns(event.persisted_at)
        while place < len(others) and others[place].t_ns < t_ns:
            yield others[place]
            place += 1
        for record in _published(event, tables, deployment, t_ns):
            yield record
    for record in others[place:]:
        yield record


def _published(event: StoredEvent, tables: Tables, deployment: Deployment, t_ns: int) -> Iterable[Record]:
    if event.is_critical != (event.type in deployment.critical_types):
        raise ExportRefused(
            f"event {event.id} of type {event.type}: expected the class that MESHRELAY_CRITICAL_TYPES gives it, got "
            f"{'critical' if event.is_critical else 'standard'} in the table; export with the relay's own settings"
        )
    yield Publish(t_ns=t_ns, publisher="stored", id=event.id, agent=event.agent, type=event.type)
    cursor = tables.cursor_of(event.pos)
    yield Published(t_ns=t_ns, publisher="stored", id=event.id, outcome="acked", cursor=cursor)


def _run(deployment: Deployment, window: Window, extent: _Extent, tables: Tables, out: Path) -> Run:
    slack_s = deployment.sweep_interval_s * SWEEP_JITTER + window.clock_slack_s
    return Run(
        t_ns=0,
        plan=f"export of {deployment.stream}",
        seed=0,
        world="production",
        retention_ns=ByClass(
            critical=round(deployment.retention_critical_s * 1e9), standard=round(deployment.retention_standard_s * 1e9)
        ),
        critical_types=tuple(sorted(deployment.critical_types)),
        slack_ns=round(slack_s * 1e9),
        started_at=extent.began_at.isoformat(),
        versions={"postgres": tables.version},
        command=("meshrelay", "report", "--history", out.name),
    )


def _swept(tables: Tables, t_ns: int) -> Iterator[Record]:
    by_agent: dict[str, dict[bool, int]] = {}
    for (agent, critical), floor in tables.floors.items():
        by_agent.setdefault(agent, {})[critical] = floor
    for agent, floors in by_agent.items():
        shown: Mapping[bool, str] = {critical: tables.cursor_of(floor) for critical, floor in floors.items()}
        yield Swept(t_ns=t_ns, agent=agent, floors=Floors(critical=shown.get(True), standard=shown.get(False)))


async def _witness(
    tables: Tables, deployment: Deployment, window: Window, taken: _Taken, *, forgotten: int, t_ns: int
) -> Witness:
    dead = {one.reason: one.messages for one in await tables.dead_letters(window.since, window.until)}
    lost = dead.pop("lost_in_stream", 0)
    notes = [
        f"Exported from the tables and the relays' logs, {window.since.isoformat()} to {window.until.isoformat()}. "
        "A log says what was sent, not what was read; every connection is judged by itself.",
    ]
    kept_s = deployment.retention_standard_s
    if (tables.now - window.since).total_seconds() > kept_s:
        notes.append(
            f"The window is longer than standard events are kept ({kept_s:g} s): what was deleted is not seen."
        )
    notes += _notes_on(taken)
    if forgotten:
        notes.append(f"Deliveries left out, because their events have been deleted since: {forgotten}.")
    notes += [f"Messages that became dead letters ({reason}): {count}." for reason, count in dead.items()]
    broken = (
        (f"pg-writer found {lost} messages gone from the stream before it had stored them (dead letters)",)
        if lost
        else ()
    )
    return Witness(t_ns=t_ns, broken=broken, notes=tuple(notes))


def _notes_on(taken: _Taken) -> Iterator[str]:
    exported = taken.exported
    if taken.unended:
        yield (
            "Connections without an end in the logs, because they are open or their replica was killed: "
            f"{taken.unended} of {len(exported)}. What these were sent is not known."
        )
    if taken.torn:
        yield f"Connections left out, because the logs lack lines of them: {taken.torn}."
    if taken.ahead:
        yield (
            f"Connections left out, because they were sent what pg-writer had not stored yet: {taken.ahead}. "
            "Export this window again once it has."
        )
    by_types = sum(one.closed is not None and bool(one.closed.types) for one in exported)
    if by_types:
        yield f"Connections that asked for some types only, and are judged by count: {by_types}."
    uncounted = sum(bool(one.sent) and not one.is_logged and one.closed is not None for one in exported) - by_types
    if uncounted > 0:
        yield f"Connections of whose deliveries the logs lack some, and that are judged by count: {uncounted}."
