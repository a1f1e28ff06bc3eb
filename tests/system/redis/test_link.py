"""Calls to Redis end within their time limit, and no answer is ever taken for another call's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from faults.stack import RedisProcess
from system.transport.errors import RedisUnavailable
from system.transport.redis.link import RedisLink
from system.transport.redis.metrics import RedisMetrics
from tests.system.redis.ground import asked

pytestmark = pytest.mark.stack


@pytest.fixture
async def link(fresh_redis: RedisProcess) -> AsyncIterator[RedisLink]:
    """One connection at most, and two seconds for each call."""
    made = RedisLink(fresh_redis.url, size_max=1, timeout_s=2.0, metrics=RedisMetrics(CollectorRegistry()))
    yield made
    made.close()


async def clients(server: RedisProcess) -> int:
    """The connections that Redis has from relays."""
    return str(await asked(server, "CLIENT", "LIST")).count("name=meshrelay")


async def test_one_connection_serves_many_calls(link: RedisLink, fresh_redis: RedisProcess) -> None:
    """It is dialled once and used again; answers come in the order of the commands."""
    for number in range(20):
        assert await link.ask(("SET", "a", number), ("GET", "a"), ("HMGET", "h", "x")) == [
            b"OK",
            str(number).encode(),
            [None],
        ]
    assert await clients(fresh_redis) == 1


@pytest.mark.parametrize("how", ["time limit", "cancelled"])
async def test_an_answer_that_comes_late_is_nobody_s(link: RedisLink, fresh_redis: RedisProcess, how: str) -> None:
    """A call that was given up, for it took too long or its task was cancelled, takes its connection with it."""
    await link.ask(("SET", "a", "old"))
    fresh_redis.pause()
    call = asyncio.create_task(link.ask(("GET", "a")))
    if how == "cancelled":
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        with pytest.raises(RedisUnavailable, match="TimeoutError"):
            await call
    fresh_redis.resume()
    assert await link.ask(("SET", "a", "new"), ("GET", "a")) == [b"OK", b"new"]
    await asyncio.sleep(0.1)
    assert await clients(fresh_redis) == 1


async def test_a_full_house_is_unavailable_within_the_limit(link: RedisLink) -> None:
    """Who finds no connection free waits no longer than for an answer."""
    async with link.lend():
        with pytest.raises(RedisUnavailable, match="no connection to Redis was free"):
            await link.ask(("PING",))
    assert await link.ask(("PING",)) == [b"PONG"]


async def test_a_transaction_is_whole_or_nothing(link: RedisLink, fresh_redis: RedisProcess) -> None:
    """It does nothing if what it watched has changed, or if one of its commands is refused beforehand; watching ends
    with the loan.
    """
    async with link.lend() as lent:
        await lent.ask(("WATCH", "a"))
        await asked(fresh_redis, "SET", "a", "theirs")
        assert await lent.transact([("SET", "a", "ours")]) is None
    with pytest.raises(RedisUnavailable, match="refused"):
        async with link.lend() as lent:
            await lent.transact([("SET", "a", "ours"), ("NO-SUCH-COMMAND",)])
    assert await asked(fresh_redis, "GET", "a") == "theirs"
    with pytest.raises(ZeroDivisionError):
        await _failing(link)
    await asked(fresh_redis, "SET", "a", "theirs again")
    async with link.lend() as lent:
        assert await lent.transact([("SET", "a", "ours")]) == [b"OK"]


async def _failing(link: RedisLink) -> float:
    async with link.lend() as lent:
        await lent.ask(("WATCH", "a"))
        return 1 / 0


async def test_a_dead_connection_is_not_used(link: RedisLink, fresh_redis: RedisProcess) -> None:
    """After a restart of Redis the next call dials anew; while Redis is away it fails at once and says why."""
    await link.ask(("PING",))
    await fresh_redis.kill()
    with pytest.raises(RedisUnavailable, match="expected a"):
        await link.ask(("PING",))
    await fresh_redis.start()
    assert await link.ask(("PING",)) == [b"PONG"]
    link.close(for_good=True)
    assert await link.ask(("PING",)) == [b"PONG"]
    await asyncio.sleep(0.1)
    assert await clients(fresh_redis) == 0
