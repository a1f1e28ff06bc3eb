"""Bugs of replay: pages, cursors, and the hand-off to live."""

from __future__ import annotations

from dataclasses import replace as replace_fields
from typing import Any
from weakref import WeakKeyDictionary

from faults.planted import texts
from faults.planted.plant import NOT_FROM_POSTGRES, NOT_PUSHED, NOTHING_WHILE_LIVE, plant, replace
from system import sql
from system.cursor import Cursor, Position, ordinal_of, pack
from system.frames import bookmark_frame, chunk
from system.http import events
from system.http.events import AgentEndpoint
from system.hub import Hub, Released
from system.places import CursorForeign, Place, Places
from system.session import Page, Signal, State, advance
from system.stream_session import StreamSession
from system.transport import Source
from system.transport.names import TransportName


@plant("cursor-inclusive", "replay begins at the cursor instead of after it", "G3", "G4", not_over=NOT_FROM_POSTGRES)
def _cursor_inclusive() -> None:
    replace(sql, "READ_PAGE", texts.PAGE_FROM_CURSOR)


@plant(
    "live-before-replay-ended",
    "a session goes live before its replay has reached the window",
    "G1",
    "G2",
    not_over={
        TransportName.JETSTREAM: "what waits of its consumer keeps a session from going live, what comes ends it"
    },
)
def _live_before_replay_ended() -> None:
    join = StreamSession._join

    def covers(self: Hub, position: Position) -> bool:
        return self.start is not None

    def since(self: Hub, agent: str, position: Position) -> list[Released]:
        return []

    def joins_at_once(self: StreamSession) -> bool:
        self._whole = True
        return join(self)

    replace(Hub, "covers", covers)
    replace(Hub, "since", since)
    replace(StreamSession, "_join", joins_at_once)


@plant(
    "full-page-taken-for-the-last",
    "a replay ends with its first page, however much there is",
    "G1",
    "G2",
    not_over=NOT_FROM_POSTGRES,
)
def _full_page_taken_for_the_last() -> None:
    read_page = Places.read_page

    async def only_one(self: Any, agent: str, after: Position, rows_max: int) -> Page:
        page = await read_page(self, agent, after, rows_max)
        return Page(page.rows, page.floors, page.watermark, full=False)

    replace(Places, "read_page", only_one)


@plant("newest-first", "the last page of a replay comes in reverse", "G1", "G3", not_over=NOT_FROM_POSTGRES)
def _newest_first() -> None:
    read_page = Places.read_page

    async def reversed_page(self: Any, agent: str, after: Position, rows_max: int) -> Page:
        page = await read_page(self, agent, after, rows_max)
        return page if page.full else Page(page.rows[::-1], page.floors, page.watermark, full=False)

    replace(Places, "read_page", reversed_page)


@plant(
    "bookmark-ahead-of-replay",
    "a session that still replays is given the head as its bookmark",
    "G1",
    "G3",
)
def _bookmark_ahead_of_replay() -> None:
    mark = StreamSession.mark

    def eager(self: StreamSession) -> None:
        if self.state is State.REPLAY and self._source.reached(self.position) > self._marked:
            self._bookmark()
        mark(self)

    replace(StreamSession, "mark", eager)


@plant(
    "drain-loses-the-last-frames",
    "a stream that is closed is bookmarked at the end of the stream",
    "G1",
    "G2",
    "G3",
)
def _drain_loses_the_last_frames() -> None:
    close = StreamSession.close

    def hasty(self: StreamSession, reason: str) -> None:
        services = self._services
        head = self._source.reached(self.position)
        end = pack(ordinal_of(head), services.places._link.last_seq)
        if self.state is not State.CLOSED and end > head > 0:
            self._write(chunk([bookmark_frame(services.places.cursor_of(end))]))
        close(self, reason)

    replace(StreamSession, "close", hasty)


