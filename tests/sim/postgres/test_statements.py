"""Unmodified asyncpg and the relay's own database code against the simulated server, over loopback."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from sim.errors import NotModelled
from sim.postgres.statement import digest
from sim.postgres.statements import REGISTRY, STATEMENTS
from system import sql
from system.database import Database, DatabaseUnavailable
from system.migrate import migrate, migrations
from system.safety import check_postgres
from tests.sim.postgres.harness import WAIT_S, connect, simulated

BASE = 1 << 48
TEXTS = {
    name: text
    for name, text in vars(sql).items()
    if name.isupper() and not name.startswith("_") and isinstance(text, str)
}


def test_every_statement_is_modelled_as_it_stands() -> None:
    """Whoever changes a statement looks at its handler, and then pins it to the new text."""
    changed = [f"{one.text[:60]!r}: its digest is {digest(one.text)}" for one in STATEMENTS if one.text not in REGISTRY]
    assert not changed, "look at the handlers of these, then set `pin`:\n" + "\n".join(changed)
    missing = [name for name, text in TEXTS.items() if text not in REGISTRY]
    missing += [name for _, name, text in migrations() if text not in REGISTRY]
    assert not missing, f"no handler for {missing}"


def _batch(events: list[tuple[str, ...]]) -> list[list[str]]:
    return [list(column) for column in zip(*events, strict=True)]


async def test_the_relay_s_every_call_is_served() -> None:
    """Migrations, the safety check and each statement of `system/sql.py` answer what the relay expects."""
    async with simulated(migrated=False) as simulation:
        database = Database(simulation.dsn, size_max=3, timeout_s=WAIT_S)
        with pytest.raises(DatabaseUnavailable, match="UndefinedTable"):
            await database.fetch(sql.READ_STATE, "s")
        assert await migrate(database) == [name for _, name, _ in migrations()]
        assert await migrate(database) == []
        assert await check_postgres(database) == []
        await database.execute(sql.INIT_STATE, "s", "tag", "created", 4)
        assert (await database.fetchrow(sql.TAKE_LEASE, "s", "me", 9.0))["fence"] == 1
        assert await database.fetchrow(sql.TAKE_LEASE, "s", "you", 9.0) is None
        events = _batch(
            [
                (str(BASE + 5), "ann", "1", "e5", "task.assigned", "{}"),
                (str(BASE + 6), "_all", "2", "e6", "note", "{}"),
            ]
        )
        dead = _batch([(str(BASE + 7), str(BASE + 7), "invalid", "why", "subject", "AAE=")])
        batch = ["s", 1, BASE + 4, BASE + 7, *events, *dead, 11, 9.0, -1.0]
        assert (await database.fetchrow(sql.WRITE_BATCH, *batch))["count"] == 1
        assert (await database.fetchrow(sql.WRITE_BATCH, *batch))["count"] == 0
        again = _batch([(str(BASE + 8), "ann", "1", "e5", "note", "{}")])
        with pytest.raises(asyncpg.UniqueViolationError) as repeated:
            await database.fetch(sql.WRITE_BATCH, "s", 1, BASE + 7, BASE + 8, *again, *[[]] * 6, 11, 9.0, 9.0)
        assert repeated.value.constraint_name == "agent_events_id"
        row = await database.fetchrow(sql.READ_STATE, "s")
        assert (row["watermark"], row["mark_ns"], row["fence"], row["tag"]) == (BASE + 7, 11, 1, "tag")
        assert [row["id"] for row in await database.fetch(sql.READ_STORED_MANY, ["e6", "e5", "e4"])] == ["e5", "e6"]
        assert (await database.fetchrow(sql.READ_STORED, "e6"))["pos"] == BASE + 6
        assert [row["pos"] for row in await database.fetch(sql.READ_PAGE, "s", "ann", 0, 9)][1:] == [BASE + 5, BASE + 6]
        assert [row["pos"] for row in await database.fetch(sql.READ_TAIL, "s", BASE + 5, 9, 9_999)] == [None, BASE + 6]
        assert [row["pos"] for row in await database.fetch(sql.READ_OVERDUE, 3, 9)] == [BASE + 5]
        await database.execute(sql.MARK_REDISPATCHED, BASE + 5, 1, 100.0)
        assert await database.fetch(sql.READ_OVERDUE, 3, 9) == []
        assert tuple(await database.fetchrow(sql.STORE_ACK, "s", "ann", BASE + 5)) == (BASE + 7, BASE + 5)
        swept = await database.fetchrow(sql.SWEEP, "s", 1, -1.0, 9, None)
        assert swept["count"] == 1
        assert (await database.fetchrow(sql.SWEEP, "s", 1, -1.0, 9, swept["last"]))["count"] == 0
        assert tuple(await database.fetchrow(sql.READ_PLACE, "s", "ann")) == (BASE + 7, 1, BASE + 5, BASE + 5, 0)
        await database.execute(sql.PRUNE_DEAD_LETTERS, -1.0)
        assert [name for name, _ in simulation.server.dump() if name == "dead_letters"] == []
        assert len(await database.fetch(sql.RENEW_LEASE, "s", 1, 9.0)) == 1
        await database.execute(sql.RELEASE_LEASE, "s", "me", 1)
        row = await database.fetchrow(sql.NEW_EPOCH, "s", 2, "tag2", "why", "created", 0, 4)
        assert row["watermark"] == 2 << 48
        assert [tuple(row) for row in await database.fetch(sql.READ_EPOCHS)] == [(1, "tag"), (2, "tag2")]
        simulation.server.check()
        await database.close()


@pytest.mark.stack
@pytest.mark.conformance
async def test_types_are_the_real_server_s(fresh_database: str) -> None:
    """Each statement has the parameters and columns that the real server describes, and so do the settings told."""
    real_database = Database(fresh_database, size_max=1, timeout_s=WAIT_S)
    await migrate(real_database)
    await real_database.close()
    async with simulated() as simulation:
        real, model = await connect(fresh_database), await connect(simulation.dsn)
        for name, text in TEXTS.items():
            expected, found = await real.prepare(text), await model.prepare(text)
            assert found.get_parameters() == expected.get_parameters(), name
            assert found.get_attributes() == expected.get_attributes(), name
        for setting in simulation.server.parameters:
            told = getattr(model.get_settings(), setting)
            assert told == getattr(real.get_settings(), setting), setting
        await real.close()
        await model.close()


async def test_an_unknown_statement_is_loud() -> None:
    """It is answered with an error that names it, remembered, and raised in the server's own world."""
    raised: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
    async with simulated() as simulation:
        connection = await connect(simulation.dsn)
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="SELECT 42"):
            await connection.fetch("SELECT 42")
        await connection.fetch(sql.READ_EPOCHS)
        assert simulation.server.not_modelled == ["SELECT 42"]
        assert [type(error) for error in raised] == [NotModelled]
        with pytest.raises(NotModelled, match="SELECT 42"):
            simulation.server.check()
        connection.terminate()


