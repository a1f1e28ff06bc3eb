"""The trimmer: takes what is past retention out of the streams and raises the floors, in one transaction each.

Age counts from the feed, on Redis's own clock. Streams that have nothing old are not looked at.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from system.cursor import Position
from system.event import RetentionClass
from system.host import Host
from system.link import describe
from system.settings import Settings
from system.transport.errors import RedisUnavailable
from system.transport.redis.keys import Keys, entry_id, next_id, position_of
from system.transport.redis.link import Command, Lent, RedisLink
from system.transport.redis.metrics import RedisMetrics
from system.writer import LeaseLost

log = structlog.get_logger(__name__)

STREAMS_MAX = 100
"""Streams in one transaction: a millisecond or two, in which Redis answers nobody else."""
CONTENDED_MAX = 10
"""Transactions in a row that came to nothing: the rest is left to the next interval."""


class _Contended(Exception):
    """A stream that had nothing but old entries was added to just now; it is looked at again."""


@dataclass(frozen=True, slots=True)
class Ages:
    """Watermarks by when they were reached, in ms: in order of both, but for steps of Redis's clock."""

    times_ms: Sequence[int]
    positions: Sequence[Position]

    def reached_by(self, time_ms: int) -> Position:
        """The highest watermark that was reached by then; 0 if none."""
        reached = [pos for at, pos in zip(self.times_ms, self.positions, strict=True) if at <= time_ms]
        return max(reached, default=Position(0))

    def fed_at(self, position: Position, now_ms: int) -> int:
        """When an event at this position was fed, in ms."""
        # positions rise with times; where a clock was set back this may say too early, and the stream is looked at once
        index = bisect_left(self.positions, position)
        return self.times_ms[index] if index < len(self.times_ms) else now_ms


@dataclass(frozen=True, slots=True)
class Doomed:
    """What is to go from one stream: all up to `last`, and what comes then."""

    agent: str
    last: Position | None
    """The highest position to go; None if the stream has nothing old after all."""
    following: Position | None
    """The lowest one to stay; None if nothing stays."""


