"""What an operator would have of a simulated world: its tables and the logs of its replicas, exported now and then.

    plan ──▶ world ──┬─▶ its own history, which knows everything ───────────────▶ verdict
                     └─▶ session lines, and the tables as of some moments ─▶ export ─▶ verdict

An export knows only what is stored then and what relays say of themselves, each by a clock of its own. Of a world that
held it must accuse nobody, whatever was cut, killed or set wrong.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from faults.plan import Plan
from faults.recorder import Recorder
from reports.api import judge
from reports.export.connections import gathered
from reports.export.logs import read_lines
from reports.export.tables import CRITICAL, DeadLetters, EpochKnown, StoredEvent, Tables
from reports.export.write import Deployment, Exported, Window, export
from reports.report import Report
from sim.environment import S
from sim.loop import HostLoop
from sim.postgres.disk import PostgresDisk
from sim.programs import relay_settings
from sim.world import World

EXPORTS = 6
"""Of a plan, at most: its last ones, and that of its end."""
PACE = 0.6
"""Of the shortest retention, between two exports: what an export is to show must be stored still."""
PACE_MIN_S = 1.0
CLOCK_SLACK_S = 5.0
"""As the command has it by default, beside what the plan says of its clocks."""
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One export, judged."""

    history: Path
    exported: Exported
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """What came of a world: by all that is known of it, and by what its operator knows."""

    report: Report
    exports: Sequence[Export]


def play_as_production(plan: Plan, folder: Path, *, delivery_log: bool = False) -> Production:
    """Play a plan and export it, as it goes on and at its end; histories are left in the folder.

    Raises WorldFailed, NotModelled, LogInvalid, ExportRefused, OSError.
    """
    path = folder / "history.jsonl"
    lines = SessionLines()
    world = World(
        plan, lambda clock_ns: Recorder(path, clock_ns=clock_ns), on_log=lines.hear, delivery_log=delivery_log
    )
    seen: list[tuple[Tables, int]] = []

    def look() -> None:
        now = _wall(world.postgres.host.clock.wall_ns())
        seen.append((StoredThen(world.postgres.disk, now), len(lines.lines)))

    world.environment.process(_now_and_then(world, plan, look))
    world.run()
    look()
    exports = [
        made
        for number, (tables, logged) in enumerate(seen[-EXPORTS:], start=1)
        if (made := _exported(plan, tables, lines.lines[:logged], folder / f"export-{number}.jsonl")) is not None
    ]
    return Production(report=judge(path), exports=exports)


