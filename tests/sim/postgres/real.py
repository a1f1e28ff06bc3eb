"""The real arm: sessions of the real server, looked on at by a connection of nobody's."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import asyncpg

from faults.stack import PostgresProcess
from system.migrate import migrations
from tests.sim.postgres.arms import Arm, Kind, until
from tests.sim.postgres.harness import TABLES, WAIT_S

WAITING_SQL = (
    "SELECT pid, pg_blocking_pids(pid) AS blockers FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) l"
)
ALIVE_SQL = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"


class RealServer:
    """A database of the real server, with a connection for looking on."""

    def __init__(self, dsn: str, process: PostgresProcess | None = None) -> None:
        """`process` is the server, where it may be ended."""
        self.dsn = dsn
        self.process = process
        self._watcher: Any = None
        self._arms: dict[str, RealArm] = {}

    def arm(self, lock_timeout: str = "") -> RealArm:
        """Sessions with this setting; they are kept, for to connect takes longer than most schedules' statements."""
        return self._arms.setdefault(lock_timeout, RealArm(self, lock_timeout=lock_timeout))

    async def watcher(self) -> Any:
        """A connection of nobody's."""
        if self._watcher is None or self._watcher.is_closed():
            self._watcher = await asyncpg.connect(self.dsn, timeout=WAIT_S, server_settings={"jit": "off"})
        return self._watcher

    async def empty_tables(self) -> None:
        """Only what the migrations noted is left."""
        await (await self.watcher()).execute(
            f"TRUNCATE {', '.join(name for name in TABLES if name != 'schema_migration')};"
            f"DELETE FROM schema_migration WHERE number NOT BETWEEN 1 AND {len(migrations())}"
        )

    async def empty_database(self) -> None:
        """No table is left, and nobody who knows of one."""
        await self.close()
        await (await self.watcher()).execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def is_deserted(self) -> bool:
        """Whether nobody is connected."""
        return self._watcher.is_closed() and not any(arm.pids() for arm in self._arms.values())

    async def close(self) -> None:
        """Leave nothing behind."""
        for arm in self._arms.values():
            await arm.close()
        self._arms.clear()
        if self._watcher is not None:
            await self._watcher.close()


class RealArm(Arm):
    """Sessions of the real server; whoever waits for itself is waited for, until the server finds a victim."""

    def __init__(self, server: RealServer, *, lock_timeout: str = "") -> None:
        super().__init__(server.dsn, lock_timeout=lock_timeout)
        self.settings = self.settings | {"deadlock_timeout": "10ms"}
        self.server = server

    async def look(self, *, closely: bool = True) -> tuple[list[int], list[int]]:
        """As `Arm` says; a session in a circle of waits does not go on waiting."""
        watcher = await self.server.watcher()
        alive = [row["pid"] for row in await watcher.fetch(ALIVE_SQL)] if closely else []
        blockers = {row["pid"]: list(row["blockers"]) for row in await watcher.fetch(WAITING_SQL)}
        ours = [*self._ghosts, *self.pids()]
        # who waits for the server's own work, as an autovacuum, goes on by itself
        held = [pid for pid, others in blockers.items() if any(other in ours for other in others)]
        return alive, [pid for pid in held if not _in_circle(pid, blockers)]

    async def terminate(self, pid: int) -> None:
        """As `Arm` says."""
        assert await (await self.server.watcher()).fetchval("SELECT pg_terminate_backend($1)", pid)

    async def end_server(self, kind: Kind, pid: int) -> None:
        """As `Arm` says."""
        process = self.server.process
        assert process is not None, "this server is not ours to end"
        if kind is Kind.CRASH:
            os.kill(pid, signal.SIGKILL)
        else:
            await (process.kill() if kind is Kind.KILL else process.stop())

    async def start_server(self) -> None:
        """As `Arm` says; after a crash of one backend it starts by itself."""
        process = self.server.process
        assert process is not None
        await until(self.server.is_deserted, "every connection is ended")
        await (process.wait_ready() if process.is_running() else process.start())

    async def cancelled(self, statement: asyncio.Task[Any]) -> None:
        """As `Arm` says: the backend was signalled, and has to wake up."""
        await asyncio.wait([statement], timeout=WAIT_S)

    async def close(self) -> None:
        """As `Arm` says; what the sessions held is free then."""
        ours = [*self.pids(), *self._ghosts]
        self._ghosts.clear()
        await super().close()

        async def are_gone() -> bool:
            alive = (await self.look())[0]
            return not any(pid in alive for pid in ours)

        await until(are_gone, "every session's backend is gone")


def _in_circle(pid: int, blockers: dict[int, list[int]]) -> bool:
    seen: list[int] = []
    reached = list(blockers.get(pid, ()))
    while reached:
        one = reached.pop()
        if one == pid:
            return True
        if one not in seen:
            seen.append(one)
            reached += blockers.get(one, ())
    return False
