"""A million retained events cost a reader no more than a thousand, and a sweep of a hundred thousand stops nobody.

Nothing here is timed: plans, touched blocks and locks are. How long things take, `meshrelay bench sweep` measures.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from itertools import product
from typing import Any

import asyncpg
import pytest

from faults.bench.sweep import ABSENT, BUSY, NO_NATS, QUIET, STREAM, load_events, position, sweep_settings
from faults.stack import EmbeddedStack
from system import sql
from system.database import Database
from system.event import RetentionClass
from system.host import Host
from system.metrics import Metrics
from system.places import Places
from system.session import FIRST_PAGE_ROWS, Page
from system.sweeper import CHUNK_ROWS, Sweeper
from tests.system.explain import STATISTICS, Bounds, Plan, buffers, explain, set_statistics

pytestmark = pytest.mark.stack

RETAINED = 1_000_000
SWEPT = 100_000
LOADED = RETAINED + SWEPT + 50_000
"""The tests that sweep leave the million."""

PLANNED = [pytest.param(kind, generic, id=f"{kind}-{generic}") for kind, generic in product(STATISTICS, (False, True))]
DESCENTS = 64
"""Blocks of a few walks down an index, and of the small tables beside."""


@pytest.fixture(scope="session")
def loaded_dsn(stack: EmbeddedStack) -> Iterator[str]:
    """A database with the events, loaded once a worker; never analysed but by the tests."""
    name = f"scale_{uuid.uuid4().hex}"
    dsn = re.sub(r"/[^/]*$", f"/{name}", stack.postgres_dsn)
    asyncio.run(_execute(stack.postgres_dsn, f"create database {name}"))
    asyncio.run(load_events(dsn, LOADED))
    asyncio.run(_execute(dsn, "alter table agent_events set (autovacuum_enabled = off)"))
    yield dsn
    asyncio.run(_execute(stack.postgres_dsn, f"drop database {name} with (force)"))


@pytest.fixture
async def database(loaded_dsn: str) -> AsyncIterator[Recording]:
    """The relay's own way to that database."""
    database = Recording(loaded_dsn, size_max=8, timeout_s=30)
    yield database
    await database.close()


@pytest.fixture
async def observer(loaded_dsn: str) -> AsyncIterator[Any]:
    """A connection that is none of the relay's."""
    connection = await asyncpg.connect(loaded_dsn)
    yield connection
    await connection.close()


class Recording(Database):
    """Notes how many rows each piece of a sweep deleted."""

    def __init__(self, dsn: str, *, size_max: int, timeout_s: float) -> None:
        super().__init__(dsn, size_max=size_max, timeout_s=timeout_s)
        self.pieces: list[int] = []

    async def fetchrow(self, statement: str, *args: object) -> Any:
        """As it is, noted."""
        row = await super().fetchrow(statement, *args)
        if statement == sql.SWEEP:
            self.pieces.append(row["count"])
        return row

    async def examine(self, statement: str, *values: str | float | None, generic: bool) -> Plan:
        """The plan of a statement on a connection with the relay's settings."""
        return await self.use(lambda connection: explain(connection, statement, *values, generic=generic))


