"""One agent's SSE connection: the thin driver of `session.py` over an HTTP response.

While replaying, its task reads pages and waits for the socket between them; while live, the hub writes to the socket
directly and the task sleeps. A client that reads too slowly goes back to replay, where it sets the pace; one that
stops reading is cut. Either way its cursor is its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from system.account import Account, Burst, burst_of
from system.cursor import Cursor, Position, ordinal_of
from system.database import DatabaseUnavailable
from system.frames import HEARTBEAT, bookmark_frame, chunk, close_frame, notice_frame, page_frames, retry_frame
from system.host import Host
from system.hub import Released, piece_ends
from system.link import NatsUnavailable
from system.metrics import Metrics
from system.places import NotReady, Place, Places
from system.session import (
    FIRST_PAGE_ROWS,
    Floors,
    Notice,
    OnGone,
    Page,
    Signal,
    State,
    advance,
    next_page_rows,
    notice_for,
)
from system.session_log import SessionLog
from system.settings import Settings
from system.transport import Transport
from system.transport.errors import RedisUnavailable

log = structlog.get_logger(__name__)

HEARTBEAT_CHUNK = chunk([HEARTBEAT])
DATABASE_RETRY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every session of a replica shares."""

    settings: Settings
    host: Host
    metrics: Metrics
    places: Places
    transport: Transport
    notice: Callable[[Notice, str, Position, Floors, Position, frozenset[str]], dict[str, Any]]
    """(notice, agent, cursor position, floors, head, types asked for) → its document."""


