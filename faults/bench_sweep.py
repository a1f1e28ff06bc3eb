"""Does a sweep hold up readers? A million retained events, pages read at a fixed rate, with and without a sweep.

`meshrelay bench` calls `measure_sweep(dsn)` with the connection string of an empty database that it may fill; it takes
about half a minute and answers a dict of plain numbers (see there). No threshold is applied here. The events are also
what the relay's scale tests read: `load_events` makes the same ones from a count alone.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

import asyncpg

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


async def measure_sweep(
    dsn: str, *, events: int = 1_000_000, swept: int = 100_000, rounds: int = 5, seed: int = 1
) -> dict[str, Any]:
    """Measure page reads with and without a sweep beside them, in turns, on an empty database.

    Each round reads pages for 2 s in quiet, then for as long as the relay's own sweeper takes to delete the `swept`
    oldest events. Reads are scheduled at a fixed rate and timed from their schedule, so a stall is seen by all reads
    that it delays. Answers `ratio` (median of the rounds' p99 with a sweep over p99 without) with what it comes from:
    `ratios`, `quiet_p99_ms`, `sweep_p99_ms`, `quiet_p50_ms`, `sweep_p50_ms`, `sweep_s`, one figure a round; `pages`
    read in all. Raises DatabaseUnavailable, asyncpg.PostgresError.
    """
    if rounds * swept >= events:
        raise ValueError(f"expected fewer than {events} events swept in all, got {rounds} times {swept}")
    await load_events(dsn, events)
    settings = sweep_settings(dsn, events)
    database = Database(dsn, size_max=settings.database_pool_max, timeout_s=settings.database_timeout_s)
    connection = await asyncpg.connect(dsn, command_timeout=LOAD_LIMIT_S)
    quiet: list[list[float]] = []
    beside: list[list[float]] = []
    sweep_s: list[float] = []
    try:
        await connection.execute("VACUUM ANALYZE agent_events")
        load = _Load(Places(settings, database, NO_NATS), random.Random(seed), events)
        await load.read(asyncio.sleep(QUIET_S))  # not counted: connections are opened, caches filled
        for number in range(1, rounds + 1):
            load.first = number * swept
            quiet.append(await load.read(asyncio.sleep(QUIET_S)))
            sweeper = Sweeper(sweep_settings(dsn, events - number * swept), database, Host.real(), Metrics())
            began_at = asyncio.get_running_loop().time()
            beside.append(await load.read(sweeper.sweep()))
            sweep_s.append(asyncio.get_running_loop().time() - began_at)
    finally:
        await connection.close()
        await database.close()
    ratios = [percentile(b, 0.99) / percentile(a, 0.99) for a, b in zip(quiet, beside, strict=True)]
    return {
        "events": events,
        "swept": swept,
        "rounds": rounds,
        "pages": sum(map(len, quiet + beside)),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "quiet_p99_ms": _ms(quiet, 0.99),
        "sweep_p99_ms": _ms(beside, 0.99),
        "quiet_p50_ms": _ms(quiet, 0.5),
        "sweep_p50_ms": _ms(beside, 0.5),
        "sweep_s": [round(one, 2) for one in sweep_s],
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that `share` of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _ms(rounds: Sequence[Sequence[float]], share: float) -> list[float]:
    return [round(percentile(one, share) * 1000, 2) for one in rounds]


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