@pytest.mark.parametrize(("statistics", "generic"), PLANNED)
async def test_a_page_is_an_index_read(database: Recording, observer: Any, statistics: str, generic: bool) -> None:
    """A page touches blocks in proportion to its rows, whatever the agent, the cursor and the statistics."""
    await set_statistics(observer, statistics)
    cursors = (0, position(LOADED // 4), position(LOADED // 2), position(LOADED - 100))
    found = []
    for agent, after, rows in product((BUSY, QUIET, ABSENT, "agent-7"), cursors, (FIRST_PAGE_ROWS, 1_000)):
        plan = await database.examine(sql.READ_PAGE, STREAM, agent, after, rows, generic=generic)
        bounds = Bounds(
            # rows of both the agent and _all may be read, each in a block of its own
            buffers=2 * rows + DESCENTS,
            filtered=0,
            sorted=2 * rows,
            indexes=frozenset({"agent_events_replay"}),
        )
        found += [f"{agent} after {after}, {rows} rows: {problem}" for problem in plan.problems(bounds)]
    assert not found


@pytest.mark.parametrize(("statistics", "generic"), PLANNED)
async def test_the_tail_is_an_index_read(database: Recording, observer: Any, statistics: str, generic: bool) -> None:
    """Following the watermark touches blocks in proportion to what is new, from anywhere."""
    await set_statistics(observer, statistics)
    found = []
    for after in (position(LOADED // 4), position(LOADED - 5_000), position(LOADED - 10), position(LOADED), 1 << 62):
        plan = await database.examine(sql.READ_TAIL, STREAM, after, 1_000, 1 << 20, generic=generic)
        bounds = Bounds(buffers=1_000, filtered=0, sorted=1_001, indexes=frozenset({"agent_events_pkey"}))
        found += [f"after {after}: {problem}" for problem in plan.problems(bounds)]
    assert not found


@pytest.mark.parametrize(("statistics", "generic"), PLANNED)
async def test_overdue_is_an_index_read(database: Recording, observer: Any, statistics: str, generic: bool) -> None:
    """Looking for overdue assignments touches blocks in proportion to those it takes, not to those open."""
    await set_statistics(observer, statistics)
    assert await observer.fetchval("SELECT count(*) FROM open_assignments WHERE due_at < now()") > 5_000
    plan = await database.examine(sql.READ_OVERDUE, 3, 100, generic=generic)
    # an index of three levels and a block of the table for each event, a block for each assignment
    bounds = Bounds(buffers=100 * 6 + DESCENTS, filtered=0, sorted=100, indexes=frozenset({"agent_events_pkey"}))
    assert plan.problems(bounds) == []


@pytest.mark.parametrize(("statistics", "generic"), PLANNED)
async def test_a_piece_of_a_sweep_is_bounded(
    database: Recording, observer: Any, statistics: str, generic: bool
) -> None:
    """A piece of a sweep finds its rows at the low end of one index, and deletes them by another."""
    await observer.execute("VACUUM agent_events")  # a sweep of another test may have left dead entries
    await set_statistics(observer, statistics)
    found = []
    for kept_class, retention_s in product(RetentionClass, (1, LOADED // 2, 2 * LOADED)):
        values = (STREAM, kept_class.value, retention_s, CHUNK_ROWS, None)
        plan = await database.examine(sql.SWEEP, *values, generic=generic)
        # for a row: its two blocks when found and when deleted, its agent's floor, its open assignment
        bounds = Bounds(
            buffers=6 * CHUNK_ROWS + DESCENTS,
            filtered=0,
            sorted=CHUNK_ROWS,
            indexes=frozenset({"agent_events_sweep", "agent_events_pkey"}),
        )
        scanned = buffers(plan.using("agent_events_sweep"))
        assert scanned <= 2 * CHUNK_ROWS + DESCENTS
        found += [f"{kept_class} past {retention_s} s: {problem}" for problem in plan.problems(bounds)]
    assert not found


async def test_the_plans_are_judged(loaded_dsn: str, observer: Any) -> None:
    """What was wrong once is seen: a page by the primary key, a page by a sort, a sweep by a join."""
    page = sql.READ_PAGE.replace("(agent, pos) > ($2, $3)", "agent = $2 AND pos > $3")
    page = page.replace("(agent, pos) <= ($2, s.watermark) ORDER BY agent, pos", "pos <= s.watermark ORDER BY pos")
    join = sql.SWEEP.replace("WHERE pos = ANY(ARRAY(SELECT pos FROM doomed))", "e USING doomed d WHERE d.pos = e.pos")
    join = join.replace("RETURNING pos, agent, class", "RETURNING e.pos, e.agent, e.class")
    join = join.replace("persisted_at >= coalesce($5::timestamptz, '-infinity')\n      AND ", "")
    bounds = Bounds(buffers=10_000, filtered=0, sorted=2_000, indexes=frozenset({"agent_events_replay"}))
    await set_statistics(observer, "one")
    by_key = await explain(observer, page, STREAM, ABSENT, 0, 64, generic=True)
    await set_statistics(observer, "two")
    by_sort = await explain(observer, sql.READ_PAGE, STREAM, BUSY, 0, 1_000, generic=False)
    await set_statistics(observer, "fresh")
    by_join = await explain(observer, join, STREAM, 2, 1, CHUNK_ROWS, generic=True)
    assert any("thrown away" in problem for problem in by_key.problems(bounds))
    assert any("rows sorted" in problem for problem in by_sort.problems(bounds))
    assert "a sequential scan of the events" in by_join.problems(bounds)


async def test_a_sweep_does_not_pass_over_its_own_dead(database: Recording, observer: Any, loaded_dsn: str) -> None:
    """While an old snapshot keeps dead entries alive, a piece begins where the one before it ended."""
    await set_statistics(observer, "fresh")
    old = observer.transaction(isolation="repeatable_read")
    await old.start()
    await observer.fetchval("SELECT count(*) FROM agent_floors")
    last: datetime | None = None
    try:
        retention_s = await _age_s(database, 30_000)
        for _ in range(10):
            row = await database.fetchrow(sql.SWEEP, STREAM, 2, retention_s, CHUNK_ROWS, last)
            last = row["last"]
        assert database.pieces == [CHUNK_ROWS] * 10
        assert last is not None
        values = (STREAM, 2, retention_s, CHUNK_ROWS)
        bottom = await database.examine(sql.SWEEP, *values, None, generic=False)
        onward = await database.examine(sql.SWEEP, *values, last.isoformat(), generic=False)
    finally:
        await old.rollback()
    assert bottom.root["Actual Rows"] == onward.root["Actual Rows"] == 1
    # from the bottom, each of the 20,000 dead is looked up in the table to see that it is dead
    assert buffers(onward.using("agent_events_sweep")) * 3 < buffers(bottom.using("agent_events_sweep"))


async def test_a_sweep_blocks_nobody(database: Recording, loaded_dsn: str, observer: Any) -> None:
    """While 100,000 rows are swept nothing waits for a lock, pieces are bounded, and no page is silent about a loss."""
    retention_s = await _age_s(database, SWEPT)
    settings = sweep_settings(loaded_dsn, retention_s)
    places = Places(settings, database, NO_NATS)
    sweep = asyncio.create_task(Sweeper(settings, database, Host.real(), Metrics()).sweep())
    pages, waits = 0, []
    while not sweep.done():
        read = await asyncio.gather(*(places.read_page(BUSY, position(seq), 500) for seq in (0, SWEPT // 2, SWEPT)))
        waits += await observer.fetch(WAITING)
        for after, page in zip((0, SWEPT // 2, SWEPT), read, strict=True):
            assert _silent_losses(page, after) == []
            pages += 1
    deleted = await sweep
    assert deleted == sum(database.pieces) >= SWEPT - CHUNK_ROWS
    assert max(database.pieces) <= CHUNK_ROWS
    assert pages >= 9, "expected a sweep of 100 pieces to leave readers room between them"
    assert waits == []
    assert await observer.fetchval("SELECT count(*) FROM agent_events") >= RETAINED - CHUNK_ROWS


async def test_readers_and_writer_pass_an_unfinished_sweep(database: Recording, observer: Any) -> None:
    """With a piece of a sweep executed and not committed, pages, tail, floors and pg-writer's batch need not wait."""
    retention_s = await _age_s(database, 1_000)
    sweeping = observer.transaction()
    await sweeping.start()
    try:
        row = await observer.fetchrow(sql.SWEEP, STREAM, 2, retention_s, CHUNK_ROWS, None)
        assert row["count"] > 100
        answers = await database.use(_use_everything)
    finally:
        await sweeping.rollback()
    assert answers == {"page": 501, "tail": 11, "place": 1, "written": 1}


WAITING = """
SELECT a.pid, a.wait_event_type, a.query FROM pg_stat_activity a
WHERE a.datname = current_database() AND (a.wait_event_type = 'Lock' OR cardinality(pg_blocking_pids(a.pid)) > 0
      OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted))
"""


async def _use_everything(connection: Any) -> dict[str, int]:
    """Read and write as a relay does, where any wait for a lock is an error; undone afterwards."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET LOCAL lock_timeout = '1ms'")
        page = await connection.fetch(sql.READ_PAGE, STREAM, BUSY, 0, 500)
        tail = await connection.fetch(sql.READ_TAIL, STREAM, position(LOADED - 10), 1_000, 1 << 20)
        place = await connection.fetch(sql.READ_PLACE, STREAM, BUSY)
        event = [[str(position(LOADED + 1))], [BUSY], ["1"], ["new"], ["task.assigned"], ['{"id":"new"}']]
        nothing_dead: list[list[str]] = [[] for _ in range(6)]
        state = (STREAM, 0, position(LOADED), position(LOADED + 1))
        written = await connection.fetchval(sql.WRITE_BATCH, *state, *event, *nothing_dead, None, 10.0, 600.0)
    finally:
        await transaction.rollback()
    return {"page": len(page), "tail": len(tail), "place": len(place), "written": written}


def _silent_losses(page: Page, after: int) -> list[int]:
    """Sequences of the busy agent, which has every even one, that a page neither holds nor declares gone."""
    there = {row.pos for row in page.rows}
    floors = {0: page.floors.critical, 1: page.floors.standard, 2: page.floors.standard}
    last = max(there) - position(0)
    missing = [seq for seq in range(after + 2 - after % 2, last + 1, 2) if position(seq) not in there]
    return [seq for seq in missing if position(seq) > floors[seq % 3]]


async def _age_s(database: Database, rows: int) -> float:
    """The retention that this many of the oldest events are past."""
    row = await database.fetchrow(
        "SELECT extract(epoch FROM now() - persisted_at)::float8 AS age_s FROM agent_events"
        " ORDER BY pos LIMIT 1 OFFSET $1",
        rows,
    )
    age_s: float = row["age_s"]
    return age_s


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
