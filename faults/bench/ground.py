"""What a measurement stands on: a fresh database with an adopted stream, rows in it, and relays over it.

A relay that is to do nothing but deliver is given a database whose lease is held here, as if by another replica: this
process then is the one that writes and moves the watermark.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import nats
from nats.aio.client import Client

from faults.bench.load import ROW_COLUMNS, TAG, agent_name
from faults.stack import EmbeddedStack, RelayProcess
from system import sql
from system.cursor import pack
from system.database import Database
from system.hints import WATERMARK_SUBJECT
from system.host import Host
from system.migrate import migrate
from system.settings import Settings
from system.stream import ensure_stream, read_state, stream_config
from system.tokens import mint

HOLDER = "bench"
HELD_S = 86_400.0
TOKEN_TTL_S = 86_400.0
COPY_ROWS = 1_000
"""Rows of one COPY: asyncpg can hang in one of more than 512 KB under back-pressure."""
QUIET = {"BOOKMARK_S": "3600", "HEARTBEAT_S": "3600", "LEASE_S": str(HELD_S)}
"""Settings under which a relay sends events alone, so that its bytes can be those of the baseline; nor does it take
from us a lease that is further ahead than any of its own.
"""
DRAIN = {"DRAIN_DEADLINE_S": "0.5", "LOG_LEVEL": "warning"}


@dataclass(slots=True, kw_only=True)
class Ground:
    """The stack, and what was made on it."""

    stack: EmbeddedStack
    nc: Client
    settings: Settings
    """The relay's, as its processes have them, but for the database."""
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[FreshDatabase]:
        """An empty database with the relay's schema, dropped afterwards."""
        name = f"bench_{next(self.numbers)}"
        await _execute(self.stack.postgres_dsn, f"create database {name}")
        dsn = re.sub(r"/[^/]*$", f"/{name}", self.stack.postgres_dsn)
        database = Database(dsn, size_max=2, timeout_s=60.0)
        connection = None
        try:
            await migrate(database)
            connection = await asyncpg.connect(dsn)
            yield FreshDatabase(dsn=dsn, connection=connection, ground=self)
        finally:
            if connection is not None:
                await connection.close()
            await database.close()
            await _execute(self.stack.postgres_dsn, f"drop database {name} with (force)")

    @asynccontextmanager
    async def relay(self, database: FreshDatabase, **settings: str) -> AsyncIterator[RelayProcess]:
        """A relay on that database, serving; drained afterwards."""
        relay = self.stack.add_relay(f"relay-{next(self.numbers)}", {"POSTGRES_DSN": database.dsn, **DRAIN, **settings})
        relay.start_nowait()
        try:
            await relay.wait_ready()
            yield relay
            await relay.stop()
        finally:
            await self.stack.remove(relay)

    def stream_requests(self, agents: int, *, cursor: str = "now") -> list[str]:
        """The HTTP requests that open the streams of the load's agents."""
        return [self._stream_request(agent_name(number), cursor) for number in range(agents)]

    def _stream_request(self, agent: str, cursor: str) -> str:
        token = self.token(agent, "stream")
        return (
            f"GET /v1/agents/{agent}/events?cursor={cursor} HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
        )

    def token(self, subject: str, scope: str) -> str:
        """A token that the stack's relays accept."""
        return mint(self.stack.jwt_secret, sub=subject, scope=scope, ttl_s=TOKEN_TTL_S, now=Host.real().wall())


@dataclass(slots=True, kw_only=True)
class FreshDatabase:
    """A database of a measurement; `connection` is for preparing it and for the baseline."""

    dsn: str
    connection: Any
    ground: Ground
    watermark: int = 0

    async def adopt(self, *, after_seq: int = 0, hold_lease: bool, created: str | None = None) -> int | None:
        """Give it the stream's row with the watermark at a sequence; answers our fence if we hold the lease.

        `created` identifies the stream, if it is not the one of the stack's NATS.
        """
        name = self.ground.settings.stream
        if created is None:
            created = (await read_state(self.ground.nc, name)).created
        await self.connection.execute(sql.INIT_STATE, name, TAG, created, after_seq)
        self.watermark = pack(1, after_seq)
        if not hold_lease:
            return None
        row = await self.connection.fetchrow(sql.TAKE_LEASE, name, HOLDER, HELD_S)
        return int(row["fence"])

    async def copy(self, rows: Sequence[tuple[Any, ...]], table: str = "agent_events") -> None:
        """Plain COPY of rows, in one transaction."""
        async with self.connection.transaction():
            for start in range(0, len(rows), COPY_ROWS):
                await self.connection.copy_records_to_table(
                    table, records=rows[start : start + COPY_ROWS], columns=ROW_COLUMNS
                )

    async def move_watermark(self, watermark: int) -> int:
        """Release the rows up to there, as pg-writer does; answers the monotonic clock before it, in ns."""
        before_ns = time.monotonic_ns()
        await self.connection.execute(
            "UPDATE event_stream SET watermark = $2 WHERE name = $1", self.ground.settings.stream, watermark
        )
        self.watermark = watermark
        return before_ns

    async def hint(self) -> None:
        """Tell the tails that the watermark has moved, as pg-writer does."""
        await self.ground.nc.publish(WATERMARK_SUBJECT, str(self.watermark).encode())
        await self.ground.nc.flush()

    async def settle(self) -> None:
        """Leave no work of ours to the server that would fall into the next measurement."""
        await self.connection.execute("VACUUM (ANALYZE) agent_events")
        await self.connection.execute("CHECKPOINT")


@asynccontextmanager
async def prepared(run_dir: Path | None = None) -> AsyncIterator[Ground]:
    """The real stack with an empty stream. Raises PartUnavailable, ProcessFailed."""
    async with EmbeddedStack.start(run_dir=run_dir) as stack:
        nc = await nats.connect(stack.nats_url, allow_reconnect=False)
        settings = Settings(nats_url=stack.nats_url, postgres_dsn=stack.postgres_dsn, jwt_hs256_secret=stack.jwt_secret)
        await ensure_stream(nc.jetstream(), stream_config(settings.stream, **settings.stream_limits()))
        try:
            yield Ground(stack=stack, nc=nc, settings=settings)
        finally:
            await nc.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def rest() -> None:
    """Let the machine finish what the last run left: a moment, not a cure."""
    await asyncio.sleep(0.2)
