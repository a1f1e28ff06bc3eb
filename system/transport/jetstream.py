"""Option A: each session reads the stream through a consumer of its own; Postgres says what of it is gone.

This is what the sources of one replica share: it fits the stream to being read, wakes the sources when the connection
is over, and deletes the consumers of those that have ended. Consumers of a replica that died go by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import nats.js.errors
import structlog
from nats.errors import Error as NatsError

from system.database import Database
from system.host import Host
from system.link import Connection, NatsLink, NatsUnavailable, describe, heed_cancellation
from system.metrics import Metrics
from system.places import NotReady, Places
from system.settings import Settings
from system.stream import StreamUnsafe, stream_config
from system.tail import Tail
from system.transport import Transport
from system.transport.consumer import delete_consumer, fit_stream
from system.transport.offers import sentences
from system.transport.parts import Followed, Parts
from system.transport.source import JetStreamSource

log = structlog.get_logger(__name__)

FIT_RETRY_S = 1.0
FIT_LIMIT_S = 5.0
"""How long a page waits for the stream to be looked at: a replica is ready a moment before it has done so."""
DISCARDED_MAX = 100_000
"""Names of consumers to delete; beyond it the oldest is left to the server, which forgets it by itself."""
LAST_WORD_S = 1.0
"""How long a replica that ends takes to delete what is left."""


class JetStreamTransport(Transport):
    """What the sessions of a replica share under option A (Transport)."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        link: NatsLink,
        host: Host,
        metrics: Metrics,
        *,
        places: Places,
        tail: Tail,
        on_moved: Callable[[], None],
    ) -> None:
        """`on_moved` is told when sessions may have bookmarks to write."""
        self._parts = Parts(
            settings=settings,
            database=database,
            link=link,
            host=host,
            metrics=metrics,
            places=places,
            tail=tail,
            gate=asyncio.Semaphore(settings.replays_max),
        )
        self.moved = on_moved
        self._sources: dict[Followed, None] = {}
        self._ending: dict[asyncio.Task[None], None] = {}
        self._discarded: deque[str] = deque(maxlen=DISCARDED_MAX)
        self._stir = asyncio.Event()
        self._fitted = asyncio.Event()
        self._problem: str | None = None
        """Why the stream can't be read without losing or repeating events, if that is known."""

    def open(self, agent: str) -> JetStreamSource:
        """A source for one session; its consumer is made with its first page (Transport)."""
        return JetStreamSource(agent, self._parts, self)

    async def run(self) -> None:
        """Fit the stream, wake sources, delete consumers, for ever (Transport)."""
        log.info("transport.jetstream", cannot=sentences("jetstream"))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look_after(), name="transport-connection")
                group.create_task(self._delete_discarded(), name="transport-consumers")
        finally:
            await self._delete_last()

    async def lead(self, fence: int) -> None:
        """Nothing that only the leader does: the sweeper notes what this transport needs (Transport)."""

    # For the sources (Registry)

    async def wait_fit(self) -> None:
        """Wait until the stream is known to be fit for reading, for a while. Raises NotReady."""
        if self._fitted.is_set():
            return
        try:
            async with asyncio.timeout(0 if self._problem else FIT_LIMIT_S):
                await self._fitted.wait()
        except TimeoutError:
            raise NotReady(self._problem or "NATS has not told yet whether the stream is fit to be read") from None

    def begun(self, source: Followed) -> None:
        """A source follows the stream from now on."""
        self._sources[source] = None
        self._parts.metrics.consumers.set(len(self._sources))

    def ended(self, source: Followed, reading: asyncio.Task[None]) -> None:
        """It does no more; its task, which was cancelled, is held until it has ended."""
        self._sources.pop(source, None)
        self._parts.metrics.consumers.set(len(self._sources))
        self._ending[reading] = None
        reading.add_done_callback(self._forget)

    def discard(self, name: str) -> None:
        """Have a consumer deleted, some time."""
        self._discarded.append(name)
        self._stir.set()

    def _forget(self, reading: asyncio.Task[None]) -> None:
        self._ending.pop(reading, None)
        if not reading.cancelled() and reading.exception() is not None:
            log.error("session.consumer_failed", error=repr(reading.exception()), exc_info=reading.exception())

    # For itself

    async def _look_after(self) -> None:
        while True:
            connection = await self._parts.link.wait_connected()
            await self._fit(connection)
            await connection.over.wait()
            for source in list(self._sources):
                source.end_reading("the connection is over")

    async def _fit(self, connection: Connection) -> None:
        """Until it is done, or the connection is over: the stream may not be there yet, nor JetStream."""
        settings, link = self._parts.settings, self._parts.link
        wanted = stream_config(settings.stream, **settings.stream_limits())
        while not connection.over.is_set():
            heed_cancellation()
            try:
                changed, link.allows_ttl = await fit_stream(connection, wanted)
                self._problem = None
                self._fitted.set()
                if changed:
                    log.warning("stream.changed", **changed)
                if not link.allows_ttl:
                    log.warning(
                        "stream.no_message_ttl",
                        hint="NATS before 2.11 keeps every event for STREAM_MAX_AGE_S; nothing is lost by that",
                    )
                return
            except StreamUnsafe as error:
                self._problem = str(error)
                self._fitted.clear()
                log.error("stream.unfit", problem=self._problem)
            except nats.js.errors.NotFoundError:
                log.info("stream.not_there_yet")  # the leader makes it as it should be
            except (NatsError, TimeoutError) as error:
                log.warning("stream.not_fitted", error=describe(error))
            await asyncio.sleep(FIT_RETRY_S)

    async def _delete_discarded(self) -> None:
        while True:
            heed_cancellation()
            while not self._discarded:
                self._stir.clear()
                await self._stir.wait()
            connection = await self._parts.link.wait_connected()
            name = self._discarded.popleft()
            await self._delete(connection, name)

    async def _delete(self, connection: Connection, name: str) -> None:
        try:
            await delete_consumer(connection, self._parts.settings.stream, name)
        except (NatsError, TimeoutError) as error:
            log.info("session.consumer_left", name=name, error=describe(error))  # the server forgets it by itself

    async def _delete_last(self) -> None:
        """Whatever can still be deleted when the replica ends."""
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await asyncio.gather(*self._ending, return_exceptions=True)
                connection = self._parts.link.current()
                await asyncio.gather(*(self._delete(connection, name) for name in self._discarded))
        except (NatsUnavailable, TimeoutError) as error:
            log.info("session.consumers_left", count=len(self._discarded), error=describe(error))
