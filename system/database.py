"""Postgres by asyncpg, under the rules that its failures demand.

asyncpg reuses a connection after a timeout or a cancellation, and may then roll back what the next user committed; its
pool's release can hang on a silent server; and it reports a lost connection in a dozen ways. So: every statement has a
time limit; a connection on which anything but a plain server error happened is thrown away; and callers see just two
kinds of failure, `DatabaseUnavailable` (try again; the outcome of a write is *unknown*) and bugs.

A statement that its caller gives up runs on in Postgres, which looks at no socket while it waits for a lock. So it
keeps its place in the pool until Postgres is done with it, which has a time limit of its own, a little above ours;
else each one given up would be followed by a new connection, and a table that somebody locks by hundreds.

The pool is ours because every use here is one statement: to lend a connection and to take it back are then two steps of
a list, which wait for nobody and can't fail. asyncpg's pool makes a task and three timers of each use;
here it is a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
import structlog

log = structlog.get_logger(__name__)
T = TypeVar("T")

_CONNECTION_LOST: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.UndefinedTableError,  # the first replica has not yet migrated the schema
)

_NOT_LET_IN: tuple[type[asyncpg.PostgresError], ...] = (
    asyncpg.ObjectNotInPrerequisiteStateError,  # ALTER DATABASE … ALLOW_CONNECTIONS false
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28: a role, a password, pg_hba.conf
    asyncpg.InvalidCatalogNameError,  # a database that is renamed, restored, or not made yet
    asyncpg.InsufficientPrivilegeError,  # REVOKE CONNECT
)
"""What Postgres says at its door when somebody is at work on it. On a connection that was let in these are bugs."""

IDLE_MAX_S = 300.0
"""A connection that was idle for longer may have been forgotten by whatever stands between, and is not used again."""
SERVER_SLACK_S = 1.0
"""How much longer than ours Postgres's limit of a statement is: it must not be the one to decide. It ends no commit
that waits for a standby; a cancellation of ours would, and it would count as done there without the standby."""
SERVER_SETTINGS = {
    "application_name": "meshrelay",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Every statement of ours is a short read along an index in its order. Where statistics are missing or old, the planner
may think it cheaper to collect all of an agent's events and sort them for one page: 500 ms instead of 1 ms. It still
uses what is off where nothing else will do. One plan then serves all values, and to make it anew for each page, as the
planner would, costs a fifth of the page. A pooler in between must pass these on or ignore them."""


class DatabaseUnavailable(Exception):
    """Postgres did not answer as a healthy server would; whether a write took effect is unknown."""


def is_transient(error: BaseException) -> bool:
    """Whether an error says 'the connection or server failed' rather than 'the statement is wrong'.

    asyncpg masks the real error of a lost connection behind InterfaceError, so its cause and context count too.
    """
    seen = 0
    current: BaseException | None = error
    while current is not None and seen < 8:
        if isinstance(current, _CONNECTION_LOST):
            return True
        current, seen = current.__cause__ or current.__context__, seen + 1
    return False


