"""Simulated servers over loopback, and two arms, simulated and real, that take the same steps of several sessions."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
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
}
"""The relay's tables and their primary keys."""
TIMES = {"lease_until", "began_at", "persisted_at", "acked_at", "due_at", "recorded_at"}


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


def plain(value: Any) -> Any:
    """A value without what two servers can't agree on: the time."""
    return "a time" if isinstance(value, datetime) else value


async def outcome(connection: Any, text: str, args: Sequence[Any]) -> Any:
    """What a statement answers: rows, a tag, or the error by its code and constraint."""
    try:
        status = await connection.execute(text, *args) if "RETURNING" not in text and "SELECT" not in text else None
        if status is not None:
            return status
        rows = await connection.fetch(text, *args)
    except asyncpg.PostgresError as error:
        return "error", error.sqlstate, error.constraint_name
    return [tuple(_timeless(name, value) for name, value in row.items()) for row in rows]


def _timeless(name: str, value: Any) -> Any:
    """A value without what follows from the moment at which it was read."""
    if name == "now_ns":
        return "a time"
    return ("left", value > 0, math.isinf(value)) if name == "left_s" else plain(value)


class Arm:
    """Some sessions of one server; a step of one of them may wait for another's."""

    def __init__(self, sessions: Sequence[Any], watcher: Any, server: PostgresServer | None) -> None:
        self.sessions = sessions
        self.pending: dict[int, asyncio.Task[Any]] = {}
        self.lasts: dict[int, datetime | None] = {}
        """By session what its last sweep answered, where the next one begins."""
        self._watcher = watcher
        self._server = server

    async def step(self, session: int, text: str, args: Sequence[Any]) -> dict[int, Any]:
        """Run a statement on a session; answers what finished, by session, and which sessions wait."""
        given = [self.lasts.get(session) if arg == "the last" else arg for arg in args]
        self.pending[session] = asyncio.create_task(self._run(session, text, given))
        return await self.settle()

    async def settle(self) -> dict[int, Any]:
        """Wait until every session is done or waits for another one."""
        deadline = time.monotonic() + WAIT_S
        while True:
            # who is done is seen first: an end that comes later may free those that are seen waiting
            done = [number for number, task in self.pending.items() if task.done()]
            blocked = await self._blocked()
            if all(number in done or number in blocked for number in self.pending):
                break
            assert time.monotonic() < deadline, f"expected an end of {list(self.pending)}"
            await asyncio.sleep(0.000_3)
        finished = {number: self.pending.pop(number).result() for number in done}
        return finished | dict.fromkeys(self.pending, "waits")

    async def cancel(self, session: int) -> None:
        """Have a waiting session's statement cancelled by a CancelRequest, and wait until it is."""
        self.pending.pop(session).cancel()
        await asyncio.sleep(0)

        async def is_free() -> bool:
            return session not in await self._blocked()

        await eventually(is_free, "the statement is cancelled")

    async def _run(self, session: int, text: str, args: Sequence[Any]) -> Any:
        if "max(persisted_at) AS last" not in text:
            return await outcome(self.sessions[session], text, args)
        try:
            row = await self.sessions[session].fetchrow(text, *args)
        except asyncpg.PostgresError as error:
            return "error", error.sqlstate, error.constraint_name
        self.lasts[session] = row["last"]
        return [(row["count"], plain(row["last"]))]

    async def _blocked(self) -> list[int]:
        if self._server is not None:
            pids = self._server.waiting_pids
        else:
            pids = [row["pid"] for row in await self._watcher.fetch("SELECT pid FROM pg_locks WHERE NOT granted")]
        return [number for number, one in enumerate(self.sessions) if one.get_server_pid() in pids]
