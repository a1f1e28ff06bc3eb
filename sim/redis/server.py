"""The simulated Redis server: connections, the append-only file and timers around the engine, nothing of its meaning.

All commands that have come are done in one turn; then what they changed is written to the file, and only then are they
answered (`beforeSleep` in server.c). With `appendfsync always` the file is synced between the two, and nobody is served
meanwhile; with `everysec` a sync runs beside, and what is to be written waits for it in the process's memory, where a
SIGKILL takes it (`flushAppendOnlyFile` in aof.c).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import cast

from sim.redis import codec
from sim.redis.disk import RedisDisk
from sim.redis.engine import Engine
from sim.redis.session import Session
from sim.redis.settings import NO_TIME, Range, RedisSettings

SYNC_EVERY_S = {"everysec": 1.0, "no": 30.0}
"""When what was written is durable: by Redis, and by the kernel in its own time (`dirty_expire_centisecs`)."""
POSTPONED_S_MAX = 2.0
"""How long a write waits for a sync that runs beside; then it is written all the same."""
RETRY_S = 0.1
"""How often a write that found no room is tried again: the ten turns a second of an idle server."""
LISTENER_BYTES_MAX = 32 * 1024 * 1024
"""What may wait for somebody who has subscribed and does not read (`client-output-buffer-limit pubsub`)."""


class RedisServer:
    """One life of a server process; the next one is made of the same disk."""

    def __init__(
        self,
        *,
        now_ns: Callable[[], int],
        rng: random.Random,
        disk: RedisDisk,
        settings: RedisSettings | None = None,
        exit: Callable[[], object] | None = None,
        asked: Counter[str] | None = None,
    ) -> None:
        """`exit` ends the process by itself: with `always`, a write that finds no room; `asked` counts commands."""
        self.settings = settings or RedisSettings()
        self.engine = Engine(self.settings, run_id=f"{rng.getrandbits(160):040x}", asked=asked)
        self._now_ns = now_ns
        self._rng = rng
        self._disk = disk
        self._exit = exit
        self._connections = 0
        self._waiting: dict[Connection, None] = {}
        self._is_turn_planned = False
        self._is_blocked = False
        self._is_syncing = False
        self._is_sync_planned = False
        self._postponed_since_s: float | None = None

    def protocol(self) -> asyncio.Protocol:
        """A new connection, for `loop.create_server`."""
        self._connections += 1
        return Connection(self, self._connections)

    def start(self) -> None:
        """Read the file; clients are told so until it is read."""
        self.engine.is_loading = True
        self.engine.now_ms = self.engine.started_ms = self._now_ns() // 1_000_000
        is_empty = not (self._disk.base or self._disk.records)
        self._after(NO_TIME if is_empty else self.settings.load_s, self._loaded)

    def shut_down(self) -> None:
        """SIGTERM: what was changed is written and synced. Whoever asks ends the process then."""
        if self._disk.write(self.engine.pending):
            self.engine.pending.clear()
            self._disk.sync()

    def wake(self, connection: Connection) -> None:
        """A connection has something to be done."""
        self._waiting[connection] = None
        self._plan_turn()

    def _plan_turn(self) -> None:
        if not self._is_turn_planned and not self._is_blocked:
            self._is_turn_planned = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _loaded(self) -> None:
        if self.settings.appendonly:
            self.engine.load(self._disk)
        self.engine.is_loading = False

    def _turn(self) -> None:
        self._is_turn_planned = False
        self.engine.begin_turn(self._now_ns())
        waiting, self._waiting = self._waiting, {}
        for connection in waiting:
            connection.work()
        if self._flush():
            self._answer()

    def _flush(self) -> bool:
        """Write what was changed; whether clients may be answered now."""
        engine, is_always = self.engine, self.settings.appendfsync == "always"
        if not engine.pending or self._is_postponed():
            return True
        if not self._disk.write(engine.pending):
            if is_always:
                # "Can't recover from AOF write error when the AOF fsync policy is 'always'": nobody is answered
                self._is_blocked = True
                if self._exit is not None:
                    self._exit()
                return False
            if not engine.has_write_error:
                engine.has_write_error = True
                self._after((RETRY_S, RETRY_S), self._retry)
            return True
        engine.pending = []
        engine.has_write_error = False
        if not is_always:
            self._plan_sync()
            return True
        if self.settings.sync_s == NO_TIME:
            self._synced()
            return True
        self._is_blocked = True
        self._after(self.settings.sync_s, self._unblock)
        return False

    def _is_postponed(self) -> bool:
        """Whether a sync that runs beside keeps what was changed in memory."""
        now_s = asyncio.get_running_loop().time()
        if not self._is_syncing or self.settings.appendfsync != "everysec":
            self._postponed_since_s = None
            return False
        if self._postponed_since_s is None:
            self._postponed_since_s = now_s
        return now_s - self._postponed_since_s < POSTPONED_S_MAX

    def _unblock(self) -> None:
        self._is_blocked = False
        self._synced()
        self._answer()
        if self._waiting:
            self._plan_turn()

    def _retry(self) -> None:
        if self.engine.has_write_error:
            self._flush()
        if self.engine.has_write_error:
            self._after((RETRY_S, RETRY_S), self._retry)

    def _plan_sync(self) -> None:
        if not self._is_sync_planned:
            self._is_sync_planned = True
            every_s = SYNC_EVERY_S[self.settings.appendfsync]
            self._after((every_s, every_s), self._begin_sync)

    def _begin_sync(self) -> None:
        self._is_syncing = True
        self._after(self.settings.sync_s, self._end_sync)

    def _end_sync(self) -> None:
        self._is_syncing = self._is_sync_planned = False
        self._synced()
        if self.engine.pending and not self.engine.has_write_error:
            self._flush()

    def _synced(self) -> None:
        self._disk.sync()
        if self._disk.is_long:
            self._disk.rewrite(self.engine.keyspace.kept())

    def _answer(self) -> None:
        for session in tuple(self.engine.sessions):
            if session.told and isinstance(session, Client):
                session.connection.send()

    def _after(self, between_s: Range, what: Callable[[], None]) -> None:
        """Do something later; at once if that takes no time."""
        low_s, high_s = between_s
        if high_s == 0.0:
            what()
        else:
            asyncio.get_running_loop().call_later(self._rng.uniform(low_s, high_s), what)


class Client(Session):
    """A session and its connection."""

    connection: Connection


class Connection(asyncio.Protocol):
    """A client's bytes."""

    transport: asyncio.Transport

    def __init__(self, server: RedisServer, number: int) -> None:
        self._server = server
        self._session = Client(server.engine, number)
        self._session.connection = self
        self._parser = codec.Parser()
        self._requests: list[codec.Request | codec.Broken] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It says nothing until it is asked."""
        self.transport = cast("asyncio.Transport", transport)
        self._server.engine.sessions[self._session] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what it asked for and was not begun is forgotten."""
        self._requests.clear()
        self._server.engine.left(self._session)

    def data_received(self, data: bytes) -> None:
        """Take whatever is complete; it is done in the server's next turn."""
        self._requests += self._parser.feed(data)
        if self._requests:
            self._server.wake(self)

    def work(self) -> None:
        """Do everything that was asked for."""
        requests, self._requests = self._requests, []
        for request in requests:
            if self._session.is_over:
                break
            if isinstance(request, codec.Broken):
                self._session.tell(request.failure)
                self._session.is_over = True
            else:
                self._session.take(request)

    def send(self) -> None:
        """Send what the session has to tell, and end the connection if it is over."""
        told, self._session.told[:] = b"".join(self._session.told), []
        if self.transport.is_closing():
            return
        self.transport.write(told)
        if self._session.is_over:
            self._server.engine.left(self._session)
            self.transport.close()
        elif self._session.channels and self.transport.get_write_buffer_size() > LISTENER_BYTES_MAX:
            self._server.engine.left(self._session)
            self.transport.abort()
