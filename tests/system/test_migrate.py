"""Migrations: applied once, by one replica, and nobody waits long for what may never come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from system import migrate as migrating
from system.database import Database, DatabaseUnavailable
from system.migrate import LOCK_KEY, migrate, migrations

pytestmark = pytest.mark.stack
NAMES = [name for _, name, _ in migrations()]


@pytest.fixture
async def database(fresh_database: str) -> AsyncIterator[Database]:
    """A pool on an empty database."""
    made = Database(fresh_database, size_max=2, timeout_s=5.0)
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def lock_held(dsn: str) -> AsyncIterator[None]:
    """Another replica is migrating, for as long as this lasts."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
            yield
    finally:
        await connection.close()


async def test_what_is_missing_is_applied_once(database: Database) -> None:
    """All of it the first time, in order; nothing the second."""
    assert await migrate(database) == NAMES
    assert await migrate(database) == []


async def test_who_waits_for_another_s_migration_gives_up_soon(
    database: Database, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is to begin again: a server that lost its power while we waited for the lock would never have answered."""
    monkeypatch.setattr(migrating, "LIMIT_S", 0.3)
    began = asyncio.get_running_loop().time()
    async with lock_held(fresh_database):
        with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
            await migrate(database)
    assert asyncio.get_running_loop().time() - began < migrating.TIMEOUT_S / 10
    monkeypatch.undo()
    assert await migrate(database) == NAMES


async def test_with_nothing_to_apply_nobody_waits(database: Database, fresh_database: str) -> None:
    """A start on a migrated database takes no lock."""
    assert await migrate(database) == NAMES
    async with lock_held(fresh_database):
        assert await migrate(database) == []
