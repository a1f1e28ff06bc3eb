"""One agent's event stream: opens it, reads it frame by frame, closes it, and shows all of it to the observer.

It answers the machine's actions with the machine's events and decides nothing. It holds at most one connection; the
socket is read only when the next frame is asked for, so a slow handler is felt by the relay and costs no memory here.
"""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from system.client import steps
from system.client.backoff import retry_after_s
from system.client.errors import ProtocolViolated, TokenUnavailable
from system.client.notices import (
    BOOKMARK,
    CLOSE,
    GAP,
    GONE,
    RESERVED_PREFIX,
    GoneNotice,
    bookmark_from,
    close_from,
    delivery_from,
    gap_from,
    gone_from,
)
from system.client.observer import Observer
from system.client.settings import ClientSettings
from system.client.sse import Frame, Retry, SseParser
from system.client.stopping import Interrupted, Stopper
from system.client.wire import NO_ANSWER, Answer, RelayHttp, in_words, presented_in, query_of, read_some, reason_of
from system.cursor import Cursor


class EventStream:
    """The stream of one agent, connection after connection."""

    def __init__(
        self,
        relay: RelayHttp,
        path: str,
        types: str | None,
        *,
        settings: ClientSettings,
        observer: Observer,
        stopper: Stopper,
        wall: Callable[[], float],
    ) -> None:
        self._relay = relay
        self._path = path
        self._types = types
        self._settings = settings
        self._observer = observer
        self._stopper = stopper
        self._wall = wall
        self._conn = 0
        self._is_open = False
        self._place: str | None = None
        self._token: str | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._parser = SseParser()

    def moved(self, place: Cursor | None) -> None:
        """The agent's place, for what observers are told."""
        self._place = None if place is None else str(place)

    # Opening

    async def open(self, action: steps.Connect) -> steps.Event:
        """Ask for the stream; unless it is Opened, close() must follow."""
        assert not self._is_open, "expected the connection before to be closed"
        if action.fresh_token:
            self._relay.token.refuse(self._token)
        address, presented, headers = self._request_of(action)
        self._conn += 1
        self._is_open = True
        self._observer.connecting(self._conn, presented, action.address is not None)
        try:
            async with self._stopper.interruptible():
                self._response, self._token = await self._relay.open(
                    "GET", address, headers=headers, read_timeout_s=self._settings.watchdog_s
                )
                if self._response.status == 200:
                    return self._opened(self._response)
                return self._answered(await self._relay.read_whole(self._response))
        except Interrupted:
            return steps.StopAsked()
        except TokenUnavailable as error:
            return steps.Lost(why=f"token: {error}")
        except NO_ANSWER as error:
            return steps.Lost(why=f"connect: {in_words(error)}")

    def _request_of(self, action: steps.Connect) -> tuple[str, str | None, dict[str, str]]:
        headers = {"Accept": "text/event-stream"}
        if action.address is not None:
            return action.address, presented_in(action.address), headers
        address = self._path + query_of({"cursor": action.keyword, "told": action.told, "types": self._types})
        if action.place is None:
            return address, action.keyword, headers
        headers["Last-Event-ID"] = str(action.place)
        return address, str(action.place), headers

    def _opened(self, response: aiohttp.ClientResponse) -> steps.Event:
        self._observer.connected(self._conn, 200, None, response.headers)
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = response.headers.get("content-encoding", "identity").lower()
        if (media, coding) != ("text/event-stream", "identity"):
            # Most likely the page of a proxy whose relay is away; that passes, so it is no garbage.
            return steps.Lost(why=f"no stream: expected text/event-stream, got {media!r}, encoding {coding!r}")
        self._parser = SseParser(self._settings.frame_bytes_max)
        return steps.Opened()

    def _answered(self, answer: Answer) -> steps.Event:
        problem = answer.problem()
        reason = problem.get("reason") or problem.get("title")
        self._observer.connected(self._conn, answer.status, None if reason is None else str(reason), answer.headers)
        gone = self._gone_in(answer)
        retry_after = answer.headers.get("retry-after")
        return steps.Answered(
            status=answer.status,
            told_s=retry_after_s(retry_after, wall=self._wall, max_s=self._settings.told_max_s),
            gone=gone,
            detail=answer.explained(),
        )

    def _gone_in(self, answer: Answer) -> GoneNotice | None:
        if answer.status != 410:
            return None
        try:
            notice = gone_from(answer.body, "status")
        except ProtocolViolated:
            return None  # to the machine, a 410 without the relay's document has a meaning of its own
        self._observer.gone(self._conn, self._place, notice)
        return notice

    # Reading

    async def read(self) -> steps.Event:
        """The next thing that the relay says, or how the connection ended."""
        assert self._response is not None
        while True:
            if self._stopper.asked:
                return steps.StopAsked()
            try:
                item = self._parser.next_item()
                event = None if item is None else self._event_of(item)
            except ProtocolViolated as error:
                return steps.Garbage(error=error)
            if event is not None:
                return event
            if item is None and (end := await self._feed(self._response.content)) is not None:
                return end

    async def _feed(self, body: aiohttp.StreamReader) -> steps.Event | None:
        try:
            async with self._stopper.interruptible():
                data = await read_some(body)
        except Interrupted:
            return steps.StopAsked()
        except aiohttp.SocketTimeoutError:
            return steps.Lost(why=f"silent: no byte for {self._settings.watchdog_s:g} s")
        except NO_ANSWER as error:
            return steps.Lost(why=f"reset: {reason_of(error)}")
        if not data:
            return steps.Lost(why="eof")
        self._parser.feed(data)
        return None

    def _event_of(self, item: Frame | Retry) -> steps.Event | None:
        """The machine's word for an item; None for what only a newer client would know. Raises ProtocolViolated."""
        if isinstance(item, Retry):
            return steps.RetrySeen(retry_ms=item.retry_ms)
        if not item.event.startswith(RESERVED_PREFIX):
            delivery = delivery_from(item, self._conn)
            self._observer.deliver(self._conn, delivery.cursor, delivery.id, delivery.type, delivery.subject)
            return steps.EventSeen(delivery=delivery)
        if item.event == BOOKMARK:
            place = bookmark_from(item)
            self._observer.bookmark(self._conn, str(place))
            return steps.BookmarkSeen(place=place)
        if item.event == GAP:
            gap = gap_from(item.data)
            self._observer.gap(self._conn, self._place, gap)
            return steps.GapSeen(notice=gap)
        if item.event == GONE:
            gone = gone_from(item.data, "event")
            self._observer.gone(self._conn, self._place, gone)
            return steps.GoneSeen(notice=gone)
        if item.event == CLOSE:
            return steps.CloseSeen(notice=close_from(item.data))
        return None

    # Closing

    async def close(self, why: str) -> None:
        """End the connection, if there is one; the observer hears of it once."""
        response, self._response = self._response, None
        was_open, self._is_open = self._is_open, False
        if response is not None:
            response.close()
        if was_open:
            self._observer.closed(self._conn, why)
