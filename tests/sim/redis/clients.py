"""Programs of redis-py, unmodified, on any server: what production's client does with Redis, and what it sees."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError, WatchError

from tests.sim.redis.ground import Ground

PATIENT = 200
"""Repeats, some milliseconds apart, that outlast a server's restart."""


def client_of(ground: Ground, protocol: int) -> Any:
    """A client with a pool, which repeats what failed, after times that it draws."""
    host, port = ground.address
    retry = Retry(FullJitterBackoff(base=0.005, cap=0.05), PATIENT)
    return redis.asyncio.Redis(
        host=host,
        port=port,
        protocol=protocol,
        retry=retry,
        retry_on_error=[ConnectionError, OSError],
        client_name="a",
    )


async def work(ground: Ground, protocol: int) -> list[Any]:
    """Commands, pipelines, transactions under WATCH, streams, channels, and a server that is killed under it all."""
    client = client_of(ground, protocol)
    seen: list[Any] = []
    await client.flushall()
    seen.append(await client.set("a", 1, ex=100, nx=True))
    seen.append(await client.hset("h", mapping={"x": 1, "y": "2"}))
    seen.append(sorted((await client.hgetall("h")).items()))
    seen.append(sorted(await asyncio.gather(*(client.sadd("s", number) for number in range(8)))))
    seen.append(sorted(await client.smembers("s")))
    seen.append(await client.zadd("z", {"one": 1, "half": 0.5}))
    seen.append([[member, float(score)] for member, score in await client.zrange("z", 0, -1, withscores=True)])
    seen += [await client.xadd("x", {"n": number}, id=f"{number}-1") for number in range(1, 6)]
    seen.append(await client.xrange("x", min="(2-1", max="+", count=2))
    seen.append(await client.xtrim("x", minid="3-0", approximate=False))
    seen.append(sorted((await client.xinfo_stream("x")).items(), key=str)[:3])
    seen.append([one async for one in client.sscan_iter("s")] != [])
    seen += await _transactions(client)
    seen += await _channels(client)
    await ground.kill()
    asking = [asyncio.ensure_future(client.get("a")) for _ in range(4)]
    await asyncio.sleep(0.05)
    await ground.start()
    seen.append(await asyncio.gather(*asking))
    seen.append(await client.xlen("x"))
    seen.append(await client.ttl("a") > 90)
    await client.aclose()
    return seen


async def _transactions(client: Any) -> list[Any]:
    seen: list[Any] = []
    async with client.pipeline(transaction=True) as pipe:
        await pipe.watch("n")
        pipe.multi()
        pipe.set("n", 1).get("n")
        seen.append(await pipe.execute())
    async with client.pipeline(transaction=True) as pipe:
        await pipe.watch("n")
        await client.set("n", 2)
        pipe.multi()
        pipe.set("n", 3)
        try:
            await pipe.execute()
        except WatchError as error:
            seen.append(str(error))
    async with client.pipeline(transaction=False) as pipe:
        pipe.get("n").sadd("n", 1).exists("n")
        answers = await pipe.execute(raise_on_error=False)
        seen.append([type(one).__name__ if isinstance(one, ResponseError) else one for one in answers])
    return seen


async def _channels(client: Any) -> list[Any]:
    seen: list[Any] = []
    listener = client.pubsub()
    await listener.subscribe("c", "d")
    seen += [await listener.get_message(timeout=5.0) for _ in range(2)]
    seen.append([await client.publish("c", number) for number in range(3)])
    seen += [await listener.get_message(timeout=5.0) for _ in range(3)]
    await listener.unsubscribe("d")
    seen.append(await listener.get_message(timeout=5.0))
    await listener.aclose()
    await asyncio.sleep(0.1)
    seen.append(await client.publish("c", 9))
    return seen


async def bare(ground: Ground, protocol: int) -> list[Any]:
    """Connections alone, without a client or a pool around them, as the relay has them."""
    host, port = ground.address
    connections: list[Any] = [
        Connection(host=host, port=port, protocol=protocol, client_name="meshrelay", driver_info=None) for _ in range(3)
    ]
    for one in connections:
        await one.connect()
    seen: list[Any] = []
    first, second, third = connections
    await first.send_packed_command(first.pack_commands([("WATCH", "k"), ("SET", "j", 1), ("MULTI",), ("SET", "k", 1)]))
    seen += [await first.read_response() for _ in range(4)]
    await second.send_command("SET", "k", 2)
    seen.append(await second.read_response())
    await first.send_command("EXEC")
    seen.append(await first.read_response())
    await third.send_command("SUBSCRIBE", "c")
    seen.append(await third.read_response(push_request=True))
    await second.send_command("PUBLISH", "c", "hello")
    seen += [await second.read_response(), await third.read_response(push_request=True)]
    await ground.kill()
    for one in connections:
        try:
            await one.send_command("PING")
            seen.append(await one.read_response())
        except RedisError as error:
            seen.append(type(error).__name__)
        await one.disconnect()
    await ground.start()
    return seen


async def hung_up(ground: Ground, protocol: int) -> list[Any]:
    """A client that is closed while many of its connections are in use, some of them waiting for an answer."""
    client = client_of(ground, protocol)
    await asyncio.gather(*(client.set(f"k{number}", number) for number in range(24)))
    listeners = [client.pubsub() for _ in range(24)]
    await asyncio.gather(*(one.subscribe("c") for one in listeners))
    asking = [asyncio.ensure_future(client.get(f"k{number}")) for number in range(24)]
    await asyncio.sleep(0)
    await client.connection_pool.disconnect(inuse_connections=True)
    ends = await asyncio.gather(*asking, return_exceptions=True)
    await client.aclose()
    return [len(ends)]
