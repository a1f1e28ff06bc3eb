"""Redis goes away, comes back, loses what it had: nothing is lost, nothing comes twice, and publishes go on."""

from __future__ import annotations

import asyncio

import pytest

from faults.stack import RedisProcess
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, problem
from tests.system.redis.ground import asked
from tests.system.traffic import traffic

pytestmark = pytest.mark.stack


async def is_ready(relay: InProcess) -> bool:
    """Whether /readyz says so."""
    return (await relay.http.get("/readyz")).status_code == 200


@pytest.mark.parametrize("how", ["kill", "restart", "pause", "flush", "flush and kill"])
async def test_an_outage_in_mid_traffic_loses_nothing(relay: InProcess, fresh_redis: RedisProcess, how: str) -> None:
    """SIGKILL and start, orderly restart, SIGSTOP and SIGCONT, the loss of everything, under traffic: all acknowledged
    events arrive, once and in order, without a restart of the relay.
    """
    async with traffic(relay) as books:
        if how.startswith("flush"):
            await asked(fresh_redis, "FLUSHALL")
        if how.endswith("kill"):
            await fresh_redis.kill()
            await asyncio.sleep(0.3)
            await fresh_redis.start()
        elif how == "restart":
            await fresh_redis.restart()
        elif how == "pause":
            fresh_redis.pause()
            await asyncio.sleep(0.5)
            fresh_redis.resume()
        await books.more(20)
        await books.caught_up()
        await eventually(lambda: is_ready(relay), "a ready relay")
    assert not relay.relay.failed.done()
    assert await relay.rows("SELECT * FROM dead_letters") == []


async def test_two_replicas_under_traffic(start_relay: StartRelay, fresh_redis: RedisProcess) -> None:
    """Agents come and go between two replicas, the leader among them is stopped, Redis is killed: nothing is lost or
    comes twice.
    """
    first = await start_relay(lease_s=1)
    second = await start_relay(lease_s=1)
    async with traffic(first, second) as books:
        await fresh_redis.kill()
        await fresh_redis.start()
        await books.more(10)
        await first.relay.drain()
        await books.more(20)
        await books.caught_up()
        await eventually(lambda: second.relay.readiness()[1]["leading"], "the second leads")


async def test_publishing_goes_on_while_redis_is_away(relay: InProcess, fresh_redis: RedisProcess) -> None:
    """The stream takes events without Redis, and they are stored; who is connected stays so and catches up when Redis
    is back; who comes meanwhile gets an honest 503, and so does a page; an ack needs no Redis.
    """
    (place,) = await relay.publish(event("before"))
    async with relay.stream(cursor="earliest") as stream:
        assert await stream.events(1) == ["before"]
        await relay.settled()
        await fresh_redis.kill()
        await relay.publish(event("meanwhile"))
        await relay.settled()
        problem(await relay.get("/v1/agents/ann/events", Accept="text/event-stream"), 503, "Redis")
        problem(await relay.page(), 503)
        assert (await relay.ack(place)).status_code == 200
        parts = (await relay.http.get("/readyz")).json()["parts"]
        await eventually(lambda: _lacks_redis(relay), "a relay that is not ready")
        assert (parts["nats"], parts["postgres"]) == (True, True)
        await fresh_redis.start()
        assert await stream.events(1) == ["meanwhile"]
    await eventually(lambda: is_ready(relay), "a ready relay")
    assert await relay.metric("relay_redis_errors_total") > 0


async def _lacks_redis(relay: InProcess) -> bool:
    answer = await relay.http.get("/readyz")
    return answer.status_code == 503 and answer.json()["parts"]["redis"] is False


async def test_a_relay_may_start_before_redis(start_relay: StartRelay, fresh_redis: RedisProcess) -> None:
    """Without Redis it is up and not ready, publishes are taken and stored; with Redis, everything is delivered."""
    await fresh_redis.kill()
    relay = await start_relay(wait=False)
    await eventually(lambda: relay.relay.readiness()[1]["parts"]["adopted"], "the stream's adoption")
    await relay.publish(event("early"))
    await relay.settled()
    assert relay.relay.readiness()[1]["parts"]["redis"] is False
    await fresh_redis.start()
    async with (await relay.ready()).stream() as stream:
        assert await stream.events(1) == ["early"]


async def test_a_live_agent_is_served_while_postgres_writes_nothing(
    relay: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delivery does not wait for pg-writer: with it held, events come live; when it goes on it stores the same ones."""
    writing, write = asyncio.Event(), relay.relay._writer._commit_piece

    async def held(*args: object) -> object:
        await writing.wait()
        return await write(*args)  # type: ignore[arg-type]

    async with relay.stream() as stream:
        await relay.publish(event("first"))
        assert await stream.events(1) == ["first"]
        await relay.settled()
        monkeypatch.setattr(relay.relay._writer, "_commit_piece", held)
        await relay.publish(*(event(f"e{number}") for number in range(5)))
        assert await stream.events(5) == [f"e{number}" for number in range(5)]
        assert await relay.watermark() == 1
        writing.set()
        await relay.settled()
        assert len(await relay.rows("SELECT 1 FROM agent_events")) == 6


async def test_a_full_redis_delays_and_drops_nothing(relay: InProcess, fresh_redis: RedisProcess) -> None:
    """Without room Redis refuses what is fed: publishes go on, what was fed can be read, nothing is evicted; with room
    the rest is delivered, in order.
    """
    async with relay.stream() as stream:
        await relay.publish(event("e1"))
        assert await stream.events(1) == ["e1"]
        await asked(fresh_redis, "CONFIG", "SET", "maxmemory", "1mb")
        cursors = await relay.publish(*(event(f"big{number}", data="x" * 60_000) for number in range(40)))
        await relay.settled()
        await eventually(lambda: _is_refused(relay), "a refused feed")
        assert (await relay.page(cursor="earliest", limit=1)).json()["events"][0]["event"]["id"] == "e1"
        await asked(fresh_redis, "CONFIG", "SET", "maxmemory", "0")
        assert await stream.events(len(cursors)) == [f"big{number}" for number in range(40)]


async def _is_refused(relay: InProcess) -> bool:
    return await relay.metric("relay_redis_feeder_restarts_total") > 0 < await relay.metric("relay_redis_errors_total")
