"""Schema migrations: numbered SQL files, applied once, in order, by whichever replica comes first.

A rolling upgrade runs old and new replicas on one schema, so a migration only ever adds; an old replica that finds a
newer schema goes on. An advisory lock keeps replicas that start together from applying the same file twice.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import structlog

from system.database import Database

log = structlog.get_logger(__name__)

LOCK_KEY = 0x6D657368  # 'mesh'
TIMEOUT_S = 300.0


def migrations() -> list[tuple[int, str, str]]:
    """All migrations as (number, name, SQL), in order."""
    files = [entry for entry in resources.files("system.migrations").iterdir() if entry.name.endswith(".sql")]
    return sorted((int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in files)


async def migrate(database: Database) -> list[str]:
    """Apply what is missing; answers the names of what was applied. Raises DatabaseUnavailable."""
    return await database.use(_apply, timeout_s=TIMEOUT_S)


async def _apply(connection: Any) -> list[str]:
    applied = []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY, timeout=TIMEOUT_S)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration"
            " (number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["number"] for row in await connection.fetch("SELECT number FROM schema_migration")}
        for number, name, text in migrations():
            if number in done:
                continue
            await connection.execute(text, timeout=TIMEOUT_S)
            await connection.execute("INSERT INTO schema_migration (number, name) VALUES ($1, $2)", number, name)
            applied.append(name)
            log.info("schema.migrated", name=name)
    return applied
