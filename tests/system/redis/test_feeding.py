"""What is fed, once and by whom: fences, repeats, lost tails, other databases, other transports before and after."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from faults.stack import EmbeddedStack, RedisProcess
from system.cursor import Position, seq_of
from system.event import RetentionClass
from system.transport.redis.feed import Entry, Feed, Step
from system.transport.redis.feeder import FeedMoved, _Place
from system.writer import LeaseLost
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, own_servers, problem
from tests.system.redis.ground import PREFIX, asked, fed, stored
from tests.system.test_retention import CRITICAL, STANDARD, expire, notices, publish, replayed

pytestmark = pytest.mark.stack


def feeder_of(relay: InProcess) -> Any:
    """The relay's own feeder."""
    return relay.relay._transport._feeder  # type: ignore[attr-defined]


async def standing(relay: InProcess, server: RedisProcess) -> Any:
    """The place at which the relay's feeder stands, as another feeder with its fence would have it."""
    watermark, mark_ns, tag = await asked(server, "HMGET", f"{PREFIX}feed", "watermark", "mark_ns", "tag")
    feed = Feed(watermark=Position(int(watermark)), mark_ns=int(mark_ns) if mark_ns else None, tag=tag)
    return _Place(fence=int(await asked(server, "GET", f"{PREFIX}fence")), ordinal=1, feed=feed, former=None)


def step_by(place: Any, event_id: str) -> Step:
    """The step over one more event."""
    position = Position(place.feed.watermark + 1)
    entry = Entry(
        position=position, agent="ann", kept_class=RetentionClass.CRITICAL, id=event_id, type=CRITICAL, text="{}"
    )
    after = replace(place.feed, watermark=position)
    return Step(before=place.feed.watermark, after=after, entries=[entry], floors={})


async def test_a_zombie_feeder_writes_nothing(relay: InProcess, fresh_redis: RedisProcess) -> None:
    """A feeder whose fence was overtaken, or that stands elsewhere than Redis, or that is overtaken between its look
    and its write, changes not one key; the same goes for a trimmer.
    """
    (cursor,) = await relay.publish(event("e1"))
    await fed(relay, fresh_redis, cursor)
    feeder, place = feeder_of(relay), await standing(relay, fresh_redis)
    before = await stored(fresh_redis)
    with pytest.raises(LeaseLost):
        await feeder._take(replace(place, fence=place.fence - 1), step_by(place, "zombie"))
    elsewhere = replace(place, feed=replace(place.feed, watermark=Position(place.feed.watermark - 1)))
    with pytest.raises(FeedMoved):
        await feeder._take(elsewhere, step_by(elsewhere, "zombie"))
    with pytest.raises(LeaseLost):
        await relay.relay._transport._trimmer._transact(  # type: ignore[attr-defined]
            place.fence - 1, 1, ["ann"], place.feed.watermark, None, 0
        )
    assert await stored(fresh_redis) == before
    watched = feeder._watched

    async def overtaken(*args: Any) -> Any:
        found = await watched(*args)
        await asked(fresh_redis, "SET", f"{PREFIX}fence", place.fence)
        return found

    feeder._watched = overtaken
    with pytest.raises(FeedMoved, match="another feeder"):
        await feeder._take(place, step_by(place, "zombie"))
    assert await stored(fresh_redis) == before


async def test_the_next_leader_feeds_on(start_relay: StartRelay, fresh_redis: RedisProcess) -> None:
    """A leader that hands over is followed by one with a higher fence, which goes on at the watermark in Redis."""
    first = await start_relay()
    await first.publish(event("e1"))
    second = await start_relay()
    fence = int(await asked(fresh_redis, "GET", f"{PREFIX}fence"))
    await first.relay.drain()
    async with second.stream(cursor="earliest") as stream:
        await second.publish(event("e2"))
        assert await stream.events(2) == ["e1", "e2"]
    assert int(await asked(fresh_redis, "GET", f"{PREFIX}fence")) > fence


async def test_a_repeat_beyond_the_streams_own_window_comes_once(
    start_relay: StartRelay, fresh_redis: RedisProcess
) -> None:
    """An id that is published past the relay again when the stream has forgotten it is in the stream twice, and in
    Redis and in what agents get once; its id is kept for longer than the event.
    """
    relay = await start_relay(dedupe_window_s=0.1, retention_standard_s=100, stream_max_age_s=8 * 86_400)
    made = event("again", type="note.made")
    await relay.publish(made)
    await asyncio.sleep(0.3)
    assert await relay.inject("mesh.events.ann.note.made", json.dumps(made).encode(), {"Nats-Msg-Id": "again"}) == 2
    (last,) = await relay.publish(event("last"))
    await fed(relay, fresh_redis, last)
    assert (await replayed(relay, cursor="earliest")).delivered == ["again", "last"]
    assert 100 < int(await asked(fresh_redis, "TTL", f"{PREFIX}id:again")) <= 100 + 900


