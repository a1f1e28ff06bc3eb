"""GET /v1/agents/{agent}/events: the stream over SSE, or pages as JSON for resync; and POST …/acks."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from aiohttp import web

from system.cursor import Cursor, CursorMalformed, Position, ordinal_of
from system.database import DatabaseUnavailable
from system.frames import close_frame, notice_frame, retry_frame
from system.http.access import require_agent, require_still
from system.http.answers import Answers
from system.http.asked import limit_of, on_gone_of, told_of, types_of, wants_page
from system.http.problems import Problem, json_response, unavailable
from system.http.publish import read_body
from system.link import NatsUnavailable
from system.places import CursorForeign, NotReady, Place, Places
from system.session import FIRST_PAGE_ROWS, Floors, Notice, OnGone, Page, PageRow, next_page_rows, notice_for
from system.session_log import log_told
from system.sessions import AtCapacity, Sessions
from system.stream_session import Services, StreamSession
from system.tokens import Grant, TokenChecker
from system.transport import Source
from system.transport.errors import RedisUnavailable

log = structlog.get_logger(__name__)

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",  # no-transform: a proxy that compresses would buffer
    "X-Accel-Buffering": "no",
}
GONE_DETAIL = {
    "expired": "critical events addressed to this agent after its cursor are past retention and deleted",
    "wrong_epoch": "the cursor belongs to another life of the stream, or lies before a loss that nobody can place",
    "ahead": "the cursor lies ahead of the stream, which did not issue it",
}


class AgentEndpoint:
    """One agent's events and acknowledgements."""

    def __init__(self, services: Services, sessions: Sessions, answers: Answers, checker: TokenChecker) -> None:
        self._services = services
        self._sessions = sessions
        self._answers = answers
        self._checker = checker

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Open the stream, or answer a page. Raises Problem."""
        agent, grant = await require_agent(request, self._checker, self._services.settings)
        as_page = wants_page(request)
        on_gone = on_gone_of(request)
        types = types_of(request)
        wish = request.headers.get("Last-Event-ID") or request.query.get("cursor") or None
        told = told_of(request)
        try:
            place = await self._resolve(agent, wish, told)
        except CursorForeign as error:
            document = gone_document(
                self._services.places,
                error.reason,
                agent,
                wish,
                error.place.floors,
                error.place.head,
                types=types,
                in_band=on_gone is OnGone.EVENT,
            )
            return await self._foreign(request, agent, error, document, on_gone, types, grant, as_page=as_page)
        except _REFUSALS as error:
            raise refusal(error) from None
        if as_page:
            return await self._page(request, agent, place, types, on_gone, grant)
        if on_gone is OnGone.STATUS and notice_for(place.position, place.floors, place.told) is Notice.GONE:
            self._services.metrics.gone.labels("expired").inc()
            document = self._services.notice(Notice.GONE, agent, place.position, place.floors, place.head, types)
            log_told(agent, None, "gone", document, via="status")
            raise _gone(document)
        return await self._stream(request, agent, place, types, on_gone, grant, presented=wish, told=told)

    async def acks(self, request: web.Request) -> web.Response:
        """Store a cumulative acknowledgement. Raises Problem."""
        agent, _ = await require_agent(request, self._checker, self._services.settings)
        body = await read_body(request, self._services.settings)
        try:
            cursor = Cursor.parse(msgspec.json.decode(body, type=_Ack).cursor)
            acked = await self._store_ack(agent, cursor)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(400, f'expected {{"cursor": "<id of the last event handled>"}}: {error}') from None
        except CursorForeign as error:
            places = self._services.places
            raise _gone(
                gone_document(places, error.reason, agent, str(cursor), error.place.floors, error.place.head)
            ) from None
        except _REFUSALS as error:
            raise refusal(error) from None
        self._services.metrics.acks.inc()
        return json_response(200, {"acked": self._services.places.cursor_of(acked)})

    async def _stream(
        self,
        request: web.Request,
        agent: str,
        place: Place,
        types: frozenset[str],
        on_gone: OnGone,
        grant: Grant,
        *,
        presented: str | None,
        told: Cursor | None = None,
        first: list[bytes] | None = None,
    ) -> web.StreamResponse:
        if request.version < (1, 1):
            raise Problem(400, "expected HTTP/1.1 for an event stream (nginx: proxy_http_version 1.1)")
        session = StreamSession(
            self._services, agent, place, types=types, on_gone=on_gone, presented=presented, told=told
        )
        response = web.StreamResponse(headers=SSE_HEADERS)
        try:
            with self._sessions.opened(session, grant.expires_at):
                await session.serve(request, response, first=first or [])
        except AtCapacity as error:
            if on_gone is OnGone.EVENT:
                return _in_band(close_frame("capacity", session.retry_ms()))
            raise _at_capacity(error) from None
        return response

    async def _foreign(
        self,
        request: web.Request,
        agent: str,
        error: CursorForeign,
        document: dict[str, Any],
        on_gone: OnGone,
        types: frozenset[str],
        grant: Grant,
        *,
        as_page: bool,
    ) -> web.StreamResponse:
        """A cursor of another epoch, or ahead: 410, or its in-band form."""
        self._services.metrics.gone.labels(error.reason).inc()
        via = "status" if on_gone is OnGone.STATUS else "event"
        log_told(agent, None, "gone", document, via=via)
        if on_gone is OnGone.STATUS:
            raise _gone(document)
        if as_page:
            return await self._page(request, agent, error.place, types, on_gone, grant, gone=document)
        frame = notice_frame("gone", document)
        if on_gone is OnGone.SKIP:
            return await self._stream(request, agent, error.place, types, on_gone, grant, presented=None, first=[frame])
        return _in_band(retry_frame(self._services.settings.retry_max_ms) + frame)

    async def _page(
        self,
        request: web.Request,
        agent: str,
        place: Place,
        types: frozenset[str],
        on_gone: OnGone,
        grant: Grant,
        gone: dict[str, Any] | None = None,
    ) -> web.Response:
        """Answer a page and see it taken: until then it is memory, and keeps its place among those under way."""
        limit = limit_of(request)
        try:
            with self._answers.page(agent):
                response = await self._make_page(agent, place, types, on_gone, gone, limit)
                require_still(grant, self._checker)  # a page may wait for Postgres as long as a stream lives
                await self._answers.deliver(request, response)
        except AtCapacity as error:
            raise _at_capacity(error, title="Too many pages" if error.status == 429 else None) from None
        return response

    async def _make_page(
        self,
        agent: str,
        place: Place,
        types: frozenset[str],
        on_gone: OnGone,
        gone: dict[str, Any] | None,
        limit: int,
    ) -> web.Response:
        services = self._services
        try:
            with contextlib.closing(services.transport.open(agent)) as source:
                page = await self._read_page(source, place.position, limit)
                if ordinal_of(page.watermark) > ordinal_of(place.head):
                    raise NotReady("the stream has begun a new epoch; ask again")
            for position in [row.pos for row in page.rows[:1]] + [page.end, page.floors.critical, page.floors.standard]:
                await services.places.ensure_tag(position)
        except _REFUSALS as error:
            raise refusal(error) from None
        notice = notice_for(place.position, page.floors, place.told)
        document = None
        if notice is not None:
            document = services.notice(notice, agent, place.position, page.floors, page.watermark, types)
        if notice is Notice.GONE:
            services.metrics.gone.labels("expired").inc()
            if on_gone is OnGone.STATUS:
                log_told(agent, None, "gone", document or {}, via="status")
                raise _gone(document or {})
        elif notice is Notice.GAP:
            services.metrics.gaps.inc()
        rows = [row for row in page.rows if not types or row.type in types]
        end = max(page.end, place.position)
        services.metrics.replayed.inc(len(rows))
        answer = {
            "events": [
                {"cursor": services.places.cursor_of(row.pos), "event": msgspec.Raw(row.text.encode())} for row in rows
            ],
            "next": services.places.cursor_of(end),
            "head": services.places.cursor_of(page.watermark),
            "more": page.full,
            "gap": document if notice is Notice.GAP else None,
            "gone": gone or (document if notice is Notice.GONE else None),
        }  # fmt: skip
        return json_response(200, answer)

    async def _read_page(self, source: Source, position: Position, limit: int) -> Page:
        """As many rows as asked for, but not many more bytes than a page of the stream has.

        It reads in pieces, because nobody knows the events' size beforehand. The floors are those of the first piece's
        snapshot; a sweep in between ends the page, so that the next one tells of it exactly.
        """
        settings, size = self._services.settings, 0
        rows: list[PageRow] = []
        ask = min(limit, FIRST_PAGE_ROWS)
        page = await source.read_page(position, ask)
        if _stands_still(page, position):
            raise NotReady("pg-writer has yet to store what comes next; ask again shortly")
        floors = page.floors
        while True:
            rows += page.rows
            size += sum(len(row.text) for row in page.rows)
            if not page.full or len(rows) >= limit or size >= settings.page_bytes:
                break
            ask = next_page_rows(
                rows=ask,
                page_bytes=size,
                last_rows=len(rows),
                rows_max=limit - len(rows),
                bytes_max=settings.page_bytes - size,
            )
            more = await source.read_page(page.end, ask)
            if more.floors != floors or _stands_still(more, page.end):
                break
            page = more
        return Page(rows=rows, floors=floors, watermark=page.watermark, full=page.full, reached=page.end)

    async def _resolve(self, agent: str, wish: str | None, told: Cursor | None) -> Place:
        """The place, with the floors of the transport, fit to be told.

        Raises as `Places.resolve`, `Transport.located` and `Places.ensure_tag`.
        """
        services = self._services
        try:
            place = await services.places.resolve(agent, wish, told)
        except CursorForeign as error:
            place = await services.transport.located(agent, error.place)
            await self._ensure_tags(place)
            raise CursorForeign(error.reason, place) from None
        place = await services.transport.located(agent, place)
        await self._ensure_tags(place)
        return place

    async def _store_ack(self, agent: str, cursor: Cursor) -> Position:
        """What counts as acknowledged now, fit to be told. Raises as `Places.store_ack` and `Places.ensure_tag`."""
        places = self._services.places
        try:
            acked = await places.store_ack(agent, cursor)
        except CursorForeign as error:
            await self._ensure_tags(error.place)
            raise
        await places.ensure_tag(acked)
        return acked

    async def _ensure_tags(self, place: Place) -> None:
        for position in (place.position, place.head, place.floors.critical, place.floors.standard):
            await self._services.places.ensure_tag(position)


def _stands_still(page: Page, after: Position) -> bool:
    """Whether there is more behind a position, and none of it can be read yet: to ask on would never end."""
    return page.full and not page.rows and page.end <= after


class _Ack(msgspec.Struct):
    cursor: str


_REFUSALS = (CursorMalformed, DatabaseUnavailable, NatsUnavailable, NotReady, RedisUnavailable)


def refusal(error: Exception) -> Problem:
    """The problem for what reading a place can raise."""
    if isinstance(error, CursorMalformed):
        return Problem(400, f"{error} — or 'earliest', 'now', 'acked'")
    return unavailable(str(error))


def notice_document(
    places: Places,
    notice: Notice,
    agent: str,
    position: Position,
    floors: Floors,
    head: Position,
    types: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The document of a notice about expiry, for relay.gap, relay.gone and 410."""
    cursor = places.cursor_of(position) if position else "earliest"
    if notice is Notice.GONE:
        return gone_document(places, "expired", agent, cursor, floors, head, types=types)
    return {"reason": "expired", "class": "standard", "cursor": cursor, **_bounds(places, floors, head)}


