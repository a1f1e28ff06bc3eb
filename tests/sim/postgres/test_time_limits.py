"""Time limits of statements, the client's and the server's, in both arms: of statements that surely wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from system import sql
from system.database import SERVER_SETTINGS, Database, DatabaseUnavailable
from system.migrate import migrate
from tests.sim.postgres.arms import failure
from tests.sim.postgres.harness import WAIT_S, connect, simulated

pytestmark = [pytest.mark.stack, pytest.mark.conformance]
LIMIT = "500ms"
LIMIT_S = 0.5
RENEW = (sql.RENEW_LEASE, "s", 1, 50.0)


async def _told(what: Awaitable[Any]) -> Any:
    """What it answers, or what its error tells."""
    try:
        found = await what
    except Exception as error:  # each is an answer, to be compared with the other arm's
        return failure(error)
    return [tuple(row) for row in found] if isinstance(found, list) else found


async def _limited_connection(dsn: str, **limits: str) -> Any:
    return await asyncpg.connect(dsn, timeout=WAIT_S, server_settings=SERVER_SETTINGS | limits)


async def _by_the_server(dsn: str, holder: Any, setting: str) -> Any:
    """A limit that the session was opened with ends the wait, and the block; the connection stays."""
    limited = await _limited_connection(dsn, **{setting: LIMIT})
    outside = await _told(limited.fetch(*RENEW))
    await limited.execute("BEGIN")
    within = [await _told(limited.fetch(*RENEW)), await _told(limited.fetch(sql.READ_EPOCHS))]
    ended = await limited.execute("COMMIT")
    await holder.execute("ROLLBACK")
    after = await _told(limited.fetch(*RENEW))
    await limited.close()
    return outside, within, ended, after


async def _by_lock_timeout(dsn: str, holder: Any) -> Any:
    return await _by_the_server(dsn, holder, "lock_timeout")


async def _by_statement_timeout(dsn: str, holder: Any) -> Any:
    return await _by_the_server(dsn, holder, "statement_timeout")


async def _by_the_shorter_of_two(dsn: str, holder: Any) -> Any:
    limited = await _limited_connection(dsn, lock_timeout="10s", statement_timeout=LIMIT)
    first = await _told(limited.fetch(*RENEW))
    await limited.close()
    limited = await _limited_connection(dsn, lock_timeout=LIMIT, statement_timeout="10s")
    second = await _told(limited.fetch(*RENEW))
    await limited.close()
    return first, second


async def _by_the_client(dsn: str, holder: Any) -> Any:
    """asyncpg's time limit: it sends a CancelRequest, and a block has failed then."""
    limited = await connect(dsn)
    outside = await _told(limited.fetch(*RENEW, timeout=LIMIT_S))
    usable = await _told(limited.fetch(sql.READ_EPOCHS))
    await limited.execute("BEGIN")
    within = [await _told(limited.fetch(*RENEW, timeout=LIMIT_S)), await _told(limited.fetch(sql.READ_EPOCHS))]
    ended = await limited.execute("COMMIT")
    await holder.execute("ROLLBACK")
    after = await _told(limited.fetch(*RENEW))
    await limited.close()
    return outside, usable, within, ended, after


async def _by_a_cancelled_task(dsn: str, holder: Any) -> Any:
    """A task that is cancelled in mid-statement: asyncpg cancels that too, before the next one."""
    limited = await connect(dsn)
    task = asyncio.create_task(limited.fetch(*RENEW))
    await asyncio.sleep(LIMIT_S)
    task.cancel()
    gathered = await asyncio.gather(task, return_exceptions=True)
    after = await _told(limited.fetch(sql.READ_EPOCHS))
    await limited.close()
    return [type(one).__name__ for one in gathered], after


async def _by_the_relay_s_pool(dsn: str, holder: Any) -> Any:
    """The relay's own pool: unavailable at its limit, with a new connection afterwards."""
    database = Database(dsn, size_max=1, timeout_s=LIMIT_S * 5)
    with pytest.raises(DatabaseUnavailable) as caught:
        await database.fetch(*RENEW)
    await holder.execute("ROLLBACK")
    row = await database.fetchrow(*RENEW)
    await database.close()
    return str(caught.value).partition(":")[0], tuple(row)


SCENES: list[Callable[[str, Any], Awaitable[Any]]] = [
    _by_lock_timeout,
    _by_statement_timeout,
    _by_the_shorter_of_two,
    _by_the_client,
    _by_a_cancelled_task,
    _by_the_relay_s_pool,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__.strip("_"))
async def test_a_wait_ends_at_its_limit_as_on_the_real_server(
    fresh_database: str, scene: Callable[[str, Any], Awaitable[Any]]
) -> None:
    """While another session holds the row, the limit's error, and what holds of the connection after it, are equal."""
    database = Database(fresh_database, size_max=1, timeout_s=WAIT_S)
    await migrate(database)
    await database.close()
    real = await _played(fresh_database, scene)
    async with simulated() as simulation:
        assert await _played(simulation.dsn, scene) == real
        simulation.server.check()


async def _played(dsn: str, scene: Callable[[str, Any], Awaitable[Any]]) -> Any:
    holder = await connect(dsn)
    await holder.execute(sql.INIT_STATE, "s", "tag", "created", 0)
    await holder.execute(sql.TAKE_LEASE, "s", "me", 100.0)
    await holder.execute("BEGIN")
    await holder.execute(*RENEW)
    found = await scene(dsn, holder)
    holder.terminate()
    return found
