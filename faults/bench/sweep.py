"""Sweep: does it hold up readers? Pages of a million retained events, read at a fixed rate, with and without a sweep.

The events are also what the relay's scale tests read: `load_events` makes the same ones from a count alone.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import asyncpg

from faults.bench.figures import Figure, Target, percentile
from faults.bench.ground import Ground, rest
from faults.bench.progress import Progress
from system.cursor import Position, pack
from system.database import Database
from system.event import ALL_AGENTS
from system.host import Host
from system.link import NatsLink
from system.metrics import Metrics
from system.migrate import migrate
from system.places import Places
from system.settings import Settings
from system.sweeper import Sweeper

STREAM = "MESH_EVENTS"
ORDINAL = 1
BUSY = "y-busy"
"""Has every second event. Late in the alphabet, where estimates for a range of agents are lowest."""
QUIET = "z-quiet"
"""Has one event in 200,000."""
ABSENT = "nobody"
"""Has none of its own."""
OTHERS = 500
"""Share nearly half of all events, as agent-0 to agent-499."""

LOAD_LIMIT_S = 300.0
PAGE_ROWS = 200
PAGES_PER_S = 300
"""Enough for a 99th percentile of a second or two, few enough to leave both of two cores mostly idle."""
QUIET_S = 2.0

NO_NATS = NatsLink("", host=Host.real(), name="none", stream=STREAM, timeout_s=1.0, probe_interval_s=1.0)
"""Never started: pages are read without NATS."""

LOAD = f"""
INSERT INTO agent_events (pos, agent, class, id, type, payload, persisted_at)
SELECT ({ORDINAL}::bigint << 48) + n,
       CASE WHEN n % 2 = 0 THEN '{BUSY}' WHEN n % 100 = 1 THEN '{ALL_AGENTS}' WHEN n % 200000 = 3 THEN '{QUIET}'
            ELSE 'agent-' || (n / 2) % {OTHERS} END,
       CASE WHEN n % 3 = 0 THEN 1 ELSE 2 END,
       'event-' || n,
       CASE WHEN n % 3 = 0 THEN 'task.assigned' ELSE 'note.added' END,
       '{{"specversion":"1.0","id":"event-' || n || '","source":"/scale","type":"note.added","data":{{"n":' || n
           || ',"text":"' || repeat('x', 80) || '"}}}}',
       now() - make_interval(secs => $1::bigint - n + 1)
FROM generate_series(1, $1::bigint) n
"""

INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'agent_events' AND indexname NOT LIKE '%_pkey'"

LOAD_OPEN = f"""
INSERT INTO open_assignments (pos, agent, due_at)
SELECT pos, agent, now() + make_interval(secs => (pos % 7200) - 3600) FROM agent_events
WHERE class = 1 AND agent <> '{ALL_AGENTS}' AND (pos - ({ORDINAL}::bigint << 48)) % 9 = 0
"""
"""A third of all assignments are not acknowledged; half of those are overdue."""

LOAD_STATE = """
WITH epoch AS (INSERT INTO stream_epoch (ordinal, tag, reason) VALUES ($2, 'scale2', 'first') RETURNING ordinal)
INSERT INTO event_stream (name, epoch, created, watermark) SELECT $1, ordinal, 'scale', $3 FROM epoch
"""


def position(seq: int) -> Position:
    """Where the `seq`-th loaded event stands, from 1."""
    return pack(ORDINAL, seq)


async def load_events(dsn: str, count: int) -> None:
    """Fill an empty database with retained events, a second apart in age, the newest a second old; no ANALYZE."""
    database = Database(dsn, size_max=2, timeout_s=30)
    await migrate(database)
    await database.close()
    connection = await asyncpg.connect(dsn, command_timeout=LOAD_LIMIT_S)
    try:
        await connection.execute(LOAD_STATE, STREAM, ORDINAL, position(count))
        # built at the end, an index costs a third of what it costs row by row
        indexes = await connection.fetch(INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['indexname']}")
        await connection.execute(LOAD, count)
        for index in indexes:
            await connection.execute(index["indexdef"])
        await connection.execute(LOAD_OPEN)
    finally:
        await connection.close()


def sweep_settings(dsn: str, retention_s: float) -> Settings:
    """A relay's settings that keep both classes for this long, all else as by default."""
    return Settings.model_validate(
        {
            "postgres_dsn": dsn,
            "stream": STREAM,
            "jwt_hs256_secret": "not used by what is measured here",
            "retention_critical_s": retention_s,
            "retention_standard_s": retention_s,
        }
    )


async def measure(ground: Ground, progress: Progress, *, runs: int, events: int, swept: int) -> list[Figure]:
    """The figure for sweeps of so many events below those that stay.

    Each run reads pages for 2 s in quiet, then for as long as the relay's own sweeper takes. Reads are scheduled at a
    fixed rate and timed from their schedule, so a stall is seen by all reads that it delays.
    """
    figure = Figure(
        name="page p99 beside a sweep",
        unit="ms",
        ours=f"pages of {PAGE_ROWS} of {events} retained events, {PAGES_PER_S}/s, while {swept} rows are swept",
        bare="the same pages without a sweep",
        more_is_better=False,
        target=Target(ratio_max=2.0),
    )
    progress.say(f"storing {events + runs * swept} events")
    async with ground.database() as fresh:
        await load_events(fresh.dsn, events + runs * swept)
        await fresh.connection.execute("VACUUM ANALYZE agent_events", timeout=LOAD_LIMIT_S)
        settings = sweep_settings(fresh.dsn, events)
        database = Database(fresh.dsn, size_max=settings.database_pool_max, timeout_s=settings.database_timeout_s)
        try:
            load = _Load(Places(settings, database, NO_NATS), random.Random(1), events + runs * swept)
            await load.read(asyncio.sleep(QUIET_S))  # not counted: connections are opened, caches filled
            for number in progress.runs(figure.name, runs):
                load.first = number * swept
                quiet = await load.read(asyncio.sleep(QUIET_S))
                await rest()
                keep_s = events + (runs - number) * swept  # a second an event
                sweeper = Sweeper(sweep_settings(fresh.dsn, keep_s), database, Host.real(), Metrics())
                beside = await load.read(sweeper.sweep())
                figure.add(ours=1e3 * percentile(beside, 99), bare=1e3 * percentile(quiet, 99))
        finally:
            await database.close()
    return [figure]


class _Load:
    """Readers of pages at a fixed rate, of any agent, from anywhere in what is retained."""

    def __init__(self, places: Places, rng: random.Random, events: int) -> None:
        self._places = places
        self._rng = rng
        self._events = events
        self.first = 0
        """The sequence below which everything is swept, or about to be."""

    async def read(self, until: Any) -> list[float]:
        """Read for as long as the awaitable takes; answers each page's time in s, from when it was due."""
        loop = asyncio.get_running_loop()
        ending = asyncio.ensure_future(until)
        reads: list[asyncio.Task[float]] = []
        began_at = loop.time()
        try:
            while not ending.done():
                due_at = began_at + len(reads) / PAGES_PER_S
                await asyncio.sleep(due_at - loop.time())
                reads.append(loop.create_task(self._page(due_at)))
            await ending
            return list(await asyncio.gather(*reads))
        finally:
            for task in [ending, *reads]:
                task.cancel()

    async def _page(self, due_at: float) -> float:
        agent = self._rng.choice([BUSY, QUIET, ABSENT, *(f"agent-{n}" for n in range(5))])
        after = position(self._rng.randrange(self.first, self._events))
        await self._places.read_page(agent, after, PAGE_ROWS)
        return asyncio.get_running_loop().time() - due_at
