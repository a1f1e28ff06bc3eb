"""Option B: a Redis Stream for each agent and class, fed from JetStream, read by the sessions themselves.

    MESH_EVENTS ─▶ feeder (leader) ─▶ {mesh:…}:agent:<name>:c|s ─▶ page ─▶ session ─▶ agent
                                   └▶ news ─▶ live sessions look again

Postgres is needed to open a stream (epoch, acknowledgements), not to go on with it. Commands used, all of Redis 6.2:
CLIENT SETNAME, AUTH, SELECT, PING, INFO, CONFIG GET, TIME, GET, MGET, SET EX, DEL, HSET, HGET, HMGET, ZADD, ZREM,
ZRANGEBYSCORE, ZREMRANGEBYSCORE, XADD, XRANGE, XREVRANGE, XTRIM MINID, WATCH, MULTI, EXEC, SUBSCRIBE, PUBLISH.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence

import structlog

from system.cursor import Position
from system.database import Database
from system.host import Host
from system.hub import Hub, LiveSession, Released
from system.link import NatsLink, describe
from system.metrics import Metrics
from system.places import Place
from system.session import Page
from system.settings import Settings
from system.tail import Tail
from system.transport import Transport
from system.transport.errors import RedisUnavailable
from system.transport.offers import sentences
from system.transport.redis.feeder import Feeder
from system.transport.redis.keys import Keys
from system.transport.redis.link import Lent, RedisLink
from system.transport.redis.metrics import RedisMetrics
from system.transport.redis.news import News
from system.transport.redis.page import floors_commands, page_commands, read_floors, read_page
from system.transport.redis.safety import RedisUnsafe, check_redis
from system.transport.redis.trimmer import Trimmer

log = structlog.get_logger(__name__)

FEEDING_CONNECTIONS = 2
"""The feeder's and the trimmer's own: readers must not be able to keep them waiting."""


class RedisTransport(Transport):
    """What the sessions of a replica share under option B."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        link: NatsLink,
        host: Host,
        metrics: Metrics,
        *,
        hub: Hub,
        tail: Tail,
    ) -> None:
        self._settings = settings
        self._host = host
        self._hub = hub
        self._tail = tail
        counted = RedisMetrics(metrics.registry)
        url, limit_s = settings.redis_url.get_secret_value(), settings.database_timeout_s
        self._redis = RedisLink(url, size_max=settings.database_pool_max, timeout_s=limit_s, metrics=counted)
        self._feeding = RedisLink(url, size_max=FEEDING_CONNECTIONS, timeout_s=limit_s, metrics=counted)
        self._keys = Keys(settings.stream)
        self._news = News(on_moved=tail.announce)
        self._gate = asyncio.Semaphore(settings.replays_max)
        self._feeder = Feeder(settings, database, link, host, counted, redis=self._feeding, hub=hub)
        self._trimmer = Trimmer(settings, self._feeding, host, counted)
        self._is_subscribed = False
        self._stir = asyncio.Event()
        self._unsafe: str | None = None

    def open(self, agent: str) -> RedisSource:
        """A source for one session (Transport)."""
        return RedisSource(agent, self)

    async def located(self, agent: str, place: Place) -> Place:
        """The place with Redis's floors, for it is Redis that the agent will read. Raises RedisUnavailable."""
        floors = read_floors(await self._redis.ask(*floors_commands(self._keys, agent)))
        return dataclasses.replace(place, floors=floors)

    async def run(self) -> None:
        """Hear news, and look at the watermark beside them (Transport)."""
        log.info("transport.redis", cannot=sentences("redis"))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(), name="redis-news")
                group.create_task(self._poll(), name="redis-poll")
                group.create_task(self._follow(), name="redis-follow")
        finally:
            self._redis.close(for_good=True)

    async def lead(self, fence: int) -> None:
        """Feed and trim (Transport)."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feeder.run(fence), name="redis-feeder")
                group.create_task(self._trimmer.run(fence), name="redis-trimmer")
        finally:
            self._feeder.problem = None  # from here on the next leader's
            self._feeding.close()

    def parts(self, limit_s: float) -> dict[str, bool]:
        """Whether Redis answered lately, and can be used as it is (Transport)."""
        answered_at = self._redis.answered_at
        is_recent = answered_at is not None and asyncio.get_running_loop().time() - answered_at < limit_s
        return {"redis": is_recent and self.problem is None and self._news.head is not None}

    @property
    def problem(self) -> str | None:
        """Why Redis can't be used, if it can't (Transport)."""
        return self._unsafe or self._feeder.problem

    async def prove(self, silence_s: float) -> None:
        """Ask Redis if it was silent for so long, and wait for the answer (Transport)."""
        loop = asyncio.get_running_loop()
        while self._redis.answered_at is None or loop.time() - self._redis.answered_at > silence_s:
            try:
                await self._look()
            except RedisUnavailable:
                await asyncio.sleep(self._settings.tail_poll_s)

    async def read_page(self, agent: str, after: Position, rows_max: int) -> Page:
        """A page of one snapshot. Raises NotReady, RedisUnavailable."""
        commands = page_commands(self._keys, agent, after, rows_max)
        async with self._gate, self._redis.lend() as lent:
            answers = await lent.transact(commands)
        assert answers is not None, "nothing was watched"
        return read_page(answers, rows_max)

    @property
    def news(self) -> News:
        """What this replica has heard."""
        return self._news

    async def _listen(self) -> None:
        """Keep a subscription for ever; whoever was live without one looks again."""
        while True:
            try:
                await check_redis(self._settings, self._redis)
                self._unsafe = None
                async with self._redis.lend(keep=False) as lent:
                    await self._hear(lent)
            except RedisUnsafe as error:
                self._unsafe = str(error)
                log.error("redis.unsafe", problem=self._unsafe)
            except RedisUnavailable as error:
                log.warning("redis.not_heard", error=describe(error))
            finally:
                self._is_subscribed = False
                self._stir.set()
            await asyncio.sleep(self._host.rng.uniform(0.1, 0.5))

    async def _hear(self, lent: Lent) -> None:
        """Take news until they end; a silent subscription must prove itself. Raises RedisUnavailable."""
        await lent.send(("SUBSCRIBE", self._keys.news))
        is_asked = False
        while True:
            wait_s = self._redis.timeout_s if is_asked or not self._is_subscribed else self._settings.idle_check_s
            try:
                async with asyncio.timeout(wait_s):
                    kind, *rest = await lent.read()
            except TimeoutError:
                if is_asked or not self._is_subscribed:
                    raise RedisUnavailable("the subscription went silent") from None
                await lent.send(("PING",))
                is_asked = True
                continue
            is_asked = False
            if kind == b"subscribe":
                self._is_subscribed = True
                await self._look()  # what was told before is not told again
            elif kind == b"message":
                self._take(rest[1])

    def _take(self, body: bytes) -> None:
        try:
            self._news.take(body.decode())
        except ValueError:  # anybody may write on a channel
            log.warning("redis.news_malformed", body=body[:80].decode(errors="replace"))

    async def _poll(self) -> None:
        """Look at the watermark: often where no news can come or one is overdue, seldom otherwise."""
        settings, loop = self._settings, asyncio.get_running_loop()
        looked_at = loop.time()
        while True:
            head = self._news.head
            is_behind = head is None or self._hub.head > head
            due = looked_at + (settings.tail_poll_s if is_behind or not self._is_subscribed else settings.idle_check_s)
            self._stir.clear()
            if due > loop.time():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._stir.wait()
                continue
            looked_at = loop.time()
            try:
                await self._look()
            except RedisUnavailable as error:
                log.warning("redis.not_polled", error=describe(error))

    async def _follow(self) -> None:
        """What Postgres has decided, Redis should have told of."""
        while True:
            await self._tail.wait_moved(self._settings.idle_check_s)
            self._stir.set()

    async def _look(self) -> None:
        since = self._news.head
        (watermark,) = await self._redis.ask(("HGET", self._keys.feed, "watermark"))
        self._news.polled(None if watermark is None else Position(int(watermark)), since=since)


class RedisSource:
    """One session's way into its agent's streams."""

    __slots__ = ("_agent", "_is_open", "_transport")

    def __init__(self, agent: str, transport: RedisTransport) -> None:
        self._agent = agent
        self._transport = transport
        self._is_open = True
        transport.news.open(agent)

    async def read_page(self, after: Position, rows_max: int) -> Page:
        """A page of the agent's streams and of those for all (Source)."""
        return await self._transport.read_page(self._agent, after, rows_max)

    def is_ahead(self, position: Position) -> bool:
        """Whether it is above the watermark in Redis, as heard (Source)."""
        head = self._transport.news.head
        return head is not None and position > head

    async def wait_moved(self, timeout_s: float) -> None:
        """Wait for news (Source)."""
        await self._transport.news.wait_moved(timeout_s)

    def covers(self, position: Position) -> bool:
        """Whether no news lies above what was read (Source)."""
        return self._transport.news.covers(self._agent, position)

    def since(self, position: Position) -> Sequence[Released]:
        """Nothing: what is new is read as a page (Source)."""
        return ()

    def join(self, session: LiveSession) -> None:
        """Be sent back to replay by the next news (Source)."""
        self._transport.news.join(self._agent, session)

    def leave(self, session: LiveSession) -> None:
        """Be sent back no more (Source)."""
        self._transport.news.leave(self._agent, session)

    def reached(self, position: Position) -> Position:
        """The head, as long as no news said otherwise (Source)."""
        return self._transport.news.reached(position)

    def close(self) -> None:
        """Have no more news kept for it (Source)."""
        if self._is_open:
            self._is_open = False
            self._transport.news.close(self._agent)
