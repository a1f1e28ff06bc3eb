"""Leadership: one replica at a time writes, sweeps and redispatches, under a lease on Postgres's clock.

The lease only spares work; safety is the fence, which every write checks in its own statement. A leader that was paused
past its lease therefore finds its fence gone and does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from nats.errors import Error as NatsError

from system import hints, sql
from system.cursor import Position, tag_from
from system.database import Database, DatabaseUnavailable
from system.host import Host
from system.link import NatsLink, NatsUnavailable, describe
from system.metrics import Metrics
from system.redispatch import Redispatcher
from system.settings import Settings
from system.stream import StreamUnsafe, ensure_stream, read_state, stream_config
from system.sweeper import Sweeper
from system.transport import Transport
from system.writer import LeaseLost, Writer

log = structlog.get_logger(__name__)


RETRY_MAX_S = 10.0
"""Of this and the lease, the shorter sets the pace while Postgres or NATS is away."""
LEASES_LEFT = 1.5
"""For so many leases a replica without NATS leaves a free one to others: they look at it at least once in each."""


class _Yielded(Exception):
    """The lease is given to a replica that asked for it."""


class _CutOff(Exception):
    """The lease is given to whichever replica reaches NATS."""


class Leader:
    """Tries for the lease for ever, and does the leader's work while it holds it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        link: NatsLink,
        host: Host,
        metrics: Metrics,
        *,
        writer: Writer,
        sweeper: Sweeper,
        redispatcher: Redispatcher,
        transport: Transport,
        on_watermark: Callable[[Position], None],
    ) -> None:
        """`on_watermark` is told what every statement about the lease says of the watermark too."""
        self._settings = settings
        self._database = database
        self._link = link
        self._host = host
        self._metrics = metrics
        self._writer = writer
        self._sweeper = sweeper
        self._redispatcher = redispatcher
        self._transport = transport
        self._on_watermark = on_watermark
        self.holder = host.new_id()
        """Names this replica in the lease, and in logs."""
        self._handed_back = asyncio.Event()
        self._asked_for = asyncio.Event()
        self.fence: int | None = None
        """The fence while leading, else None."""
        self._may_hold = False
        """Whether the lease was asked for since it was last handed back: an answer that was not waited for may have
        been yes."""

    async def run(self) -> None:
        """Lead whenever possible, until cancelled; then hand the lease back."""
        try:
            while True:
                try:
                    if await self._try_once():
                        continue
                except DatabaseUnavailable as error:
                    log.warning("leader.database_unavailable", error=describe(error))
                except StreamUnsafe as error:
                    self._writer.problem = str(error)
                    log.error("leader.stream_unsafe", problem=str(error))
                except (NatsUnavailable, NatsError, TimeoutError) as error:
                    log.warning("leader.nats_unavailable", error=describe(error))
                await asyncio.sleep(self._host.rng.uniform(0.1, 0.3) * min(self._settings.lease_s, RETRY_MAX_S))
        finally:
            await self._release()

    async def listen(self) -> None:
        """Keep listening for a lease that is handed back, and for those who need ours."""
        async with asyncio.TaskGroup() as group:
            handed_back = hints.listen(self._link, hints.LEASE_SUBJECT, hint=self._handed_back.set)
            # whoever needs the lease asks again: what was missed must not cost a leader its lease
            asked_for = hints.listen(self._link, hints.YIELD_SUBJECT, hint=self._asked_for.set, missed=lambda: None)
            group.create_task(handed_back, name="lease-handed-back")
            group.create_task(asked_for, name="lease-asked-for")

    async def _try_once(self) -> bool:
        """Lead until the lease is lost; answers True to try again at once."""
        settings = self._settings
        self._handed_back.clear()
        lease = await self._database.fetchrow(sql.READ_LEASE, settings.stream)
        if lease is None:
            await self._init()
            return True
        self._on_watermark(Position(lease["watermark"]))
        self._writer.problem = None
        if lease["holder"] != self.holder and lease["left_s"] > 0:
            if lease["left_s"] <= settings.lease_s * sql.LEASES_AHEAD_MAX:
                await self._wait_while_led(lease["left_s"])
                return True
            # Postgres's clock was put back: a holder that lives renews by the new time meanwhile, and keeps the lease
            await self._wait_handed_back(settings.lease_s)
        await self._leave_to_others()
        self._may_hold = True
        row = await self._database.fetchrow(sql.TAKE_LEASE, settings.stream, self.holder, settings.lease_s)
        self._may_hold = row is not None
        if row is None:
            return True  # another replica was quicker
        self.fence = row["fence"]
        self._metrics.leading.set(1)
        log.info("leader.began", fence=self.fence)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._writer.run(row["fence"]), name="pg-writer")
                group.create_task(self._renew(row["fence"]), name="lease")
                group.create_task(self._sweeper.run(), name="sweeper")
                group.create_task(self._redispatcher.run(), name="redispatcher")
                group.create_task(self._transport.lead(row["fence"]), name="transport")
                group.create_task(self._yield(), name="yield")
        except* LeaseLost as lost:
            log.warning("leader.lost", why=str(lost.exceptions[0]))
            self.fence = None
            self._writer.problem = None  # from here on the next leader's
        except* _CutOff:
            log.warning("leader.cut_off", why=f"no NATS for {settings.lease_s} s; another replica may lead")
            await self._release()
        except* _Yielded:
            log.info("leader.yielded")
            await self._release()
            await asyncio.sleep(settings.lease_s)  # whoever asked is to be the first to try
        finally:
            self._metrics.leading.set(0)
        return False

    async def _yield(self) -> None:
        """While sessions are switched from option C: hand over to a replica that can do what its transport needs."""
        if self._settings.transport != "cursor":
            return
        self._asked_for.clear()
        await self._asked_for.wait()
        raise _Yielded

    async def _renew(self, fence: int) -> None:
        """Renew at half of the lease, try again at tenths; one that could not be renewed for its whole life is lost.

        A leader that does not reach NATS for as long gives it up: it would keep those from writing who do.
        """
        loop = asyncio.get_running_loop()
        renewed_at = reached_at = loop.time()
        while True:
            is_fresh = loop.time() - renewed_at < self._settings.lease_s / 10
            await asyncio.sleep(self._settings.lease_s / (2 if is_fresh else 10))
            try:
                rows = await self._database.fetch(sql.RENEW_LEASE, self._settings.stream, fence, self._settings.lease_s)
            except DatabaseUnavailable as error:
                if loop.time() - renewed_at > self._settings.lease_s:
                    raise LeaseLost(f"not renewed for {self._settings.lease_s} s: {error}") from error
                continue
            if not rows:
                raise LeaseLost(f"the fence {fence} is no longer ours")
            renewed_at = loop.time()
            self._on_watermark(Position(rows[0]["watermark"]))
            if self._link.is_connected():
                reached_at = renewed_at
            elif renewed_at - reached_at > self._settings.lease_s:
                raise _CutOff

    async def _leave_to_others(self) -> None:
        """Without NATS leave a free lease to replicas that reach it; if there is none, somebody must still sweep."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEASES_LEFT * self._settings.lease_s):
                await self._link.wait_connected()

    async def _wait_while_led(self, left_s: float) -> None:
        """Wait until the lease may have run out, and not at the same moment as the others; or is handed back."""
        settings = self._settings
        if settings.transport != "cursor":
            await hints.give(self._link, hints.YIELD_SUBJECT)
        jitter_s = self._host.rng.uniform(0.0, 0.1) * settings.lease_s
        await self._wait_handed_back(min(left_s + jitter_s, settings.idle_check_s))

    async def _wait_handed_back(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._handed_back.wait()

    async def _init(self) -> None:
        """Give a database that has never seen a stream its row.

        Raises DatabaseUnavailable, StreamUnsafe, and what NATS may raise before it is ready.
        """
        # both are written by one statement: whoever sees the epoch sees the row of the stream that began it
        epochs = await self._database.fetch(sql.READ_EPOCHS)
        if epochs and await self._database.fetchrow(sql.READ_LEASE, self._settings.stream) is None:
            raise StreamUnsafe(
                f"expected a database that knows the stream {self._settings.stream!r}, or none, got one with another "
                "stream's events, whose places the new ones would take; give MESHRELAY_STREAM its former name, or "
                "MESHRELAY_POSTGRES_DSN a database of its own"
            )
        connection = await self._link.wait_connected()
        await ensure_stream(connection.js, stream_config(self._settings.stream, **self._settings.stream_limits()))
        state = await read_state(connection.nc, self._settings.stream)
        await self._database.execute(
            sql.INIT_STATE,
            self._settings.stream,
            tag_from(self._host.new_id()),
            state.created,
            max(0, state.first_seq - 1),
        )
        log.info("leader.stream_adopted", stream=self._settings.stream, first_seq=state.first_seq)

    async def _release(self) -> None:
        """Hand the lease back, so that the next leader need not wait for it to run out."""
        fence, self.fence = self.fence, None
        if not self._may_hold:
            return
        try:
            await self._database.execute(sql.RELEASE_LEASE, self._settings.stream, self.holder, fence)
        except DatabaseUnavailable as error:
            log.warning("leader.release_failed", error=describe(error))
        else:
            self._may_hold = False
            await hints.give(self._link, hints.LEASE_SUBJECT)
