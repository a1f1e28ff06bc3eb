"""Bugs of option B: how Redis is filled and trimmed, what a page of it is, and what its news are trusted to say."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from faults.planted.plant import OF_FEEDS, plant, replace
from system import sql
from system.cursor import Position, seq_of
from system.database import Database
from system.event import ALL_AGENTS, RetentionClass
from system.session import Page
from system.stream import ensure_consumer
from system.transport import redis
from system.transport.redis import feeder, page, trimmer
from system.transport.redis.feed import Step, commands
from system.transport.redis.feeder import Feeder
from system.transport.redis.keys import Keys, next_id, position_of
from system.transport.redis.link import Command
from system.transport.redis.news import News
from system.transport.redis.trimmer import Trimmer

BETWEEN_S = 0.02
"""Between two transactions that were to be one."""
RESTORED_MAX = 3


@plant(
    "watermark-before-its-entries",
    "the feed tells the watermark first, and then writes the events",
    "G1",
    "G2",
    not_over=OF_FEEDS,
)
def _watermark_before_its_entries() -> None:
    async def in_two(self: Any, place: Any, step: Step) -> Any:
        async with self._redis.lend() as lent:
            known, floors, now_ms = await self._watched(lent, place, step)
            fresh = dataclasses.replace(step, entries=[one for one in step.entries if one.id not in known])
            todo = commands(self._keys, self._settings, fresh, floors=floors, now_ms=now_ms)
            if await lent.transact(todo[-2:]) is None:
                raise feeder.FeedMoved("another feeder was at work")
            await asyncio.sleep(BETWEEN_S)
            if todo[:-2]:
                await lent.transact(todo[:-2])
        return dataclasses.replace(place, feed=step.after)

    replace(Feeder, "_take", in_two)


@plant("fed-again", "a repeat that the stream did not recognise is fed as if it were new", "G4", not_over=OF_FEEDS)
def _fed_again() -> None:
    watched = Feeder._watched

    async def nothing_known(self: Any, lent: Any, place: Any, step: Step) -> Any:
        _, floors, now_ms = await watched(self, lent, place, step)
        return set(), floors, now_ms

    replace(Feeder, "_watched", nothing_known)


@plant("feed-over-a-hole", "the feed passes over messages that another feeder was given", "G1", "G2", not_over=OF_FEEDS)
def _feed_over_a_hole() -> None:
    async def nothing_in_flight(self: Any, connection: Any, place: Any, state: Any) -> Any:
        await ensure_consumer(
            connection.js,
            self._settings.stream,
            after_seq=seq_of(place.feed.watermark),
            pending_max=self._settings.writer_batch * 8,
            name=feeder.FEEDER,
        )
        return place

    replace(Feeder, "_catch_up", nothing_in_flight)
    replace(feeder, "contiguous", lambda after, arrived: (arrived, None))


@plant(
    "restored-in-part",
    "a Redis that is behind is taken to be filled after the first few events",
    "G1",
    "G2",
    not_over=OF_FEEDS,
)
def _restored_in_part() -> None:
    fetch = Database.fetch

    async def a_few(self: Any, statement: str, *args: Any) -> Any:
        rows = await fetch(self, statement, *args)
        if statement is not sql.READ_RETAINED:
            return rows
        events = [row for row in rows[1:] if row["id"] is not None]
        return [*rows[:1], *events[:RESTORED_MAX], *(row for row in rows[1:] if row["id"] is None)]

    replace(Database, "fetch", a_few)


@plant("restored-without-floors", "a Redis that is behind is not told what expired meanwhile", "G2", not_over=OF_FEEDS)
def _restored_without_floors() -> None:
    take = Feeder._take

    async def events_alone(self: Any, place: Any, step: Step) -> Any:
        return await take(self, place, dataclasses.replace(step, floors={}))

    replace(Feeder, "_take", events_alone)


def _change_trims(change: Any) -> None:
    """Have the commands that trim one stream changed: `change` is given them, and what is to go."""
    usual = trimmer._trim_commands

    def changed(keys: Keys, kept_class: RetentionClass, one: Any, *rest: Any, **options: Any) -> list[Command]:
        found: list[Command] = change(usual(keys, kept_class, one, *rest, **options), one)
        return found

    replace(trimmer, "_trim_commands", changed)


@plant("trimmed-without-floors", "streams are trimmed, and no floor is raised", "G2", not_over=OF_FEEDS)
def _trimmed_without_floors() -> None:
    _change_trims(lambda todo, one: [command for command in todo if command[0] != "HSET"])


@plant(
    "trimmed-one-too-many", "the oldest event that is to stay goes with those before it", "G1", "G2", not_over=OF_FEEDS
)
def _trimmed_one_too_many() -> None:
    def further(todo: list[Command], one: Any) -> list[Command]:
        if one.following is None:
            return todo
        return [(*command[:-1], next_id(one.following)) if command[0] == "XTRIM" else command for command in todo]

    _change_trims(further)


@plant("trimmed-alike", "critical events are trimmed as early as the others", "G1", "G2", not_over=OF_FEEDS)
def _trimmed_alike() -> None:
    init = Trimmer.__init__

    def impatient(self: Any, settings: Any, *rest: Any) -> None:
        init(self, settings.model_copy(update={"retention_critical_s": settings.retention_standard_s}), *rest)

    replace(Trimmer, "__init__", impatient)


def _change_page(read: Any) -> None:
    """Have pages read otherwise: `read` is given the transport, the commands and how many rows."""

    async def read_page(self: Any, agent: str, after: Position, rows_max: int) -> Page:
        asked = page.page_commands(self._keys, agent, after, rows_max)
        async with self._gate:
            answers: list[Any] = await read(self._redis, asked)
        return page.read_page(answers, rows_max)

    replace(redis.RedisTransport, "read_page", read_page)


@plant(
    "watermark-after-the-page", "a page's watermark is read when its events have come", "G1", "G2", not_over=OF_FEEDS
)
def _watermark_after_the_page() -> None:
    async def in_turn(link: Any, asked: Sequence[Command]) -> list[Any]:
        first, *others = asked
        rest = await link.ask(*others)
        return [*await link.ask(first), *rest]

    _change_page(in_turn)


@plant(
    "classes-one-after-the-other", "a page has an agent's classes one after the other", "G1", "G3", not_over=OF_FEEDS
)
def _classes_one_after_the_other() -> None:
    read = page.read_page

    def unsorted(answers: Sequence[Any], rows_max: int) -> Page:
        found = read(answers, 1 << 30)
        ranges = [{position_of(entry) for entry, _ in entries} for entries in answers[3:]]
        rows = [row for among in ranges for row in found.rows if row.pos in among]
        return Page(rows[:rows_max], found.floors, found.watermark, full=len(rows) >= rows_max)

    replace(redis, "read_page", unsorted)


@plant(
    "floors-of-broadcasts-left-out",
    "only events to the agent alone count when it is told what is gone",
    "G2",
    not_over=OF_FEEDS,
)
def _floors_of_broadcasts_left_out() -> None:
    def own(keys: Keys, agent: str) -> list[Command]:
        return [("HMGET", keys.floors(kept_class), agent) for kept_class in RetentionClass]

    replace(page, "floors_commands", own)
    replace(redis, "floors_commands", own)


@plant(
    "news-passed-over", "a replica that missed news goes on as if there had been none", "G1", "G2", not_over=OF_FEEDS
)
def _news_passed_over() -> None:
    def from_now_on(self: News, watermark: Position) -> None:
        self._set_head(watermark)

    replace(News, "_start_from", from_now_on)


@plant(
    "news-without-broadcasts",
    "news of an event to all concern only who has one of its own",
    "G1",
    "G2",
    not_over=OF_FEEDS,
)
def _news_without_broadcasts() -> None:
    take = News.take

    def own(self: News, text: str) -> None:
        words = text.split(" ")
        take(self, " ".join([*words[:2], *(word for word in words[2:] if word != ALL_AGENTS)]))

    replace(News, "take", own)


@plant("floors-lowered", "a floor that Redis has is replaced by a lower one", "G2", not_over=OF_FEEDS)
def _floors_lowered() -> None:
    def all_of_them(floors: Mapping[str, Position], found: Any) -> dict[str, Position]:
        return dict(floors)

    replace(feeder, "rising", all_of_them)
    usual = trimmer._trim_commands

    def whatever_there_is(*args: Any, floor: Position) -> list[Command]:
        return usual(*args, floor=Position(0))

    replace(trimmer, "_trim_commands", whatever_there_is)
