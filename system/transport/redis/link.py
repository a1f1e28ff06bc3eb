"""Redis by redis-py's connections, under the same rules as Postgres (`system/database.py`).

A use is one or two round trips on a connection of our own list, each within a time limit; a connection on which
anything went unanswered, or went wrong, is thrown away, and with it whatever it watched. Callers see one kind of
failure: `RedisUnavailable`. redis-py's pool and its clients are not used: they repeat commands by themselves, and an
EXEC whose answer was lost must never be.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import structlog
from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import RedisError, ResponseError

from system.transport.errors import RedisUnavailable
from system.transport.redis.metrics import RedisMetrics

log = structlog.get_logger(__name__)

Command = tuple[str | int | bytes, ...]
IDLE_MAX_S = 300.0
"""A connection that was idle for longer may have been forgotten by whatever stands between."""


class Lent:
    """One connection, for as long as its borrower has it."""

    def __init__(self, connection: Any, link: RedisLink) -> None:
        self._connection = connection
        self._link = link

    async def answers(self, *commands: Command) -> list[Any]:
        """Send commands in one go and return an answer to each; a refused one's is its ResponseError.

        Raises RedisUnavailable.
        """
        try:
            async with asyncio.timeout(self._link.timeout_s):
                await self._connection.send_packed_command(self._connection.pack_commands(commands))
                found = [await self._answer() for _ in commands]
        except (RedisError, OSError, TimeoutError) as error:
            self._link.count_error()
            raise RedisUnavailable(f"expected an answer from Redis, got {type(error).__name__}: {error}") from error
        self._link.note_answer()
        return found

    async def ask(self, *commands: Command) -> list[Any]:
        """As `answers`, of which none may be a refusal. Raises RedisUnavailable."""
        found = await self.answers(*commands)
        for one in found:
            if isinstance(one, Exception):
                self._link.count_error()
                raise RedisUnavailable(f"Redis refused: {one}")
        return found

    async def transact(self, commands: Sequence[Command]) -> list[Any] | None:
        """Run commands as one transaction; None if a watched key changed meanwhile, and nothing was done.

        Raises RedisUnavailable: whether it took effect is unknown.
        """
        *_, results = await self.ask(("MULTI",), *commands, ("EXEC",))
        for one in results or ():
            if isinstance(one, Exception):
                self._link.count_error()
                raise RedisUnavailable(f"expected a transaction to take effect whole, but {one}")
        return None if results is None else list(results)

    async def read(self) -> Any:
        """The next message of a subscription, waiting for as long as it takes. Raises RedisUnavailable."""
        try:
            message = await self._connection.read_response(disconnect_on_error=False)
        except (RedisError, OSError) as error:
            self._link.count_error()
            raise RedisUnavailable(f"expected news from Redis, got {type(error).__name__}: {error}") from error
        self._link.note_answer()
        return message

    async def send(self, command: Command) -> None:
        """Send a command whose answer comes among the messages of a subscription. Raises RedisUnavailable."""
        try:
            async with asyncio.timeout(self._link.timeout_s):
                await self._connection.send_packed_command(self._connection.pack_command(*command))
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisUnavailable(f"expected to reach Redis, got {type(error).__name__}: {error}") from error

    async def _answer(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error


class RedisLink:
    """A few connections, lent one at a time."""

    def __init__(self, url: str, *, size_max: int, timeout_s: float, metrics: RedisMetrics) -> None:
        self.timeout_s = timeout_s
        self._arguments: dict[str, Any] = dict(parse_url(url))
        self._class: type[Any] = self._arguments.pop("connection_class", Connection)
        self._metrics = metrics
        self._slots = asyncio.Semaphore(size_max)
        self._idle: list[tuple[Any, float]] = []
        self.answered_at: float | None = None
        """Loop time of the last answer, in s."""
        self._is_closed = False

    async def ask(self, *commands: Command) -> list[Any]:
        """Commands on any connection, in one round trip. Raises RedisUnavailable."""
        async with self.lend() as lent:
            return await lent.ask(*commands)

    @contextlib.asynccontextmanager
    async def lend(self, *, keep: bool = True) -> AsyncIterator[Lent]:
        """A connection for the length of an `async with`; it is used again only if that ends well, and if `keep`.

        Raises RedisUnavailable.
        """
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise RedisUnavailable(f"no connection to Redis was free within {self.timeout_s} s") from None
        try:
            connection = self._last_idle() or await self._dial()
            sound = False
            try:
                yield Lent(connection, self)
                sound = keep
            finally:  # unsound after a cancellation too: an answer may still be on its way
                if sound and connection.is_connected and not self._is_closed:
                    self._idle.append((connection, asyncio.get_running_loop().time()))
                else:
                    _drop(connection)
        finally:
            self._slots.release()

    def close(self, *, for_good: bool = False) -> None:
        """Cut every idle connection, and `for_good` also those that are lent, when they come back."""
        self._is_closed = for_good
        for connection, _ in self._idle:
            _drop(connection)
        self._idle.clear()

    def note_answer(self) -> None:
        """Something was answered just now."""
        self.answered_at = asyncio.get_running_loop().time()

    def count_error(self) -> None:
        """Something went unanswered, or was refused."""
        self._metrics.errors.inc()

    def _last_idle(self) -> Any:
        oldest_s = asyncio.get_running_loop().time() - IDLE_MAX_S
        while self._idle:
            connection, since_s = self._idle.pop()
            if connection.is_connected and since_s >= oldest_s and not _has_ended(connection):
                return connection
            _drop(connection)
        return None

    async def _dial(self) -> Any:
        # RESP 2, and no word about the driver: older servers know neither, and nothing here needs them
        connection = self._class(
            **{"client_name": "meshrelay", "protocol": 2} | self._arguments,
            driver_info=None,
            socket_timeout=None,  # limits are ours, around whole round trips
            socket_connect_timeout=None,
        )
        try:
            async with asyncio.timeout(self.timeout_s):
                await connection.connect()
        except (RedisError, OSError, TimeoutError) as error:
            _drop(connection)
            self.count_error()
            raise RedisUnavailable(f"expected a connection to Redis, got {type(error).__name__}: {error}") from error
        except BaseException:
            _drop(connection)
            raise
        return connection


def _has_ended(connection: Any) -> bool:
    """Whether the server closed it while it was idle."""
    reader, writer = connection._reader, connection._writer
    return reader is None or reader.at_eof() or writer is None or writer.is_closing()


def _drop(connection: Any) -> None:
    """End a connection at once: redis-py's own way would wait for what was written to be taken."""
    writer = connection._writer
    if writer is not None:
        writer.transport.abort()
    connection._reader = connection._writer = None
