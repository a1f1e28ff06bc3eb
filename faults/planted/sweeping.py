"""Bugs of expiry: what is deleted too early, or without a word, and who is reminded of what he has not done."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import msgspec

from faults.planted import texts
from faults.planted.plant import BY_REDIS_CLOCK, NOT_FROM_POSTGRES, NOT_TIMED, plant, replace
from system import redispatch, sql, stream, stream_session
from system.event import Event, RetentionClass
from system.http import events
from system.places import Places
from system.redispatch import Redispatcher
from system.session import Floors, Notice, Page, notice_for
from system.sweeper import CHUNK_ROWS, Sweeper


@plant("sweeper-without-floors", "the sweeper deletes without raising the floors", "G2")
def _sweeper_without_floors() -> None:
    replace(sql, "SWEEP", texts.SWEEP_WITHOUT_FLOORS)


@plant(
    "floors-after-the-sweep",
    "the floors are raised in another transaction than the deletion",
    "G2",
)
def _floors_after_the_sweep() -> None:
    async def sweep(self: Any) -> int:
        found: list[Any] = []
        for kept_class in RetentionClass:
            retention_s = self._settings.retention_s(kept_class)
            found += await self._database.fetch(
                texts.SWEEP_NAMING_FLOORS, self._settings.stream, kept_class.value, retention_s, CHUNK_ROWS, None
            )
        await asyncio.sleep(self._settings.sweep_pause_s)
        for row in found:
            await self._database.execute(texts.RAISE_FLOOR, row["agent"], row["class"], row["floor"])
        return len(found)

    replace(Sweeper, "sweep", sweep)


@plant(
    "sweep-by-the-relays-clock",
    "age is counted by the clock of the relay that sweeps",
    "G1",
    "G2",
    not_over=BY_REDIS_CLOCK,
)
def _sweep_by_the_relays_clock() -> None:
    sweep = Sweeper.sweep

    class Shifted:
        """The relay's settings, with the retention that its clock makes of them."""

        def __init__(self, settings: Any, ahead_s: float) -> None:
            self._settings, self._ahead_s = settings, ahead_s

        def __getattr__(self, name: str) -> Any:
            return getattr(self._settings, name)

        def retention_s(self, kept_class: RetentionClass) -> float:
            retention_s: float = self._settings.retention_s(kept_class)
            return max(0.0, retention_s - self._ahead_s)

    async def by_own_clock(self: Any) -> int:
        settings = self._settings
        row = await self._database.fetchrow(sql.READ_STATE, settings.stream)
        self._settings = Shifted(settings, self._host.wall() - row["now_ns"] / 1e9)
        try:
            return await sweep(self)
        finally:
            self._settings = settings

    replace(Sweeper, "sweep", by_own_clock)


@plant(
    "floors-not-read-with-page", "floors are remembered instead of read with the page", "G2", not_over=NOT_FROM_POSTGRES
)
def _floors_not_read_with_page() -> None:
    seen: dict[str, Floors] = {}
    resolve, read_page = Places.resolve, Places.read_page

    async def resolve_cached(self: Any, agent: str, wish: str | None, head: Any = None) -> Any:
        place = await resolve(self, agent, wish, head)
        return dataclasses.replace(place, floors=seen.setdefault(agent, place.floors))

    async def page_cached(self: Any, agent: str, after: Any, rows_max: int) -> Page:
        page = await read_page(self, agent, after, rows_max)
        return Page(page.rows, seen.setdefault(agent, page.floors), page.watermark, page.full)

    replace(Places, "resolve", resolve_cached)
    replace(Places, "read_page", page_cached)


@plant(
    "floors-of-an-earlier-snapshot",
    "a page's floors are read in a statement of their own, before its rows",
    "G2",
    not_over=NOT_FROM_POSTGRES,
)
def _floors_of_an_earlier_snapshot() -> None:
    read_page = Places.read_page

    async def in_two(self: Any, agent: str, after: Any, rows_max: int) -> Page:
        row = await self._database.fetchrow(sql.READ_PLACE, self._settings.stream, agent)
        page = await read_page(self, agent, after, rows_max)
        return Page(page.rows, Floors(row["critical"], row["standard"]), page.watermark, page.full)

    replace(Places, "read_page", in_two)


@plant(
    "floors-of-broadcasts-forgotten",
    "only events to the agent alone count when it is told what is gone",
    "G2",
    not_over=NOT_FROM_POSTGRES,
)
def _floors_of_broadcasts_forgotten() -> None:
    replace(sql, "READ_PAGE", texts.PAGE_WITH_OWN_FLOORS)
    replace(sql, "READ_PLACE", texts.PLACE_WITH_OWN_FLOORS)


def _decide_notices(decide: Any) -> None:
    """Put another decision in the place of `notice_for`, wherever it is used."""
    replace(stream_session, "notice_for", decide)
    replace(events, "notice_for", decide)


@plant("gap-untold", "nobody is told when standard events are gone", "G2")
def _gap_untold() -> None:
    def critical_only(position: Any, floors: Floors, told: Floors) -> Notice | None:
        notice = notice_for(position, floors, told)
        return None if notice is Notice.GAP else notice

    _decide_notices(critical_only)


@plant("gone-told-as-gap", "a critical event is gone, and only a gap is told", "G2")
def _gone_told_as_gap() -> None:
    def played_down(position: Any, floors: Floors, told: Floors) -> Notice | None:
        return None if notice_for(position, floors, told) is None else Notice.GAP

    _decide_notices(played_down)


@plant("gone-at-the-floor", "an agent that handled the last deleted event is told that it is gone", "G2")
def _gone_at_the_floor() -> None:
    def one_too_many(position: Any, floors: Floors, told: Floors) -> Notice | None:
        if floors.critical == position > told.critical:
            return Notice.GONE
        return notice_for(position, floors, told)

    _decide_notices(one_too_many)


@plant(
    "redispatch-never",
    "no assignment is published again, whoever leaves it unacknowledged",
    "G6",
    not_over=NOT_TIMED,
    kinds=["not-reminded"],
)
def _redispatch_never() -> None:
    async def nothing_overdue(self: Redispatcher) -> int:
        return 0

    replace(Redispatcher, "redispatch_once", nothing_overdue)


@plant("redispatch-to-another", "all assignments that are overdue in one look go to the agent of the first", "G5")
def _redispatch_to_another() -> None:
    publish_all = stream.publish_all

    async def to_the_first(connection: Any, name: str, events: list[Event], **options: Any) -> Any:
        sent = [_addressed_to(events[0].subject, one) for one in events]
        return await publish_all(connection, name, sent, **options)

    replace(redispatch, "publish_all", to_the_first)


def _addressed_to(agent: str, event: Event) -> Event:
    text = msgspec.json.encode(msgspec.json.decode(event.text) | {"subject": agent}).decode()
    return Event(event.id, event.type, agent, text)