class Trimmer:
    """Trims both classes every interval, for as long as its replica leads."""

    def __init__(self, settings: Settings, redis: RedisLink, host: Host, metrics: RedisMetrics) -> None:
        self._settings = settings
        self._redis = redis
        self._host = host
        self._metrics = metrics
        self._keys = Keys(settings.stream)

    async def run(self, fence: int) -> None:
        """Trim for ever; a Redis that is away is tried again at the next interval. Raises LeaseLost."""
        while True:
            try:
                await self.trim(fence)
            except RedisUnavailable as error:
                log.warning("trimmer.redis_unavailable", error=describe(error))
            await asyncio.sleep(self._settings.sweep_interval_s * self._host.rng.uniform(0.8, 1.2))

    async def trim(self, fence: int) -> int:
        """Trim everything past retention now; returns the number of events. Raises RedisUnavailable, LeaseLost."""
        total = 0
        for kept_class in RetentionClass:
            contended = 0
            while contended < CONTENDED_MAX:
                try:
                    looked_at, trimmed = await self._trim_some(fence, kept_class)
                except _Contended:
                    contended += 1
                    continue
                contended = 0
                total += trimmed
                self._metrics.trimmed.labels(kept_class.name.lower()).inc(trimmed)
                if looked_at < STREAMS_MAX:
                    break
                await asyncio.sleep(self._settings.sweep_pause_s)
        if total:
            log.info("trimmer.trimmed", events=total)
        return total

    async def _trim_some(self, fence: int, kept_class: RetentionClass) -> tuple[int, int]:
        """Trim the streams with the oldest entries: how many were looked at, how many events went."""
        keys, link = self._keys, self._redis
        ((seconds, micros),) = await link.ask(("TIME",))
        now_ms = int(seconds) * 1_000 + int(micros) // 1_000
        limit_ms = now_ms - round(self._settings.retention_s(kept_class) * 1_000)
        (names,) = await link.ask(("ZRANGEBYSCORE", keys.oldest(kept_class), "-inf", limit_ms, "LIMIT", 0, STREAMS_MAX))
        if not names:
            return 0, 0
        (flat,) = await link.ask(("ZRANGEBYSCORE", keys.ages, "-inf", "+inf", "WITHSCORES"))
        ages = Ages([int(float(one)) for one in flat[1::2]], [Position(int(one)) for one in flat[::2]])
        cutoff = ages.reached_by(limit_ms)
        trimmed = await self._transact(fence, kept_class, [name.decode() for name in names], cutoff, ages, now_ms)
        if kept_class is RetentionClass.CRITICAL and len(names) < STREAMS_MAX:
            # of what lies below nothing is left in any stream: the other class is kept for no longer
            await link.ask(("ZREMRANGEBYSCORE", keys.ages, "-inf", f"({limit_ms}"))
        return len(names), trimmed

    async def _transact(
        self, fence: int, kept_class: RetentionClass, agents: list[str], cutoff: Position, ages: Ages, now_ms: int
    ) -> int:
        """Raise floors, trim streams and note what is the oldest then; all or nothing, and only behind our fence."""
        keys = self._keys
        async with self._redis.lend() as lent:
            kept_floors = keys.floors(kept_class)
            _, held, had = await lent.ask(
                ("WATCH", keys.fence, kept_floors), ("GET", keys.fence), ("HMGET", kept_floors, *agents)
            )
            if int(held or 0) > fence:
                raise LeaseLost(f"the fence in Redis is {int(held)}, ours was {fence}")
            doomed = await self._look(lent, kept_class, agents, cutoff)
            emptied = [one.agent for one in doomed if one.following is None]
            if emptied:
                # what is to be deleted whole must not be added to meanwhile
                await lent.ask(("WATCH", *(keys.events(agent, kept_class) for agent in emptied)))
                again = {one.agent: one for one in await self._look(lent, kept_class, emptied, cutoff)}
                doomed = [again.get(one.agent, one) for one in doomed]
            todo: list[Command] = []
            floors = {agent: Position(int(floor or 0)) for agent, floor in zip(agents, had, strict=True)}
            for one in doomed:
                todo += _trim_commands(keys, kept_class, one, ages, now_ms, floor=floors[one.agent])
            results = await lent.transact(todo)
        if results is None:
            raise _Contended
        return sum(int(got) for command, got in zip(todo, results, strict=True) if command[0] == "XTRIM")

    async def _look(
        self, lent: Lent, kept_class: RetentionClass, agents: Sequence[str], cutoff: Position
    ) -> list[Doomed]:
        streams = [self._keys.events(agent, kept_class) for agent in agents]
        answers: list[Any] = await lent.ask(
            *(("XREVRANGE", stream, entry_id(cutoff), "-", "COUNT", 1) for stream in streams),
            *(("XRANGE", stream, next_id(cutoff), "+", "COUNT", 1) for stream in streams),
        )
        old, young = answers[: len(agents)], answers[len(agents) :]
        return [
            Doomed(agent, position_of(last[0][0]) if last else None, position_of(then[0][0]) if then else None)
            for agent, last, then in zip(agents, old, young, strict=True)
        ]


def _trim_commands(
    keys: Keys, kept_class: RetentionClass, one: Doomed, ages: Ages, now_ms: int, *, floor: Position
) -> list[Command]:
    """What trims one stream, whose floor may already lie higher: the feeder knows what was never fed."""
    found: list[Command] = []
    stream = keys.events(one.agent, kept_class)
    if one.last is not None:
        if one.last > floor:
            found.append(("HSET", keys.floors(kept_class), one.agent, one.last))
        found.append(("XTRIM", stream, "MINID", "=", next_id(one.last)))
    if one.following is None:
        found.append(("DEL", stream))
        found.append(("ZREM", keys.oldest(kept_class), one.agent))
    else:
        found.append(("ZADD", keys.oldest(kept_class), ages.fed_at(one.following, now_ms), one.agent))
    return found