class Database:
    """A pool whose every use is one statement within a time limit."""

    def __init__(self, dsn: str, *, size_max: int, timeout_s: float) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(size_max)
        self._idle: list[tuple[Any, float]] = []
        """Connections that nobody has borrowed, with the loop time at which each came back; the last one goes first."""
        self._lent: dict[Any, asyncio.Task[Any]] = {}
        """Those that are in use, with what uses them; some were given up."""

    async def fetch(self, sql: str, *args: object) -> Sequence[Any]:
        """Run one statement and return its rows. Raises DatabaseUnavailable, or asyncpg.PostgresError for a bug."""
        return await self.use(lambda connection: connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: object) -> Any:
        """Run one statement and return its first row, or None. Raises as `fetch`."""
        return await self.use(lambda connection: connection.fetchrow(sql, *args))

    async def execute(self, sql: str, *args: object) -> None:
        """Run one statement for its effect. Raises as `fetch`."""
        await self.use(lambda connection: connection.execute(sql, *args))

    async def use(self, work: Callable[[Any], Awaitable[T]], *, timeout_s: float | None = None) -> T:
        """Lend a connection to `work`; after anything but success or a plain server error it is thrown away.

        The time limit covers the wait for a connection too. Raises DatabaseUnavailable when the outcome is unknown;
        other server errors pass through.
        """
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                await self._slots.acquire()
                try:
                    connection = await self._take()
                except BaseException:
                    self._slots.release()
                    raise
                return await self._wait_for(self._start(connection, work))
        except Exception as error:  # every way to fail here is classified by its chain
            if is_transient(error):
                raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error
            raise

    def patient(self, timeout_s: float) -> Database:
        """A pool of one connection to the same database, for statements that may take so long on either side."""
        return Database(self._dsn, size_max=1, timeout_s=timeout_s)

    async def close(self, within_s: float | None = None) -> None:
        """Say goodbye on every idle connection within the time limit; cut the others."""
        idle, self._idle = [connection for connection, _ in self._idle], []
        try:
            async with asyncio.timeout(min(self._timeout_s, within_s or self._timeout_s)):
                await asyncio.gather(*(connection.close() for connection in idle))
        except Exception as error:  # closing must end, however the server behaves
            log.warning("database.close_cut", error=repr(error))
        running = [*self._lent.values()]
        for connection in [*idle, *self._lent]:
            connection.terminate()
        if running:
            await asyncio.wait(running, timeout=SERVER_SLACK_S)
        for task in running:
            task.cancel()  # most have ended with their connections

    def _start(self, connection: Any, work: Callable[[Any], Awaitable[T]]) -> asyncio.Task[T]:
        """Let `work` run in a task of its own, which owns the connection and its place until it is over."""
        task = asyncio.get_running_loop().create_task(self._run(connection, work), name="statement")
        self._lent[connection] = task
        return task

    async def _run(self, connection: Any, work: Callable[[Any], Awaitable[T]]) -> T:
        sound = False
        try:
            result = await work(connection)
            sound = True
            return result
        except asyncpg.PostgresError as error:
            sound = not is_transient(error)
            raise
        finally:  # unsound after a cancellation too: the connection may hold half a statement
            self._give_back(connection, sound=sound)
            self._slots.release()

    async def _wait_for(self, task: asyncio.Task[T]) -> T:
        """Its result; who gives it up leaves it running for as long as Postgres does, if that is still there."""
        loop = asyncio.get_running_loop()
        over_at = loop.time() + self._timeout_s + 2 * SERVER_SLACK_S
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            end = loop.call_at(over_at, task.cancel)

            def over(_: asyncio.Task[T]) -> None:
                end.cancel()
                if not task.cancelled():
                    task.exception()  # which nobody waits for any more

            task.add_done_callback(over)
            raise

    async def _take(self) -> Any:
        """The connection that was used last, or a new one."""
        return self._last_idle() or await self._dial()

    def _last_idle(self) -> Any:
        oldest_s = asyncio.get_running_loop().time() - IDLE_MAX_S
        while self._idle:
            connection, since_s = self._idle.pop()
            if not connection.is_closed():
                if since_s >= oldest_s:
                    return connection
                connection.terminate()
        return None

    def _give_back(self, connection: Any, *, sound: bool) -> None:
        del self._lent[connection]
        if sound and not connection.is_closed():
            self._idle.append((connection, asyncio.get_running_loop().time()))
        else:
            connection.terminate()

    async def _dial(self) -> Any:
        limit_s = self._timeout_s + SERVER_SLACK_S
        try:
            return await asyncpg.connect(
                self._dsn,
                timeout=self._timeout_s,
                # `use` has a limit of its own, and a cached statement lives as long as its connection: no timers
                command_timeout=None,
                max_cached_statement_lifetime=0,
                server_settings=SERVER_SETTINGS | {"statement_timeout": f"{round(limit_s * 1000)}ms"},
            )
        except _NOT_LET_IN as error:
            raise DatabaseUnavailable(f"Postgres lets nobody in: {type(error).__name__}: {error}") from error
