"""Schema migrations: numbered SQL files, applied once, in order, by whichever replica comes first.

A rolling upgrade runs old and new replicas on one schema, so a migration only ever adds; an old replica that finds a
newer schema goes on. An advisory lock keeps replicas that start together from applying the same file twice.
"""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import Any

import asyncpg
import structlog

from system.database import Database

log = structlog.get_logger(__name__)

LOCK_KEY = 0x6D657368  # 'mesh'
TIMEOUT_S = 300.0
"""Of a migration's own text, which may have to build an index."""
LIMIT_S = 10.0
"""Of all the rest: where an answer is lost with its server, nobody notices before. A replica that waits for another's
migration for longer gives up and begins again."""
READ_APPLIED = "SELECT number FROM schema_migration"


def migrations() -> list[tuple[int, str, str]]:
    """All migrations as (number, name, SQL), in order."""
    files = [entry for entry in resources.files("system.migrations").iterdir() if entry.name.endswith(".sql")]
    return sorted((int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in files)


async def migrate(database: Database) -> list[str]:
    """Apply what is missing; answers the names of what was applied. Raises DatabaseUnavailable."""
    if await database.use(_applied) >= {number for number, _, _ in migrations()}:
        return []
    patient = database.patient(TIMEOUT_S)
    try:
        return await patient.use(_apply)
    finally:
        await patient.close(LIMIT_S)


async def _applied(connection: Any) -> set[int]:
    try:
        return {row["number"] for row in await connection.fetch(READ_APPLIED)}
    except asyncpg.UndefinedTableError:
        return set()


async def _apply(connection: Any) -> list[str]:
    transaction = connection.transaction()
    try:
        async with asyncio.timeout(LIMIT_S) as limit:
            await transaction.start()
            applied = await _apply_missing(connection, limit)
            await transaction.commit()
    except BaseException:
        connection.terminate()  # which undoes it: a server that is gone would not answer a ROLLBACK either
        raise
    return applied


async def _apply_missing(connection: Any, limit: asyncio.Timeout) -> list[str]:
    applied = []
    loop = asyncio.get_running_loop()
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration"
        " (number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    done = {row["number"] for row in await connection.fetch(READ_APPLIED)}
    for number, name, text in migrations():
        if number in done:
            continue
        limit.reschedule(loop.time() + TIMEOUT_S)
        await connection.execute(text)
        limit.reschedule(loop.time() + LIMIT_S)  # for COMMIT too
        await connection.execute("INSERT INTO schema_migration (number, name) VALUES ($1, $2)", number, name)
        applied.append(name)
        log.info("schema.migrated", name=name)
    return applied
