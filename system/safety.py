"""Start-up checks of what zero loss needs from the servers: fsync and UTF8 in Postgres, sync_interval in NATS."""

from __future__ import annotations

from typing import Any

import httpx
import structlog

from system import sql
from system.database import Database
from system.settings import Settings

log = structlog.get_logger(__name__)

POSTGRES_MIN = 130_000
ENCODING = "UTF8"


class UnsafeStorage(Exception):
    """A server is set to lose acknowledged writes; the message says which setting and what it must be."""


async def check_postgres(database: Database) -> list[str]:
    """What is unsafe in Postgres's settings. Raises DatabaseUnavailable."""
    row = await database.fetchrow(sql.READ_SAFETY)
    found = [
        f"Postgres {name}: expected {expected}, got {row[name]}"
        for name, expected in (("fsync", "on"), ("full_page_writes", "on"))
        if row[name] != expected
    ]
    if row["synchronous_commit"] in ("off",):
        found.append("Postgres synchronous_commit: expected on, got off: a crash loses acknowledged commits")
    if row["version"] < POSTGRES_MIN:
        found.append(f"Postgres version: expected 13 or later, got {row['version']}")
    return found


async def check_encoding(database: Database) -> None:
    """Raises UnsafeStorage, which nobody can waive, if the database has no room for every character; or as `use`.

    Postgres names its encoding to whoever connects, so that no statement is needed.
    """
    found = await database.use(_encoding)
    if found is None:
        log.warning(
            "safety.encoding_unchecked", hint="whatever stands before Postgres does not pass server_encoding on"
        )
    elif found != ENCODING:
        raise UnsafeStorage(
            f"Postgres server_encoding: expected {ENCODING}, got {found}: an event with a character that {found} lacks "
            "would be accepted and could never be stored. Make the database anew: "
            f"CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0"
        )


async def _encoding(connection: Any) -> str | None:
    found: str | None = getattr(connection.get_settings(), "server_encoding", None)
    return found


async def check_nats(settings: Settings, http: httpx.AsyncClient | None = None) -> list[str]:
    """What is unsafe in NATS's settings, as far as its monitoring address tells."""
    if settings.nats_monitor_url is None:
        log.warning("safety.nats_unchecked", hint="set MESHRELAY_NATS_MONITOR_URL so that sync_interval can be checked")
        return []
    client = http or httpx.AsyncClient(timeout=5.0)
    try:
        answer = (await client.get(settings.nats_monitor_url.rstrip("/") + "/jsz")).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        log.warning("safety.nats_unchecked", error=repr(error))
        return []
    finally:
        if http is None:
            await client.aclose()
    config = answer.get("config", {})
    if settings.stream_replicas == 1 and not config.get("sync_always", False):
        return [
            f"NATS sync_interval: expected always, got {config.get('sync_interval')} ns: with one replica a power "
            "failure loses acknowledged events. Set jetstream { sync_interval: always }"
        ]
    return []


async def check(settings: Settings, database: Database) -> None:
    """Raises UnsafeStorage unless all is safe or the operator has said that it need not be."""
    await check_encoding(database)
    found = await check_postgres(database) + await check_nats(settings)
    if not found:
        return
    if not settings.allow_unsafe_storage:
        raise UnsafeStorage("; ".join(found) + ". To start all the same: MESHRELAY_ALLOW_UNSAFE_STORAGE=true")
    log.error("safety.unsafe_storage", problems=found)