@pytest.mark.parametrize("held", ["everything", "tail"])
async def test_a_redis_that_lost_what_it_had_is_filled_exactly(
    start_relay: StartRelay, fresh_redis: RedisProcess, held: str
) -> None:
    """After the loss of everything, or of the last events, Redis has the same events at the same positions again, the
    stream purged or not, and the floors that Postgres has: so what is gone is told, to whom it was addressed alone.
    """
    relay = await start_relay()
    cursors = await publish(relay, CRITICAL, STANDARD, CRITICAL, STANDARD)
    await publish(relay, CRITICAL, subject="bob")
    *_, last = await publish(relay, CRITICAL, STANDARD, subject="_all")
    await fed(relay, fresh_redis, last)
    before = (await replayed(relay, cursor="earliest")).cursors
    await relay.relay.drain()
    if held == "tail":
        for key in ("agent:_all:c", "agent:_all:s", "agent:bob:c", "oldest:c", "id:k5", "id:k6", "id:k7"):
            await asked(fresh_redis, "DEL", PREFIX + key)
        await asked(fresh_redis, "HSET", f"{PREFIX}feed", "watermark", (1 << 48) + 4)
    else:
        await asked(fresh_redis, "FLUSHALL")
        await (await relay.nats()).jetstream().purge_stream("MESH_EVENTS")
    again = await start_relay()
    await fed(again, fresh_redis, last)
    assert (await replayed(again, cursor="earliest")).cursors == before
    assert (await replayed(again, "bob", cursor="earliest")).delivered == ["k5", "k6", "k7"]
    assert await again.metric("relay_redis_restored_total") == (3 if held == "tail" else 7)
    if held == "everything":
        await expire(again, "k1", "k2")
        await asked(fresh_redis, "FLUSHALL")
        await fed(again, fresh_redis, cursors[3])
        at = await replayed(again, cursor=cursors[1])
        assert notices(at)[0] == "."
        assert notices(await replayed(again, cursor=cursors[0]))[0] == "gap"
        start = f"{cursors[0].split('-')[0]}-0"
        problem(await again.get(f"/v1/agents/ann/events?cursor={start}", Accept="text/event-stream"), 410)
        assert notices(await replayed(again, "bob", cursor=start)) == [".", ".", ".", "cursor"]


async def test_cursors_are_the_same_with_every_transport(
    start_relay: StartRelay, fresh_redis: RedisProcess, transport: dict[str, Any]
) -> None:
    """From Postgres to Redis and back an agent goes on with its cursor, misses nothing and gets nothing twice; a Redis
    that is new knows of what was gone before it came.
    """
    first = await start_relay(transport="cursor")
    cursors = await publish(first, *[CRITICAL] * 4)
    await expire(first, "k2")
    await first.relay.drain()
    second = await start_relay()
    await fed(second, fresh_redis, cursors[3])
    assert (await replayed(second, cursor=cursors[1])).delivered == ["k3", "k4"]
    problem(await second.get(f"/v1/agents/ann/events?cursor={cursors[0]}", Accept="text/event-stream"), 410)
    *_, place = await publish(second, CRITICAL, CRITICAL)
    await second.relay.drain()
    third = await start_relay(transport="cursor")
    assert (await replayed(third, cursor=cursors[3])).delivered == ["k5", "k6"]
    (last,) = await publish(third, CRITICAL)
    await third.relay.drain()
    fourth = await start_relay()
    await fed(fourth, fresh_redis, last)
    assert (await replayed(fourth, cursor=place)).delivered == ["k7"]


async def test_events_that_only_redis_had_begin_an_epoch_when_the_stream_loses_them(
    start_relay: StartRelay, fresh_redis: RedisProcess
) -> None:
    """Redis was ahead of pg-writer when the stream lost its tail: new events would get positions that agents have
    passed already. A new epoch begins, agents are told, and the new events are delivered.
    """
    relay = await start_relay()
    (cursor,) = await publish(relay, CRITICAL)
    await fed(relay, fresh_redis, cursor)
    await relay.relay.drain()
    await asked(fresh_redis, "HSET", f"{PREFIX}feed", "watermark", (1 << 48) + 3)
    again = await start_relay(wait=False)

    async def epochs() -> list[str]:
        return [row["reason"] for row in await again.rows("SELECT reason FROM stream_epoch ORDER BY ordinal")]

    await eventually(lambda: _is(epochs, ["first", "stream_truncated"]), "a second epoch")
    await again.ready()
    await eventually(lambda: _published(again, "new"), "a publish in the new epoch")
    await fed(again, fresh_redis, f"{cursor.split('-')[0]}-2", ordinal=2)
    document = problem(await again.get(f"/v1/agents/ann/events?cursor={cursor}", Accept="text/event-stream"), 410)
    assert document["reason"] == "wrong_epoch"
    async with again.stream(cursor="earliest") as stream:
        assert await stream.events(2) == ["k1", "new"]
    watermark = int(await asked(fresh_redis, "HGET", f"{PREFIX}feed", "watermark"))
    assert (watermark >> 48, seq_of(watermark)) == (2, 2)


