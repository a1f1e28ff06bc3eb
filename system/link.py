"""The connection to NATS: one life, then a new one.

nats-py's own reconnect can hang for minutes on a half-open connection, replays a buffer of stale publishes, and keeps
`is_connected` true after its read loop has died. So it is switched off here: a connection that closes, or that stops
answering probes, is abandoned whole and a new one is dialled with jittered back-off. Users hold a `Connection` only as
long as it is the current one; a subscription never outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nats
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from system.direct import DirectClient
from system.host import Host

log = structlog.get_logger(__name__)

DIAL_BACKOFF_MIN_S = 0.1
DIAL_BACKOFF_MAX_S = 3.0
DOUBT_INTERVAL_S = 0.5
"""Between a probe that was not answered and the next."""
CLOSE_LIMIT_S = 1.0
"""An abandoned connection gets this long to close itself; on a half-open one nats-py would wait for minutes."""


class Publishing(JetStreamContext):
    """nats-py's JetStream, where a publish hears of its refusal.

    nats-py raises it into its own callback (seen with 2.16), so that a refusal looked like no answer at all.
    """

    async def _handle_async_reply(self, msg: Msg) -> None:
        try:
            await super()._handle_async_reply(msg)
        except nats.js.errors.APIError as error:
            future = self._publish_async_futures.get(msg.subject.rpartition(".")[2])
            if future is not None and not future.done():
                future.set_exception(error)


class NatsUnavailable(Exception):
    """NATS is not connected, or did not answer; whether a publish took effect is unknown."""


class Over(asyncio.Event):
    """Set when a connection's life is over; tells its readers, who would need a task each to wait for two events."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[Callable[[], None], None] = {}

    def tell(self, reader: Callable[[], None]) -> None:
        """Call this when it is over."""
        self._readers[reader] = None

    def forget(self, reader: Callable[[], None]) -> None:
        """Do not, any more."""
        self._readers.pop(reader, None)

    def set(self) -> None:
        """It is over."""
        super().set()
        for reader in tuple(self._readers):
            reader()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One connection's life: the client, its JetStream context, and the event set when it is over."""

    nc: DirectClient
    js: JetStreamContext
    over: Over
    heard: Callable[[], None]
    """To be called when the server has answered something: as good as a probe."""