class StreamSession:
    """One connection; `serve` runs it to its end and says why it ended."""

    __slots__ = (
        "_ahead", "_asked", "_epoch", "_log", "_loop", "_marked", "_on_gone", "_page_rows", "_request", "_response",
        "_services", "_source", "_told", "_transport", "_wake", "_whole", "_written", "account", "agent", "position",
        "reason", "state", "types", "wrote_at",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        agent: str,
        place: Place,
        *,
        types: frozenset[str],
        on_gone: OnGone,
        presented: str | None = None,
        told: Cursor | None = None,
    ) -> None:
        """`presented` and `told` are what the client asked with, for the log."""
        self._services = services
        self._asked = presented, told
        self.agent = agent
        self.types = types
        self.position = place.position
        self.account = Account(place.position)
        self._log = SessionLog(agent, types, services.places)
        self.state = State.REPLAY
        self.reason = ""
        self._told = place.told
        self._epoch = ordinal_of(place.head)
        self._on_gone = on_gone
        self._page_rows = min(FIRST_PAGE_ROWS, services.settings.page_rows)
        self._ahead: asyncio.Task[Page] | None = None
        self._whole = False
        self._marked = Position(0)
        self._written = Position(0)
        """The last id that a page was given."""
        self._loop = asyncio.get_running_loop()
        self.wrote_at = self._loop.time()
        """Loop time at which something was last written, in s."""
        self._wake: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    async def serve(self, request: web.Request, response: web.StreamResponse, *, first: list[bytes]) -> str:
        """Run until closed by either side; answers the reason. `first` frames go out ahead of everything."""
        settings = self._services.settings
        self._request, self._response = request, response
        response.enable_chunked_encoding()
        await response.prepare(request)
        self._transport = request.transport
        self._source = self._services.transport.open(self.agent)  # from here on what ends the session closes it
        try:
            await response.write(retry_frame(self.retry_ms()) + b"".join(first))
            if self.state is State.CLOSED:  # by a drain or its token's end, before there was anything to write to
                await response.write(close_frame(self.reason, self.retry_ms()))
            while self.state is not State.CLOSED:
                if self.state is State.REPLAY:
                    await self._replay()
                else:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
            await self._drained()
            async with asyncio.timeout(settings.slow_client_timeout_s):
                await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.reason = self.reason or "client_left"
            raise
        except TimeoutError:
            self.reason = "slow"
            if request.transport is not None:
                request.transport.abort()
        finally:
            is_live = self.state is State.LIVE
            self.account.close(self._source.reached(self.position) if is_live else self.position)
            self._source.leave(self)
            if is_live:
                self._services.metrics.sessions_live.dec()
            self.state = State.CLOSED
            self._transport = None
            if self._ahead is not None:
                self._ahead.cancel()
            self._source.close()
        return self.reason

    def push(self, payload: bytes, burst: Burst) -> None:
        """Send live events at once (LiveSession)."""
        transport, services = self._transport, self._services
        if transport is None or transport.is_closing():
            self.account.close(self._source.reached(self.position))
            return
        if transport.get_write_buffer_size() > services.settings.slow_client_bytes:
            services.metrics.behind.inc()
            self._source.leave(self)
            self.lose_live()
            return
        transport.write(payload)
        self.wrote_at = self._loop.time()
        self._note_sent(burst)
        services.metrics.live.inc(len(burst))

    def lose_live(self) -> None:
        """Go back to replay from what was released so far (LiveSession)."""
        if self.state is State.LIVE:
            self.position = self._source.reached(self.position)
            self._services.metrics.sessions_live.dec()
        self._whole = False
        self.state = advance(self.state, Signal.FELL_BEHIND)
        self._awake()

    def close(self, reason: str) -> None:
        """End the stream from our side: tell the client why and when to come back."""
        if self.state is State.CLOSED:
            return
        if self.state is State.LIVE:
            self.position = self._source.reached(self.position)
            self._services.metrics.sessions_live.dec()
            self._source.leave(self)
        self.state = advance(self.state, Signal.CLOSE)
        self.reason = reason
        self._write(chunk([close_frame(reason, self.retry_ms())]))
        self._awake()

    def beat(self) -> None:
        """Show the client, and what stands between, that the connection lives."""
        self._write(HEARTBEAT_CHUNK)

    def mark(self) -> None:
        """When live, keep the client's cursor fresh."""
        if self.state is State.LIVE and self._source.reached(self.position) > self._marked:
            self._bookmark()

    def began(self, name: str) -> None:
        """The registry has admitted it, and gives it this name for its log."""
        self._log.opened(name, *self._asked, self.account)

    def ended(self) -> None:
        """It is over."""
        self._log.closed(self.account, self.reason or "client_left")

    def retry_ms(self) -> int:
        """A jittered reconnect delay in ms, so that a lost replica's clients don't come back as one."""
        settings = self._services.settings
        return self._services.host.rng.randint(settings.retry_min_ms, settings.retry_max_ms)

    async def _replay(self) -> None:
        """One step: wait for the socket, then either join the hub or send the next page."""
        await self._drained()
        if self.state is not State.REPLAY or self._join():
            return
        if self._source.is_ahead(self.position):
            await self._source.wait_moved(self._services.settings.tail_poll_s)
            return
        try:
            ahead, self._ahead = self._ahead, None
            page = await (ahead or self._read_page(self.position))
            if self.state is State.REPLAY:
                await self._send_page(page)  # of which nothing is sent before all is known that may fail
        except (DatabaseUnavailable, NatsUnavailable, NotReady, RedisUnavailable) as error:
            # what did not come through within the limit is asked for in smaller pieces
            self._page_rows = max(1, self._page_rows // 4)
            log.warning("session.page_unavailable", agent=self.agent, error=str(error))
            await asyncio.sleep(DATABASE_RETRY_S)

    async def _read_page(self, after: Position) -> Page:
        with self._services.metrics.page_seconds.time():
            return await self._source.read_page(after, self._page_rows)

    async def _read_ahead(self, page: Page) -> None:
        """Have Postgres look for the page after this one, while this one is made into frames and sent.

        One page and no more, so that a client that reads slowly costs two pages of memory.
        """
        self._page_rows = next_page_rows(
            rows=self._page_rows,
            page_bytes=sum(len(row.text) for row in page.rows),
            last_rows=len(page.rows),
            rows_max=self._services.settings.page_rows,
            bytes_max=self._services.settings.page_bytes,
        )
        if page.full:
            self._ahead = asyncio.get_running_loop().create_task(self._read_page(page.end), name="replay-ahead")
            self._ahead.add_done_callback(_seen)
            for _ in range(2):  # once for the task to ask, once for what it asked to leave
                await asyncio.sleep(0)

    def _join(self) -> bool:
        """Take the rest from the window and go live, within one turn of the loop; or a piece of it, if it is much.

        Only after the table's last page: the window may still hold what was swept since, and only a page has the floors
        that say so. Without this a 410 could be followed by the very events that it called gone.
        """
        source = self._source
        if not self._whole or not source.covers(self.position):
            return False
        missed = source.since(self.position)
        taken = _first_bytes(missed, self._services.settings.page_bytes)
        rest = [one for one in taken if not self.types or one.type in self.types]
        if self._write(chunk([one.frame for one in rest])):
            self._note_sent(burst_of([one.pos for one in rest]))
        self._services.metrics.live.inc(len(rest))
        if len(taken) < len(missed):
            self.position = taken[-1].pos  # the window can be large: the client sets the pace, as with pages
            return True
        self.position = source.reached(self.position)
        self.state = advance(self.state, Signal.CAUGHT_UP)
        source.join(self)
        self._services.metrics.sessions_live.inc()
        self._bookmark()
        return True

    async def _send_page(self, page: Page) -> None:
        services = self._services
        if ordinal_of(page.watermark) > self._epoch:
            # the tail may hear of it later: nothing may lead past what the epoch is to tell
            self.close("epoch")
            return
        for position in [row.pos for row in page.rows[:1]] + [page.end, page.floors.critical, page.floors.standard]:
            await services.places.ensure_tag(position)
        await self._read_ahead(page)
        if self.state is not State.REPLAY:
            return  # closed while it waited: nothing may follow relay.close
        notice = notice_for(self.position, page.floors, self._told)
        if notice is not None and not self._tell(notice, page):
            return
        wanted = [row for row in page.rows if row.type in self.types] if self.types else page.rows
        if self._write(chunk([page_frames(wanted, services.places.tags)])):
            self._note_sent(burst_of([row.pos for row in wanted]))
        self.position = max(self.position, page.end)
        self._whole = not page.full
        services.metrics.replayed.inc(len(wanted))
        if wanted:
            self._written = wanted[-1].pos
        if page.rows and not wanted:
            # a page of unwanted types must still move the cursor, or a reconnect would read it again
            self._write(chunk([bookmark_frame(services.places.cursor_of(self.position))]))

    def _tell(self, notice: Notice, page: Page) -> bool:
        """Send a notice ahead of what is retained; answers whether the stream goes on."""
        services = self._services
        document = services.notice(notice, self.agent, self.position, page.floors, page.watermark, self.types)
        self._told = page.floors
        self._log.told(notice.value, document)
        self._write(chunk([notice_frame(notice.value, document)]))
        if notice is Notice.GAP:
            services.metrics.gaps.inc()
            return True
        services.metrics.gone.labels("expired").inc()
        if self._on_gone is OnGone.SKIP:
            return True
        self.close("gone")
        return False

    def _bookmark(self) -> None:
        """Tell the cursor, unless the client has just got it with an event; the first one also says 'live'."""
        reached = self._source.reached(self.position)
        is_known = self._marked > 0 and reached == self._written
        self._marked = reached
        if reached and not is_known:
            self._write(chunk([bookmark_frame(self._services.places.cursor_of(reached))]))

    def _write(self, payload: bytes) -> bool:
        """Hand something to the socket; answers whether that takes anything."""
        transport = self._transport
        if transport is None or transport.is_closing():
            self.account.close(self._source.reached(self.position) if self.state is State.LIVE else self.position)
            return False
        if payload:
            transport.write(payload)
            self.wrote_at = self._loop.time()
        return True

    def _note_sent(self, burst: Burst) -> None:
        self.account.sent(burst)
        if burst and self._services.settings.delivery_log:
            self._log.sent(burst)

    async def _drained(self) -> None:
        """Wait until the client has read most of what was sent. Raises TimeoutError, ConnectionError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client has left")
        async with asyncio.timeout(self._services.settings.slow_client_timeout_s):
            await self._request.writer.drain()

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def _first_bytes(released: Sequence[Released], bytes_max: int) -> Sequence[Released]:
    """The first events, at least one, within so many bytes."""
    return released[: next(piece_ends(released, bytes_max), len(released))]


def _seen(ahead: asyncio.Task[Page]) -> None:
    """Look at the outcome of a page that may have been read for a session that has ended since."""
    if not ahead.cancelled():
        ahead.exception()