async def test_pools_cursors_and_nested_transactions_work() -> None:
    """What asyncpg does by itself is served: the pool's reset query, portals of some rows, savepoints."""
    async with simulated() as simulation, asyncpg.create_pool(simulation.dsn, min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(sql.INIT_STATE, "s", "tag", "created", 0)
            with pytest.raises(asyncpg.UniqueViolationError):
                await _repeat_a_tag(connection)
            async with connection.transaction():
                await connection.execute(sql.TAKE_LEASE, "s", "you", 9.0)
        async with pool.acquire() as connection, connection.transaction():
            found = [row["ordinal"] async for row in connection.cursor(sql.READ_EPOCHS, prefetch=1)]
            assert found == [1]
            assert (await connection.fetchrow(sql.READ_STATE, "s"))["holder"] == "you"
        simulation.server.check()


async def _repeat_a_tag(connection: Any) -> None:
    async with connection.transaction():
        await connection.execute(sql.TAKE_LEASE, "s", "me", 9.0)
        await connection.execute(sql.NEW_EPOCH, "s", 1, "tag", "why", "created", 0, 4)


async def test_a_password_is_asked_for() -> None:
    """With a password set, another one is refused with 28P01."""
    async with simulated(password="right") as simulation:
        connection = await connect(simulation.dsn)
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(simulation.dsn.replace("right", "wrong"))


async def test_connections_are_limited() -> None:
    """One more than max_connections is refused with 53300, until one leaves."""
    async with simulated(max_connections=2) as simulation:
        first, second = await connect(simulation.dsn), await connect(simulation.dsn)
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await connect(simulation.dsn)
        await first.close()
        await asyncio.sleep(0.05)
        third = await connect(simulation.dsn)
        await second.close()
        await third.close()
