"""The feeder: from the stream into each agent's own Redis Streams, in order, once, behind the leader's fence.

As pg-writer does, it forgets everything after any failure and begins again from the watermark, here the one in Redis.
It reads the stream through a durable consumer of its own and is tied to no answer of Postgres while all goes well: an
event may be delivered before pg-writer has stored it. What Redis lacks and Postgres has decided already comes from
Postgres, with the floors of what is gone: so a Redis that lost its tail, or everything, is made exact again, whatever
the stream still holds. What the stream no longer has is therefore never passed over here: pg-writer decides about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog
from nats.errors import Error as NatsError

from system import intake, sql
from system.batch import (
    PIECE_BYTES_MAX,
    PIECE_BYTES_MIN,
    Former,
    Incoming,
    contiguous,
    decide,
    lineage_break,
    pieces,
)
from system.cursor import Position, ordinal_of, seq_of, tag_from
from system.database import Database, DatabaseUnavailable
from system.direct import Delivered
from system.event import RetentionClass
from system.host import Host
from system.hub import Hub
from system.link import Connection, NatsLink, NatsUnavailable, describe, heed_cancellation
from system.pull import PullEnded, PullReader
from system.session import FIRST_PAGE_ROWS, next_page_rows
from system.settings import Settings
from system.stream import StreamState, StreamUnsafe, ensure_consumer, read_state
from system.transport.errors import RedisUnavailable
from system.transport.redis.feed import Entry, Feed, Step, commands, read_feed, rising, step_of
from system.transport.redis.keys import FIELDS, Keys
from system.transport.redis.link import Lent, RedisLink
from system.transport.redis.metrics import RedisMetrics
from system.transport.redis.safety import RedisUnsafe, check_redis
from system.writer import LeaseLost, former_of

log = structlog.get_logger(__name__)

FEEDER = "redis-feeder"
"""The name of its durable consumer."""


class FeedMoved(Exception):
    """Redis, Postgres or the stream is not where we left it; begin again from what they say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where feeding stands: our fence, and the watermark that must not have moved."""

    fence: int
    ordinal: int
    feed: Feed
    former: Former | None


class Feeder:
    """The one that adds to the streams, as long as its fence holds."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        link: NatsLink,
        host: Host,
        metrics: RedisMetrics,
        *,
        redis: RedisLink,
        hub: Hub,
    ) -> None:
        """`hub` knows the current epoch, which the tail reads."""
        self._settings = settings
        self._database = database
        self._link = link
        self._host = host
        self._metrics = metrics
        self._redis = redis
        self._hub = hub
        self._keys = Keys(settings.stream)
        self._piece_bytes = PIECE_BYTES_MAX
        self.problem: str | None = None
        """Why nothing can be fed at all, for readiness; None when all is well."""

    async def run(self, fence: int) -> None:
        """Feed until the lease is lost. Raises LeaseLost."""
        while True:
            heed_cancellation()
            connection = await self._link.wait_connected()
            try:
                await self._feed_from(connection, await self._begin(connection, fence))
            except (RedisUnsafe, StreamUnsafe) as error:
                self.problem = str(error)
                log.error("feeder.unsafe", problem=self.problem)
            except (
                DatabaseUnavailable, FeedMoved, NatsUnavailable, RedisUnavailable, PullEnded, NatsError, TimeoutError
            ) as error:  # fmt: skip
                if isinstance(error, RedisUnavailable):
                    # what did not get through within the limit must come in smaller pieces, or it never will
                    self._piece_bytes = max(PIECE_BYTES_MIN, self._piece_bytes // 4)
                log.warning("feeder.restarted", error=describe(error))
            self._metrics.restarts.inc()
            await asyncio.sleep(self._host.rng.uniform(0.05, 0.5))

    async def _begin(self, connection: Connection, fence: int) -> _Place:
        """Take over in Redis, fill it up to where Postgres is, and read what was in flight to another feeder."""
        settings = self._settings
        await check_redis(settings, self._redis)
        row = await self._database.fetchrow(sql.READ_STATE, settings.stream)
        if row["fence"] != fence:
            raise LeaseLost(f"the fence is {row['fence']}, ours was {fence}")
        tags = {one["ordinal"]: one["tag"] for one in await self._database.fetch(sql.READ_EPOCHS)}
        feed = await self._claim(fence, tags)
        # after the claim: until then another feeder may have got further than the stream was when we asked
        state = await read_state(connection.nc, settings.stream)
        known = Position(row["watermark"]), row["mark_ns"]
        if await self._is_another(connection, state, row["created"], *known):
            raise FeedMoved("the stream is not the one that Postgres knows; pg-writer will begin a new epoch")
        if feed.watermark > row["watermark"]:
            reason = await self._lineage(connection, state, row["created"], feed.watermark, feed.mark_ns)
            if reason is not None:
                await self._new_epoch(fence, state, reason)
        place = _Place(
            fence=fence, ordinal=row["epoch"], feed=feed, former=former_of(settings, row["decided_ns"], row["now_ns"])
        )
        place = await self._restore(place, tags)
        if ordinal_of(place.feed.watermark) != place.ordinal:
            raise FeedMoved("an epoch began meanwhile")
        return await self._catch_up(connection, place, state)

    async def _catch_up(self, connection: Connection, place: _Place, state: StreamState) -> _Place:
        """Read directly what was delivered to a feeder that may be dead, instead of waiting for its ack to time out."""
        settings = self._settings
        delivered = await ensure_consumer(
            connection.js,
            settings.stream,
            after_seq=seq_of(place.feed.watermark),
            pending_max=settings.writer_batch * 8,
            name=FEEDER,
        )
        self.problem = None
        first = seq_of(place.feed.watermark) + 1
        if state.first_seq > first:
            raise FeedMoved(f"the stream begins at {state.first_seq}; about what lies below pg-writer decides")
        while first <= min(delivered, state.last_seq):
            last = min(first + settings.writer_batch - 1, delivered, state.last_seq)
            place = await self._feed(place, await self._fill(connection, first, last))
            first = last + 1
        return place

    async def _claim(self, fence: int, tags: Mapping[int, str]) -> Feed:
        """Put our fence into Redis, and read where it stands. Raises LeaseLost, RedisUnsafe."""
        keys = self._keys
        async with self._redis.lend() as lent:
            _, held, found = await lent.ask(
                ("WATCH", keys.fence, keys.feed), ("GET", keys.fence), ("HMGET", keys.feed, *FIELDS)
            )
            feed = read_feed(found)
            if feed.watermark and tags.get(ordinal_of(feed.watermark)) != feed.tag:
                raise RedisUnsafe(
                    f"the keys {keys.prefix}* of this Redis belong to another database (epoch {feed.tag}, expected "
                    f"{tags.get(ordinal_of(feed.watermark))}); delete them, or set MESHRELAY_REDIS_URL to another"
                )
            if int(held or 0) > fence:
                raise LeaseLost(f"the fence in Redis is {int(held)}, ours was {fence}")
            if await lent.transact([("SET", keys.fence, fence)]) is None:
                raise FeedMoved("another feeder was at work")
        return feed

    async def _is_another(
        self, connection: Connection, state: StreamState, created: str, watermark: Position, mark_ns: int | None
    ) -> bool:
        return await self._lineage(connection, state, created, watermark, mark_ns) is not None

    async def _lineage(
        self, connection: Connection, state: StreamState, created: str, watermark: Position, mark_ns: int | None
    ) -> str | None:
        """Why the stream is not the one that a watermark belongs to, or None."""
        return lineage_break(
            known_created=created,
            watermark_seq=seq_of(watermark),
            created=state.created,
            last_seq=state.last_seq,
            mark_ns=mark_ns,
            found_ns=await intake.message_time_ns(connection.js, self._settings.stream, seq_of(watermark)),
        )

    async def _new_epoch(self, fence: int, state: StreamState, reason: str) -> None:
        """The stream lost what only Redis had: only we can know, and without an epoch new events would look fed."""
        row = await self._database.fetchrow(
            sql.NEW_EPOCH,
            self._settings.stream,
            fence,
            tag_from(self._host.new_id()),
            reason,
            state.created,
            max(0, state.first_seq - 1),
            state.last_seq,
        )
        log.error("feeder.new_epoch", reason=reason)
        raise FeedMoved("a new epoch begins" if row is not None else "the fence is no longer ours")

    async def _restore(self, place: _Place, tags: Mapping[int, str]) -> _Place:
        """Fill Redis with what Postgres has decided beyond it, an exact copy of events and floors, a page at a time."""
        rows_max, restored = FIRST_PAGE_ROWS, 0
        while True:
            before = place.feed.watermark
            rows = await self._database.fetch(sql.READ_RETAINED, self._settings.stream, before, rows_max)
            if not rows or rows[0]["watermark"] <= before:
                break
            events = sorted((row for row in rows[1:] if row["id"] is not None), key=lambda row: int(row["pos"]))
            is_last = len(events) < rows_max
            watermark = Position(rows[0]["watermark"] if is_last else events[-1]["pos"])
            tag = tags.get(ordinal_of(watermark))
            if tag is None:
                raise FeedMoved("an epoch began meanwhile")
            floors: dict[RetentionClass, dict[str, Position]] = {one: {} for one in RetentionClass}
            for row in rows[1:]:
                if row["id"] is None:
                    floors[RetentionClass(row["class"])][row["agent"]] = Position(row["pos"])
            step = Step(
                before=before,
                after=Feed(watermark=watermark, mark_ns=rows[0]["mark_ns"] if is_last else None, tag=tag),
                entries=[_entry(row) for row in events],
                floors=floors,
                age_s=max(0, min((row["age_us"] for row in events), default=0)) / 1e6,
            )
            place = await self._take(place, step)
            restored += len(events)
            self._metrics.restored.inc(len(events))
            rows_max = next_page_rows(
                rows=rows_max,
                page_bytes=sum(len(one.text) for one in step.entries),
                last_rows=len(events),
                rows_max=self._settings.tail_rows,
                bytes_max=self._piece_bytes,
            )
        if restored:
            log.warning("feeder.restored", events=restored, watermark=seq_of(place.feed.watermark))
        return place

    async def _feed_from(self, connection: Connection, place: _Place) -> None:
        settings = self._settings
        log.info("feeder.began", fence=place.fence, epoch=place.ordinal, watermark=seq_of(place.feed.watermark))
        reader = PullReader[tuple[Incoming, Delivered]](
            connection,
            settings.stream,
            FEEDER,
            prepare=self._read,
            batch=settings.writer_batch,
            expires_s=settings.idle_check_s / 2,
        )
        async with reader:
            while True:
                heed_cancellation()
                arrived = await reader.next_batch(timeout_s=settings.idle_check_s)
                if self._hub.start is not None and ordinal_of(self._hub.head) > place.ordinal:
                    raise FeedMoved("an epoch began meanwhile")
                if not arrived:
                    await self._look(place)
                    continue
                place = await self._feed_all(connection, place, [incoming for incoming, _ in arrived])
                last_seq, last = arrived[-1][0].seq, arrived[-1][1]
                # after the transaction, and never for more than is decided
                assert last_seq <= seq_of(place.feed.watermark), (last_seq, place)
                await connection.nc.publish(last.reply, b"")

    async def _feed_all(self, connection: Connection, place: _Place, arrived: list[Incoming]) -> _Place:
        while True:
            taken, hole = contiguous(seq_of(place.feed.watermark), arrived)
            if taken:
                place = await self._feed(place, taken)
            if hole is None:
                return place
            first, last = hole
            last = min(last, first + self._settings.writer_batch - 1)
            place = await self._feed(place, await self._fill(connection, first, last))

    async def _fill(self, connection: Connection, first: int, last: int) -> list[Incoming]:
        """Read a hole's messages directly. Raises FeedMoved for one that is gone: Postgres will know what it was."""
        settings = self._settings
        filled = await intake.fill(connection, settings.stream, first, last, bytes_max=settings.event_bytes_max)
        for one in filled:
            if one.lost_until:
                raise FeedMoved(f"the stream no longer has {one.seq}; about that pg-writer decides")
        return filled

    async def _feed(self, place: _Place, taken: list[Incoming]) -> _Place:
        """Feed contiguous messages, a piece of bounded size at a time."""
        critical = self._settings.critical_types
        for piece in pieces(taken, self._piece_bytes):
            batch = decide(piece, former=place.former, critical_types=critical)
            place = await self._take(place, step_of(batch, place.feed, place.ordinal, critical))
            self._piece_bytes = min(PIECE_BYTES_MAX, self._piece_bytes * 2)
        return place

    async def _take(self, place: _Place, step: Step) -> _Place:
        """Take one step in one transaction. Raises FeedMoved, LeaseLost if Redis is not where we left it."""
        keys = self._keys
        async with self._redis.lend() as lent:
            known, floors, now_ms = await self._watched(lent, place, step)
            fresh = replace(step, entries=[one for one in step.entries if one.id not in known])
            todo = commands(keys, self._settings, fresh, floors=floors, now_ms=now_ms)
            if await lent.transact(todo) is None:
                raise FeedMoved("another feeder was at work")
        self._metrics.fed.inc(len(fresh.entries))
        self._metrics.lag_messages.set(max(0, self._link.last_seq - seq_of(step.after.watermark)))
        return replace(place, feed=step.after)

    async def _watched(
        self, lent: Lent, place: _Place, step: Step
    ) -> tuple[set[str], dict[RetentionClass, dict[str, Position]], int]:
        """Watch what must not move, and read what the step depends on: known ids, lower floors, Redis's time in ms."""
        keys, ids = self._keys, [one.id for one in step.entries]
        classes = [(kept_class, floors) for kept_class, floors in step.floors.items() if floors]
        _, held, found, now, *rest = await lent.ask(
            ("WATCH", keys.fence, keys.feed),
            ("GET", keys.fence),
            ("HMGET", keys.feed, *FIELDS),
            ("TIME",),
            *(("HMGET", keys.floors(kept_class), *floors) for kept_class, floors in classes),
            *([("MGET", *map(keys.event_id, ids))] if ids else []),
        )
        if int(held or 0) > place.fence:
            raise LeaseLost(f"the fence in Redis is {int(held)}, ours was {place.fence}")
        if held is None or read_feed(found).watermark != place.feed.watermark:
            raise FeedMoved(f"expected the watermark {place.feed.watermark} in Redis, got {found[0]}")
        stored = rest.pop() if ids else []
        floors = {one: rising(wanted, got) for (one, wanted), got in zip(classes, rest, strict=True)}
        known = {one for one, value in zip(ids, stored, strict=True) if value is not None}
        return known, floors, int(now[0]) * 1_000 + int(now[1]) // 1_000

    async def _look(self, place: _Place) -> None:
        """See that Redis is still where we left it, while nothing comes. Raises FeedMoved."""
        ((watermark,),) = await self._redis.ask(("HMGET", self._keys.feed, "watermark"))
        if int(watermark or 0) != place.feed.watermark:
            raise FeedMoved(f"expected the watermark {place.feed.watermark} in Redis, got {watermark}")

    def _read(self, message: Delivered) -> tuple[Incoming, Delivered]:
        return intake.read_message(message, bytes_max=self._settings.event_bytes_max), message


def _entry(row: Mapping[str, object]) -> Entry:
    """An event as Postgres has it."""
    return Entry(
        position=Position(int(str(row["pos"]))),
        agent=str(row["agent"]),
        kept_class=RetentionClass(int(str(row["class"]))),
        id=str(row["id"]),
        type=str(row["type"]),
        text=str(row["payload"]),
    )
