"""How many backends of Postgres a replica has while its statements wait."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from system import sql
from system.database import Database, DatabaseUnavailable
from system.migrate import migrate

pytestmark = pytest.mark.stack


async def test_a_locked_table_costs_no_more_backends_than_agreed(fresh_database: str) -> None:
    """While somebody locks a table, callers come and give up by the dozen: Postgres never has more of our backends than
    the pool may have, and ends their statements itself. There were sixty after nine seconds, for each that was given up
    was followed by a new connection.
    """
    database = Database(fresh_database, size_max=3, timeout_s=0.5)
    await migrate(database)
    holder, watcher = [await asyncpg.connect(fresh_database) for _ in range(2)]
    await holder.execute("BEGIN")
    await holder.execute("LOCK TABLE agent_events IN ACCESS EXCLUSIVE MODE")
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'meshrelay' AND datname = current_database()"
    counted = []
    for _ in range(8):
        asks = [database.use(lambda one: one.fetch(sql.READ_STORED, "a"), timeout_s=0.3) for _ in range(6)]
        answers = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(answer, DatabaseUnavailable) for answer in answers)
        counted.append(await watcher.fetchval(ours))
    assert 1 <= max(counted) <= 3
    waiting = f"{ours} AND wait_event_type = 'Lock'"
    await asyncio.sleep(2.0)  # past Postgres's own limit
    assert await watcher.fetchval(waiting) == 0
    await holder.execute("ROLLBACK")
    assert await database.fetch(sql.READ_STORED, "a") == []
    await database.close()
    for one in (holder, watcher):
        await one.close()