class SessionLines:
    """The lines of sessions, as `meshrelay serve` would write them: JSON, with the time of the replica's own clock."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def hear(self, line: Mapping[str, Any]) -> None:
        """A line is being logged; what is buried when the world ends logs none."""
        loop = asyncio.get_running_loop()
        if line["event"].startswith("session.") and isinstance(loop, HostLoop):
            timestamp = _wall(loop.process.host.clock.wall_ns()).isoformat()
            self.lines.append(msgspec.json.encode({**line, "timestamp": timestamp}))


class StoredThen(Tables):
    """The rows that a simulated Postgres has on its disk now."""

    def __init__(self, disk: PostgresDisk, now: datetime) -> None:
        rows: defaultdict[str, list[Any]] = defaultdict(list)
        for table, row in disk.recover():
            rows[table].append(row)
        self._rows = rows
        self._events = sorted(rows["agent_events"], key=lambda row: row.pos)
        epochs = sorted(rows["stream_epoch"], key=lambda row: row.ordinal)
        floors = sorted(rows["agent_floors"], key=lambda row: (row.agent, row.kept_class))
        super().__init__(
            now=now,
            version="simulated",
            watermark=max((row.watermark for row in rows["event_stream"]), default=0),
            epochs=[EpochKnown(ordinal=row.ordinal, tag=row.tag, began_at=_time(row.began_at)) for row in epochs],
            floors={(row.agent, row.kept_class == CRITICAL): row.floor for row in floors},
        )

    async def bounds(self, since: datetime, until: datetime) -> tuple[int | None, int | None]:
        """The lowest position stored since one time, and the highest stored until another (Tables)."""
        later = (row.pos for row in self._events if _time(row.persisted_at) >= since)
        earlier = (row.pos for row in self._events if _time(row.persisted_at) <= until)
        return min(later, default=None), max(earlier, default=None)

    async def earliest(self, low: int, high: int) -> tuple[datetime | None, int]:
        """When the first event between two positions was stored, and how many there are (Tables)."""
        times = [_time(row.persisted_at) for row in self._events if low <= row.pos <= high]
        return min(times, default=None), len(times)

    async def events(self, low: int, high: int) -> AsyncIterator[StoredEvent]:
        """The events stored between two positions, by position (Tables)."""
        for row in self._events:
            if low <= row.pos <= high:
                at = _time(row.persisted_at)
                yield StoredEvent(row.pos, row.agent, row.kept_class == CRITICAL, row.id, row.type, at)

    async def facts(self, positions: Iterable[int]) -> AsyncIterator[tuple[int, str, str, str]]:
        """(position, addressee, id, type) of what is stored of these positions (Tables)."""
        wanted = set(positions)
        for row in self._events:
            if row.pos in wanted:
                yield row.pos, row.agent, row.id, row.type

    async def acks(self, since: datetime, until: datetime) -> list[tuple[str, int, datetime]]:
        """(agent, position, when) of every agent's last acknowledgement between two times (Tables)."""
        found = [(row.agent, row.acked, _time(row.acked_at)) for row in self._rows["agent_acks"]]
        return sorted((one for one in found if since <= one[2] <= until), key=lambda one: (one[2], one[0]))

    async def dead_letters(self, since: datetime, until: datetime) -> list[DeadLetters]:
        """What was put to the dead letters between two times (Tables)."""
        messages: Counter[str] = Counter()
        for row in self._rows["dead_letters"]:
            if since <= _time(row.recorded_at) <= until:
                messages[row.reason] += row.last_pos - row.pos + 1
        return [DeadLetters(reason=reason, messages=count) for reason, count in sorted(messages.items())]


def _now_and_then(world: World, plan: Plan, look: Callable[[], object]) -> Generator[Any, None, None]:
    """Look again and again, whenever Postgres is there to be asked."""
    shortest_s = min(plan.retention.standard_s, plan.retention.critical_s)
    pace_ns = round(max(PACE_MIN_S, min(PACE * shortest_s, plan.duration_s / EXPORTS)) * S)
    while True:
        yield world.environment.timeout(pace_ns)
        if any(process.is_alive for process in world.postgres.host.processes):
            look()


def _exported(plan: Plan, tables: Tables, lines: Sequence[bytes], out: Path) -> Export | None:
    """The export of a moment; None before anything is to be exported."""
    connections = gathered(read_lines(lines, "replicas"))
    if not connections or not tables.epochs:
        return None
    settings = relay_settings(plan)
    deployment = Deployment(
        dsn="",
        stream=settings.stream,
        retention_critical_s=settings.retention_critical_s,
        retention_standard_s=settings.retention_standard_s,
        critical_types=settings.critical_types,
        sweep_interval_s=settings.sweep_interval_s,
    )
    window = Window(since=_UNIX_EPOCH, until=tables.now, clock_slack_s=plan.slack_s + CLOCK_SLACK_S)
    exported = asyncio.run(export(tables, connections, deployment, window, out))
    return Export(history=out, exported=exported, report=judge(out))


def _wall(ns: int) -> datetime:
    return _UNIX_EPOCH + timedelta(microseconds=ns // 1_000)


def _time(us: int) -> datetime:
    """A timestamptz of a table."""
    return _POSTGRES_EPOCH + timedelta(microseconds=us)