class NatsLink:
    """Keeps one current connection to NATS, and proves it by probes."""

    def __init__(
        self, url: str, *, host: Host, name: str, stream: str, timeout_s: float, probe_interval_s: float
    ) -> None:
        self._url = url
        self._host = host
        self._name = name
        self._stream = stream
        self._timeout_s = timeout_s
        self._probe_interval_s = probe_interval_s
        self._current: Connection | None = None
        self._arrived = asyncio.Event()
        self._stir = asyncio.Event()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.answered_at: float | None = None
        """Loop time of the last answer, in s; readiness looks at this, not at `is_connected`."""
        self.last_seq = 0
        """The stream's last sequence, as far as it was heard of."""
        self.allows_ttl = False
        """Whether a message may tell the stream how long to keep it, as far as it was heard of."""
        self.on_stored: Callable[[], object] = _nobody
        """Told when a sequence is heard of that was not known."""

    def start(self) -> None:
        """Begin to dial; returns at once."""
        self._task = asyncio.create_task(self._keep(), name="nats-link")

    async def stop(self) -> None:
        """Close the current connection and dial no more."""
        while self._task is not None and not self._task.done():
            self._task.cancel()  # until it heeds it: see `heed_cancellation`
            await asyncio.wait([self._task], timeout=CLOSE_LIMIT_S * 2)

    def current(self) -> Connection:
        """The current connection. Raises NatsUnavailable if there is none."""
        if self._current is None or self._current.over.is_set():
            raise NatsUnavailable("not connected to NATS; the relay keeps dialling")
        return self._current

    def is_connected(self) -> bool:
        """Whether there is a current connection."""
        return self._current is not None and not self._current.over.is_set()

    async def wait_connected(self) -> Connection:
        """Wait until there is a connection and return it."""
        while self._current is None or self._current.over.is_set():
            self._arrived.clear()
            await self._arrived.wait()
        return self._current

    def doubt(self) -> None:
        """Have the connection prove itself now: something on it went unanswered."""
        self._stir.set()

    def stored(self, seq: int) -> None:
        """Note a sequence that the stream is known to have, for it was just confirmed."""
        self._heard()
        if seq > self.last_seq:
            self.last_seq = seq
            self.on_stored()

    async def prove(self, silence_s: float) -> None:
        """If nothing was answered for so long, probe, and wait for the answer, for as long as it takes."""
        while self.answered_at is None or asyncio.get_running_loop().time() - self.answered_at > silence_s:
            self._answered.clear()
            self._stir.set()
            await self._answered.wait()

    def _heard(self) -> None:
        self.answered_at = asyncio.get_running_loop().time()

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                connection = await self._dial()
            except Exception as error:  # nats-py raises a dozen kinds while dialling; all mean 'not yet'
                failures += 1
                limit = min(DIAL_BACKOFF_MAX_S, DIAL_BACKOFF_MIN_S * 2 ** min(failures, 10))
                log.warning("nats.dial_failed", error=repr(error), failures=failures)
                await asyncio.sleep(self._host.rng.uniform(DIAL_BACKOFF_MIN_S, limit))
                continue
            failures = 0
            self._current = connection
            self._arrived.set()
            log.info("nats.connected", client_id=connection.nc.client_id)
            try:
                await self._probe_until_over(connection)
            finally:
                connection.over.set()
                self._current = None
                await _close(connection.nc)
            log.warning("nats.connection_over")

    async def _dial(self) -> Connection:
        over = Over()

        def end() -> None:
            over.set()
            self._stir.set()

        async def closed() -> None:
            end()

        async def errored(error: Exception) -> None:
            # An exception in here would kill nats-py's read loop: it may only log.
            log.warning("nats.client_error", error=repr(error))

        nc = DirectClient()
        dialling = nc.connect(
            self._url,
            name=self._name,
            allow_reconnect=False,
            max_reconnect_attempts=0,
            connect_timeout=max(1, round(self._timeout_s)),
            # the probes find out sooner; the ping is nats-py's own, for a connection that is being closed
            ping_interval=max(60, round(self._probe_interval_s * 4)),
            max_outstanding_pings=2,
            # no bound of nats-py's: past it whoever sends waits for the flusher without a limit, which on a half-open
            # connection never comes back: not even the probe would, and the connection would be kept for ever
            pending_size=0,
            closed_cb=closed,
            disconnected_cb=closed,
            error_cb=errored,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await dialling
        except BaseException:
            await _close(nc)
            raise
        _tell_when_reading_ends(nc, end)
        js = Publishing(nc, timeout=self._timeout_s, publish_async_max_pending=10_000)
        return Connection(nc=nc, js=js, over=over, heard=self._heard)

    async def _probe_until_over(self, connection: Connection) -> None:
        """Ask the stream's state when nothing was heard for long; two unanswered probes in a row end its life."""
        loop = asyncio.get_running_loop()
        misses = 0
        while misses < 2:
            self._stir.clear()
            try:
                subject = f"$JS.API.STREAM.INFO.{self._stream}"
                answer = await connection.nc.request(subject, b"", timeout=self._timeout_s)
                info = json.loads(answer.data)
                self.last_seq = info.get("state", {}).get("last_seq", self.last_seq)
                self.allows_ttl = bool(info.get("config", {}).get("allow_msg_ttl", self.allows_ttl))
                misses, self.answered_at = 0, loop.time()
                self._answered.set()
            except Exception as error:  # timeout, no responders, closed: each is a missed probe
                if isinstance(error, nats.errors.NoRespondersError):
                    misses = 0  # the server is there, JetStream is not yet
                else:
                    misses += 1
                log.warning("nats.probe_missed", error=repr(error), misses=misses)
            await self._wait_to_probe(DOUBT_INTERVAL_S if misses else self._probe_interval_s)
            if connection.over.is_set():
                return

    async def _wait_to_probe(self, interval_s: float) -> None:
        """Wait until nothing was heard for so long, or there is a reason to ask."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        while (due := max(asked_at, self.answered_at or asked_at) + interval_s) > loop.time():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._stir.wait()
                    return


def _nobody() -> None:
    """Nobody is told."""


def _tell_when_reading_ends(nc: DirectClient, end: Callable[[], None]) -> None:
    """nats-py calls nobody back if its closing fails, as it does on a connection reset with bytes unsent."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.warning("nats.reading_failed", error=repr(task.exception()))
        end()

    if nc._reading_task is not None:
        nc._reading_task.add_done_callback(ended)
    else:
        end()


async def _close(nc: DirectClient) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await nc.close()


def heed_cancellation() -> None:
    """Raise the cancellation of this task that a library has swallowed, if there is one.

    Python 3.11's `asyncio.wait_for`, by which nats-py waits, loses a cancellation that comes together with its result;
    a loop that missed its only cancellation would run for ever, and whoever waits for its end would too.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError("cancelled earlier; a library swallowed it")


def describe(error: BaseException) -> str:
    """An error of nats-py in one line."""
    text: Any = getattr(error, "description", None) or str(error) or type(error).__name__
    return f"{type(error).__name__}: {text}"
