"""Simulated servers over loopback, and two arms, simulated and real, that take the same steps of several sessions."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from sim.postgres import PostgresDisk, PostgresServer, PostgresSettings
from system.database import SERVER_SETTINGS, Database
from system.migrate import migrate
from tests.system.harness import eventually

WAIT_S = 20.0
BRISK: dict[str, Any] = {
    "statement_s": (0.0, 0.0),
    "commit_s": (0.0, 0.000_1),
    "wake_s": (0.0, 0.0),
    "recovery_s": (0.0, 0.0),
}
"""Durations that matter to no test of answers."""
TABLES = {
    "stream_epoch": "ordinal",
    "event_stream": "name",
    "agent_events": "pos",
    "agent_floors": "agent, class",
    "sweep_mark": "stream",
    "agent_acks": "agent",
    "open_assignments": "pos",
    "dead_letters": "pos",
    "schema_migration": "number",
}
"""The relay's tables and their primary keys."""
TIMES = {"lease_until", "began_at", "persisted_at", "acked_at", "due_at", "recorded_at", "applied_at", "completed_at"}


class Fifo(random.Random):
    """Wakes sessions in the order in which they began to wait, as the real server mostly does."""

    def shuffle(self, x: Any) -> None:
        """Leave the order as it is."""


class Simulated:
    """A simulated server over loopback, with a disk that outlives it."""

    def __init__(self, *, seed: int = 0, fifo: bool = False, **settings: Any) -> None:
        self.disk = PostgresDisk()
        self.rng: random.Random = Fifo(seed) if fifo else random.Random(seed)
        self.settings = PostgresSettings(**BRISK | settings)
        self.server: PostgresServer
        self.port = 0
        self._listener: asyncio.Server | None = None

    @property
    def dsn(self) -> str:
        """A connection string."""
        password = self.settings.password or "any"
        return f"postgresql://meshrelay:{password}@127.0.0.1:{self.port}/postgres?sslmode=disable"

    async def start(self, *, wait: bool = True) -> PostgresServer:
        """Start a new life on the disk."""
        self.server = PostgresServer(
            name="postgres", now_ns=time.time_ns, rng=self.rng, disk=self.disk, settings=self.settings
        )
        server = self.server
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: server.protocol(), "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        server.start()
        if wait:
            await eventually(lambda: server.is_ready, "the server is up")
        return server

    def stop_listening(self) -> None:
        """Take no more connections; those that are there stay."""
        if self._listener is not None:
            self._listener.close()

    def kill(self) -> None:
        """SIGKILL: the process is gone, the disk is not."""
        self.stop_listening()
        self.server.stop()


@asynccontextmanager
async def simulated(*, migrated: bool = True, **settings: Any) -> AsyncIterator[Simulated]:
    """A running simulated server, with the relay's tables unless told otherwise."""
    simulation = Simulated(**settings)
    await simulation.start()
    try:
        if migrated:
            database = Database(simulation.dsn, size_max=1, timeout_s=WAIT_S)
            await migrate(database)
            await database.close()
        yield simulation
    finally:
        simulation.kill()


async def connect(dsn: str) -> Any:
    """A connection with the relay's settings."""
    return await asyncpg.connect(dsn, timeout=WAIT_S, server_settings=SERVER_SETTINGS)