@plant(
    "begins-behind-what-was-sent",
    "an agent that comes back by its ack begins behind what it was sent last, acknowledged or not",
    "G1",
    "G2",
)
def _begins_behind_what_was_sent() -> None:
    ended, resolve = StreamSession.ended, Places.resolve
    sent: WeakKeyDictionary[Places, dict[str, Position]] = WeakKeyDictionary()

    def remembered(self: StreamSession) -> None:
        places = sent.setdefault(self._services.places, {})
        places[self.agent] = max(self.position, places.get(self.agent, Position(0)))
        ended(self)

    async def further(self: Places, agent: str, wish: str | None, told: Any = None) -> Place:
        place = await resolve(self, agent, wish, told)
        last = sent.get(self, {}).get(agent, Position(0))
        if wish in (None, "acked") and 0 < place.position < last <= place.head:
            return replace_fields(place, position=last)
        return place

    replace(StreamSession, "ended", remembered)
    replace(Places, "resolve", further)


@plant(
    "epoch-unchecked",
    "a cursor of another life of the stream is taken for one of this",
    "G2",
    plans="unsynced",
    kinds=["cursor-accepted"],
)
def _epoch_unchecked() -> None:
    async def position(self: Any, cursor: Cursor, told: Any, *, epoch: int, earliest: Place) -> Position:
        if epoch not in self._tags:
            await self.learn_epochs()
        return pack(epoch, cursor.seq)

    replace(Places, "_position", position)


@plant(
    "window-start-stays", "the window forgets its oldest event, and not that it has it", "G1", "G2", not_over=NOT_PUSHED
)
def _window_start_stays() -> None:
    keep = Hub._keep

    def forgetful(self: Hub, events: Any) -> None:
        start = self.start
        keep(self, events)
        self.start = start

    replace(Hub, "_keep", forgetful)


@plant(
    "window-without-broadcasts",
    "a session that joins is not given the window's events to all",
    "G1",
    "G2",
    not_over=NOT_PUSHED,
)
def _window_without_broadcasts() -> None:
    since = Hub.since

    def own(self: Hub, agent: str, position: Position) -> list[Released]:
        return [one for one in since(self, agent, position) if one.agent == agent]

    replace(Hub, "since", own)


@plant(
    "back-to-an-old-place",
    "a session that falls behind replays from where it went live",
    "G3",
    "G4",
    not_over=NOTHING_WHILE_LIVE,
)
def _back_to_an_old_place() -> None:
    def lose_live(self: StreamSession) -> None:
        if self.state is State.LIVE:
            self._services.metrics.sessions_live.dec()
        self._whole = False
        self.state = advance(self.state, Signal.FELL_BEHIND)
        self._awake()

    replace(StreamSession, "lose_live", lose_live)


@plant(
    "page-led-to-the-watermark", "a page of JSON says that it ends at the watermark, however much is left", "G1", "G2"
)
def _page_led_to_the_watermark() -> None:
    read_page = AgentEndpoint._read_page

    async def ends_there(self: Any, source: Source, position: Position, limit: int) -> Page:
        page = await read_page(self, source, position, limit)
        return replace_fields(page, reached=page.watermark)

    replace(AgentEndpoint, "_read_page", ends_there)


@plant("page-silent-about-losses", "a page of JSON does not say what is gone before it", "G2")
def _page_silent_about_losses() -> None:
    replace(events, "notice_for", lambda *_: None)


@plant("ahead-taken-for-the-end", "a cursor ahead of the stream is taken as it is", "G2", kinds=["cursor-accepted"])
def _ahead_taken_for_the_end() -> None:
    async def position(self: Any, cursor: Cursor, told: Any, *, epoch: int, earliest: Place) -> Position:
        if cursor.epoch not in self._ordinals or epoch not in self._tags:
            await self.learn_epochs()
        if self._ordinals.get(cursor.epoch) != epoch:
            raise CursorForeign("wrong_epoch", earliest)
        return pack(epoch, cursor.seq)

    replace(Places, "_position", position)