async def _is(asking: Any, wanted: Any) -> bool:
    return bool(await asking() == wanted)


async def _published(relay: InProcess, event_id: str) -> bool:
    return (await relay.post(event(event_id))).status_code == 202


async def test_a_redis_of_another_database_is_left_alone(
    stack: EmbeddedStack, relay: InProcess, fresh_redis: RedisProcess, transport: dict[str, Any]
) -> None:
    """Positions mean nothing to another database: a relay of that one says so in /readyz and changes no key."""
    (cursor,) = await relay.publish(event("ours"))
    await fed(relay, fresh_redis, cursor)
    before = await stored(fresh_redis)
    async with own_servers(stack) as (dsn, nats_server):
        other = await InProcess.start(dsn, nats_server, **transport)
        try:
            await eventually(lambda: other.relay.readiness()[1].get("problem"), "a problem")
            good, details = other.relay.readiness()
            assert not good
            assert "belong to another database" in details["problem"]
            assert await stored(fresh_redis) == before
        finally:
            await other.stop()


@pytest.mark.parametrize(
    ("name", "value"), [("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru"), ("appendonly", "no")]
)
async def test_a_redis_that_can_lose_events_is_not_used(
    start_relay: StartRelay, fresh_redis: RedisProcess, name: str, value: str
) -> None:
    """A setting that can lose what was fed is named by /readyz, with what it must be, and nothing is fed; it is unless
    the operator says that it need not be safe, or mends it.
    """
    await asked(fresh_redis, "CONFIG", "SET", name, value)
    relay = await start_relay(wait=False)
    await eventually(lambda: relay.relay.readiness()[1].get("problem"), "a problem")
    assert f"Redis {name}: expected" in relay.relay.readiness()[1]["problem"]
    assert await asked(fresh_redis, "EXISTS", f"{PREFIX}feed") == 0
    careless = await start_relay(allow_unsafe_storage=True, wait=False)
    await relay.relay.drain()
    await careless.ready()
    (cursor,) = await careless.publish(event("e1"))
    await fed(careless, fresh_redis, cursor)
    assert (await replayed(careless, cursor="earliest")).delivered == ["e1"]


async def test_settings_that_may_not_be_read_are_not_held_against_it(
    start_relay: StartRelay, fresh_redis: RedisProcess
) -> None:
    """Managed servers forbid CONFIG: that is logged, and the relay works."""
    await asked(fresh_redis, "ACL", "SETUSER", "default", "-config")
    relay = await start_relay()
    await relay.publish(event("e1"))
    async with relay.stream() as stream:
        assert await stream.events(1) == ["e1"]


async def test_news_that_others_write_do_no_harm(relay: InProcess, fresh_redis: RedisProcess) -> None:
    """What can't be read on the channel is passed over, and news that don't follow the last ones make everybody look
    again: nobody loses an event, or gets one twice.
    """
    async with relay.stream() as stream:
        await relay.publish(event("e1"))
        assert await stream.events(1) == ["e1"]
        for body in (b"\xff", "", "nonsense", "1", "5 4 ann", "0 0", "3 0 _all"):
            await asked(fresh_redis, "PUBLISH", f"{PREFIX}news", body)
        await relay.publish(event("e2"))
        assert await stream.events(1) == ["e2"]


async def test_a_deleted_consumer_is_made_anew(relay: InProcess, fresh_redis: RedisProcess) -> None:
    """The feeder's consumer may be deleted at any time: it is made again behind the watermark in Redis, and what came
    meanwhile is delivered, once.
    """
    jetstream = (await relay.nats()).jetstream()
    async with relay.stream() as stream:
        (cursor,) = await relay.publish(event("e1"))
        await fed(relay, fresh_redis, cursor)
        await jetstream.delete_consumer("MESH_EVENTS", "redis-feeder")
        await relay.publish(event("e2"), event("e3"))
        assert await stream.events(3) == ["e1", "e2", "e3"]
    assert await relay.metric("relay_redis_feeder_restarts_total") >= 1

    async def is_there() -> bool:
        return "redis-feeder" in {one.name for one in await jetstream.consumers_info("MESH_EVENTS")}

    # what pg-writer had stored first comes from Postgres, before the feeder has a consumer again
    await eventually(is_there, "a consumer of the feeder's")


async def test_a_refused_stream_leaves_no_news_behind(start_relay: StartRelay) -> None:
    """Each agent that was ever refused for want of room was kept news for, for ever."""
    relay = await start_relay(sessions_per_agent_max=1)
    news = relay.relay._transport.news  # type: ignore[attr-defined]
    async with relay.stream(cursor="now"):
        for _ in range(3):
            async with relay.stream(cursor="now") as refused:
                assert refused.response.status_code == 429
        assert news._open == {"ann": 1}
    await eventually(lambda: not news._open, "nobody to keep news for")