def gone_document(
    places: Places,
    reason: str,
    agent: str,
    cursor: str | None,
    floors: Floors,
    head: Position,
    *,
    types: frozenset[str] = frozenset(),
    in_band: bool = False,
) -> dict[str, Any]:
    """The problem document of a 410, with the address at which to go on as asked: the same types, `in_band` or not."""
    if reason == "expired":
        resync = f"cursor={quote(cursor or 'acked')}&on_gone=skip"
    else:  # whoever stays with this address, as browsers do, comes back with a cursor of what lies before the head
        resync = f"cursor=earliest&told={places.cursor_of(head)}"
        if in_band:  # a client that sees no status would end for good at the next 410
            resync += "&on_gone=event"
    if types:
        resync += f"&types={quote(','.join(sorted(types)), safe=',')}"
    return Problem(
        410,
        f"{GONE_DETAIL[reason]}. Fetch your state anew, then go on at 'resync' with what is retained",
        reason=reason,
        cursor=cursor,
        resync=f"/v1/agents/{agent}/events?{resync}",
        **_bounds(places, floors, head),
    ).document()


def _gone(document: dict[str, Any]) -> Problem:
    more = {name: value for name, value in document.items() if name not in ("type", "title", "status", "detail")}
    return Problem(410, str(document["detail"]), **more)


def _bounds(places: Places, floors: Floors, head: Position) -> dict[str, Any]:
    return {
        "floors": {
            "critical": places.cursor_of(floors.critical) if floors.critical else None,
            "standard": places.cursor_of(floors.standard) if floors.standard else None,
        },
        "head": places.cursor_of(head),
    }


def _in_band(frames: bytes) -> web.Response:
    """For a client that cannot see a status: a stream of these frames and no more."""
    return web.Response(body=frames, headers=SSE_HEADERS)


def _at_capacity(error: AtCapacity, title: str | None = None) -> Problem:
    return Problem(error.status, str(error), headers={"Retry-After": str(error.retry_after_s)}, title=title)
