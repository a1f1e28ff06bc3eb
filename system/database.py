"""Postgres by asyncpg, under the rules that its failures demand.

asyncpg reuses a connection after a timeout or a cancellation, and may then roll back what the next user committed; its
release can hang on a silent server; and it reports a lost connection in a dozen ways. So: every statement has a time
limit; a connection on which anything but a plain server error happened is thrown away; and callers see just two kinds
of failure, `DatabaseUnavailable` (try again; the outcome of a write is *unknown*) and bugs.
"""

from __future__ import annotations

import asyncio
import contextlib
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
        self._size_max = size_max
        self._timeout_s = timeout_s
        self._pool: Any = None
        self._opening = asyncio.Lock()

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

        Raises DatabaseUnavailable when the outcome is unknown; other server errors pass through.
        """
        try:
            pool = await self._opened()
            async with asyncio.timeout(timeout_s or self._timeout_s):
                connection = await pool.acquire()
        except Exception as error:  # every way to fail here is classified by its chain
            raise _classified(error) from error
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                result = await work(connection)
        except asyncpg.PostgresError as error:
            transient = is_transient(error)
            await self._give_back(pool, connection, sound=not transient)
            if transient:
                raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error
            raise
        except BaseException as error:  # also cancellation: the connection may hold half a statement
            await self._give_back(pool, connection, sound=False)
            if isinstance(error, Exception):
                raise _classified(error) from error
            raise
        await self._give_back(pool, connection, sound=True)
        return result

    async def close(self, within_s: float | None = None) -> None:
        """Close the pool within the time limit, or cut its connections."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(min(self._timeout_s, within_s or self._timeout_s)):
                await pool.close()
        except Exception as error:  # closing must end, however the server behaves
            log.warning("database.close_cut", error=repr(error))
            pool.terminate()

    async def _opened(self) -> Any:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=1,
                    max_size=self._size_max,
                    timeout=self._timeout_s,
                    command_timeout=self._timeout_s,
                    # asyncpg's RESET round trip after each use would double the cost of a page; a connection carries
                    # no session state here, because every use is one statement.
                    reset=_no_reset,
                    server_settings=SERVER_SETTINGS,
                )
            return self._pool

    async def _give_back(self, pool: Any, connection: Any, *, sound: bool) -> None:
        if not sound:
            _terminate(connection)
        try:
            await pool.release(connection, timeout=self._timeout_s)
        except Exception as error:  # the statement's own outcome stands; a failed release only costs the connection
            log.warning("database.release_failed", error=repr(error))
            _terminate(connection)


def _terminate(connection: Any) -> None:
    """Cut a borrowed connection, unless it is gone: the pool takes one back by itself as soon as it is lost."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _no_reset(connection: Any) -> None:
    """Nothing to reset."""


def _classified(error: Exception) -> Exception:
    if is_transient(error):
        return DatabaseUnavailable(f"{type(error).__name__}: {error}")
    return error
