"""The relay, put together: what it consists of, in which order it starts, and how it drains."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import Any

import structlog
from aiohttp import web

from system.cursor import seq_of
from system.database import Database, DatabaseUnavailable
from system.host import Host
from system.http.answers import Answers
from system.http.app import Guard, make_app
from system.http.events import AgentEndpoint, notice_document
from system.http.publish import PublishEndpoint
from system.hub import Hub
from system.leader import Leader
from system.link import NatsLink, describe
from system.metrics import Metrics
from system.migrate import migrate
from system.places import Places
from system.redispatch import Redispatcher
from system.safety import check
from system.sessions import Sessions
from system.settings import Settings
from system.stream_session import Services
from system.sweeper import Sweeper
from system.tail import Tail
from system.tokens import TokenChecker
from system.transport.choice import make_transport
from system.writer import Writer

log = structlog.get_logger(__name__)

START_RETRY_S = 1.0
REPLICA_CHARS = 8
"""Of the 32 of a replica's id: enough to tell replicas apart in their logs."""
ASK_LIMIT_S = 0.8
"""Below the second that orchestrators wait for a probe by default."""
CANCEL_AGAIN_S = 2.0
"""Above what the leader takes to hand back its lease, which a second cancellation would cut short."""


class Relay:
    """One replica; `start`, then `drain`. It keeps no state of its own."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self.settings = settings
        self.host = host
        self.metrics = Metrics()
        self.port = 0
        self._database = Database(
            settings.postgres_dsn.get_secret_value(),
            size_max=settings.database_pool_max,
            timeout_s=settings.database_timeout_s,
        )
        self._link = NatsLink(
            settings.nats_url,
            host=host,
            name="meshrelay",
            stream=settings.stream,
            timeout_s=min(settings.publish_timeout_s, 5.0),
            probe_interval_s=settings.idle_check_s,
        )
        self._places = Places(settings, self._database, self._link)
        self._hub = Hub(events_max=settings.hub_window_events, bytes_max=settings.hub_window_bytes)
        self._sessions = Sessions(settings, host, self.metrics)
        self._checker = TokenChecker(settings, host.wall)
        shared = (settings, self._database, self._link, host, self.metrics)
        self._tail = Tail(
            *shared,
            places=self._places,
            hub=self._hub,
            on_epoch=lambda: self._sessions.close_all("epoch"),
            on_moved=self._sessions.head_moved,
        )
        self._transport = make_transport(
            *shared, places=self._places, hub=self._hub, tail=self._tail, on_moved=self._sessions.head_moved
        )
        self._writer = Writer(*shared)
        self._leader = Leader(
            *shared,
            writer=self._writer,
            sweeper=Sweeper(settings, self._database, host, self.metrics),
            redispatcher=Redispatcher(*shared),
            transport=self._transport,
            on_watermark=self._tail.heard,
        )
        self._sessions.replica = self._leader.holder[:REPLICA_CHARS]
        self.metrics.lag_messages.set_function(lambda: max(0, self._link.last_seq - seq_of(self._hub.head)))
        self._answers = Answers(settings, self.metrics)
        self._guard = Guard(settings, self._answers)
        self._runner = web.AppRunner(
            self._make_app(),
            access_log=None,
            handler_cancellation=True,
            # aiohttp's own is an hour: a slot for whoever asked once, and has sent half a request since
            keepalive_timeout=settings.keep_alive_s,
        )
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._prepared = False
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        """Resolved when a part ends that must not: a bug, or storage that loses what it acknowledged."""

    async def start(self) -> None:
        """Listen at once, not ready; connect and prepare in the background, for as long as it takes."""
        await self._runner.setup()
        self._guard.server = self._runner.server
        self._server = await asyncio.get_running_loop().create_server(
            self._guard, self.settings.http_host, self.settings.http_port, backlog=1024, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._link.start()
        self._run("prepare", self._prepare())
        self._run("heartbeats", self._sessions.beat())
        self._run("bookmarks", self._sessions.mark())
        self._run("guard", self._guard.cut_silent())
        log.info("relay.listening", host=self.settings.http_host, port=self.port)

    async def drain(self) -> None:
        """Stop within the deadline: refuse new streams, close the open ones paced, hand back the lease."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.drain_deadline_s
        log.info("relay.draining", deadline_s=self.settings.drain_deadline_s)
        if self._server is not None:
            self._server.close()
        await self._sessions.drain(self.settings.drain_deadline_s * 0.5)
        emptied = await self._sessions.wait_empty(self.settings.drain_deadline_s * 0.2)
        await self._cancel_all(deadline)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.1, deadline - loop.time())):
                await self._runner.cleanup()
        await asyncio.gather(
            self._link.stop(), self._checker.close(), self._database.close(within_s=max(0.1, deadline - loop.time()))
        )
        log.info("relay.stopped", flushed=emptied)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Alive: no part has ended; and the event loop turns, or nobody would answer."""
        good = not self.failed.done()
        return good, {"status": "ok" if good else "failing"}

    async def ask(self) -> None:
        """Have NATS and Postgres prove themselves, if they were silent for long; wait for them a short while."""
        silence_s = self.settings.ready_after_silence_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_LIMIT_S):
                await asyncio.gather(
                    self._link.prove(silence_s), self._tail.prove(silence_s), self._transport.prove(silence_s)
                )

    def readiness(self, *, asked: bool = False) -> tuple[bool, dict[str, Any]]:
        """Ready: the last progress of each part is recent, `asked` for just now or not.

        Connection flags prove nothing and are not asked.
        """
        now = asyncio.get_running_loop().time()
        limit_s = self.settings.ready_after_silence_s + (0.0 if asked else self.settings.idle_check_s)
        parts = {
            "prepared": self._prepared,
            "nats": self._link.answered_at is not None and now - self._link.answered_at < limit_s,
            "postgres": self._tail.read_at is not None and now - self._tail.read_at < limit_s,
            "adopted": self._hub.start is not None,
            "writer": self._writer.problem is None,
            "accepting": not self._sessions.draining,
            **self._transport.parts(limit_s),
        }
        good = all(parts.values())
        details: dict[str, Any] = {"status": "ready" if good else "not ready", "parts": parts}
        details["leading"] = self._leader.fence is not None
        if self._hub.start is not None:
            details["head"] = self._places.cursor_of(self._hub.head)
        problem = self._writer.problem or self._transport.problem
        if problem is not None:
            details["problem"] = problem
        return good, details

    async def _prepare(self) -> None:
        """Migrate and check the storage, then start the parts that need it."""
        while True:
            try:
                await migrate(self._database)
                await check(self.settings, self._database)
                break
            except DatabaseUnavailable as error:
                log.warning("relay.waiting_for_postgres", error=describe(error))
                await asyncio.sleep(START_RETRY_S)
        self._prepared = True
        self._run("tail", self._tail.run())
        self._run("transport", self._transport.run())
        self._run("leader", self._leader.run())
        self._run("lease-hints", self._leader.listen())

    async def _cancel_all(self, deadline: float) -> None:
        """Cancel all parts and wait for them; again if one lives on, because a library may swallow a cancellation."""
        pending: set[asyncio.Task[None]] = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            left_s = max(0.1, deadline - asyncio.get_running_loop().time())
            _, pending = await asyncio.wait(pending, timeout=min(left_s, CANCEL_AGAIN_S))
            if left_s <= CANCEL_AGAIN_S:
                break
        if pending:
            log.error("relay.parts_left", parts=sorted(task.get_name() for task in pending))

    def _make_app(self) -> web.Application:
        services = Services(
            settings=self.settings,
            host=self.host,
            metrics=self.metrics,
            places=self._places,
            transport=self._transport,
            notice=functools.partial(notice_document, self._places),
        )
        return make_app(
            self.settings,
            guard=self._guard,
            publish=PublishEndpoint(self.settings, self._database, self._link, self._places, self._hub, self.metrics),
            agents=AgentEndpoint(services, self._sessions, self._answers, self._checker),
            checker=self._checker,
            metrics=self.metrics,
            health=self.health,
            readiness=functools.partial(self.readiness, asked=True),
            ask=self.ask,
        )

    def _run(self, name: str, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not self.failed.done():
            log.error("relay.part_failed", part=task.get_name(), error=repr(error), exc_info=error)
            self.failed.set_result(error)
