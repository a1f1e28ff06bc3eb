"""Scenes of a server that ends and comes back: what it still has, and what its clients see."""

from __future__ import annotations

import asyncio

from tests.sim.redis.stage import Stage
from tests.sim.redis.wire import Wire, command

EVERYTHING = (
    "GET s",
    "EXISTS t",
    "HGETALL h",
    "SMEMBERS m",
    "ZRANGE z 0 -1 WITHSCORES",
    "XRANGE x - +",
    "XINFO STREAM x",
    "XINFO STREAM emptied",
    "EXISTS gone deleted e",
    "DBSIZE",
)


async def _fill(at: Stage) -> Wire:
    wire = await at.join()
    await at.do(wire, "SET s 1", "SET s 2", "SET t 1 EX 1000", "SET gone 1 PX 100", "SET deleted 1", "DEL deleted")
    await at.do(wire, "HSET h a 1 b 2", "HDEL h a", "SADD m a b c", "SREM m b", "ZADD z 1 a 2 b 3.5 c", "ZREM z b")
    await at.do(wire, "XADD x 1-1 a 1", "XADD x 2-1 a 1 b 2", "XADD x 3-1 a 3", "XTRIM x MINID 2")
    await at.do(wire, "XADD emptied 5-1 a 1", "XTRIM emptied MINID 9", "SET e 1", "EXPIRE e 0")
    await at.do(wire, "MULTI", "SET q 1", "XADD x 4-1 a 4", "EXEC", "SELECT 3", "SET other 1", "SELECT 0")
    await asyncio.sleep(0.3)
    return wire


async def _look(at: Stage) -> None:
    wire = await at.join()
    at.see("in time", 900 < await wire.ask("TTL", "t") <= 1_000)
    await at.do(wire, *EVERYTHING, "SELECT 3", "GET other")


async def what_was_answered_survives(at: Stage) -> None:
    """After a SIGKILL everything is there that was answered, and what had expired or was removed is not."""
    wire = await _fill(at)
    await at.ground.kill()
    at.see(await wire.hear())
    await at.ground.start()
    await _look(at)
    await at.ground.kill()
    await at.ground.start()
    await _look(at)


async def once_a_second(at: Stage) -> None:
    """What was answered survives a SIGKILL also where the file is synced only now and then: the system has it."""
    await _fill(at)
    await at.ground.kill()
    await at.ground.start()
    await _look(at)


async def without_a_file(at: Stage) -> None:
    """A server that writes nothing has nothing after a SIGKILL."""
    wire = await _fill(at)
    await at.do(wire, "CONFIG GET appendonly")
    await at.ground.kill()
    await at.ground.start()
    await _look(at)


async def politely(at: Stage) -> None:
    """After SIGTERM everything is there, and the clients were hung up on."""
    wire = await _fill(at)
    await at.ground.stop()
    at.see(await wire.hear())
    await at.ground.start()
    await _look(at)


async def an_older_disk(at: Stage) -> None:
    """A server that finds an older file has what is in that one: a stream goes on from its own last id."""
    wire = await at.join()
    await at.do(wire, "XADD x 1-1 a 1", "XADD x 2-1 a 1", "SET k 1")
    await asyncio.sleep(2.5)
    await at.ground.kill()
    await at.ground.keep_disk()
    await at.ground.start()
    wire = await at.join()
    await at.do(wire, "XADD x 3-1 a 1", "XADD x 4-1 a 1", "SET k 2", "MULTI", "SET q 1", "XADD x 5-1 a 1", "EXEC")
    await at.ground.kill()
    await at.ground.put_back_disk()
    await at.ground.start()
    wire = await at.join()
    await at.do(wire, "XRANGE x - +", "GET k", "EXISTS q", "XADD x 2-1 a 1", "XADD x 3-1 a other", "XRANGE x - +")


async def killed_in_the_middle(at: Stage) -> None:
    """Of what was sent, what was answered is there, no more than was sent, and nothing between is missing."""
    wire = await at.join()
    sent, answered = 2_000, 0
    wire.write(b"".join(command("XADD", "x", f"{number}-0", "n", number) for number in range(1, sent + 1)))
    while answered < 100:
        assert await wire.hear() == f"{answered + 1}-0".encode()
        answered += 1
    await at.ground.kill()
    while isinstance(await wire.hear(), bytes):
        answered += 1
    await at.ground.start()
    wire = await at.join()
    ids = [id for id, _ in await wire.ask("XRANGE", "x", "-", "+")]
    at.see(answered <= len(ids) <= sent, ids == [f"{number}-0".encode() for number in range(1, len(ids) + 1)])


async def transactions_are_whole(at: Stage) -> None:
    """Of transactions that were under way at a SIGKILL, each is there whole or not at all."""
    wire = await at.join()
    whole = [command("MULTI"), command("XADD", "a", "*", "n", 1), command("XADD", "b", "*", "n", 1), command("EXEC")]
    wire.write(b"".join(whole * 500))
    for _ in range(100):
        await wire.hear()
    await at.ground.kill()
    await at.ground.start()
    wire = await at.join()
    first, second = await wire.ask("XLEN", "a"), await wire.ask("XLEN", "b")
    at.see(first == second, first >= 25)


async def listeners_are_forgotten(at: Stage) -> None:
    """Nobody listens to a server that has come back until they subscribe again."""
    listener = await at.join()
    await at.do(listener, "SUBSCRIBE a")
    await at.ground.kill()
    at.see(await listener.hear())
    await at.ground.start()
    speaker, listener = await at.join(), await at.join()
    await at.do(speaker, "PUBLISH a 1")
    await at.do(listener, "SUBSCRIBE a")
    await at.do(speaker, "PUBLISH a 2")
    at.see(await listener.hear())


async def frozen(at: Stage) -> None:
    """A server that is frozen answers nobody, takes new connections, and does everything once it goes on."""
    wire = await at.join()
    await at.do(wire, "SET a 1 PX 400", "SET b 1 PX 60000")
    at.ground.pause()
    other = await at.join()
    wire.send("GET", "a")
    other.send("GET", "b")
    hearing = asyncio.ensure_future(wire.hear())
    await asyncio.sleep(0.8)
    at.see("silent", not hearing.done())
    at.ground.resume()
    at.see(await hearing, await other.hear())


async def _joined_soon(at: Stage) -> Wire:
    while True:
        try:
            return await at.join()
        except ConnectionRefusedError:
            await asyncio.sleep(0.005)


async def while_it_loads(at: Stage) -> None:
    """A server that still reads its file says so, and does what needs no data."""
    wire = await at.join()
    wire.write(b"".join(command("XADD", "x", f"{number}-0", "n", number) for number in range(1, 3_001)))
    for _ in range(3_000):
        await wire.hear()
    await at.ground.kill()
    await at.ground.begin_start()
    wire = await _joined_soon(at)
    asked: tuple[str, ...] = (
        "PING",
        "GET x",
        "SET a 1",
        "SELECT 1",
        "SELECT 0",
        "CONFIG GET appendfsync",
        "PUBLISH a 1",
    )
    asked += ("WATCH x", "UNWATCH", "MULTI", "GET a", "EXEC", "MULTI", "EXEC", "CLIENT SETNAME a", "HELLO x", "XLEN x")
    wire.write(b"".join(command(*line.split()) for line in asked))
    for line in asked:
        at.see(line, await wire.hear())
    while (answer := await wire.ask("PING")) != ("status", "PONG"):
        assert answer == ("error", "LOADING Redis is loading the dataset in memory"), answer
        await asyncio.sleep(0.05)
    await at.do(wire, "XLEN x")


async def with_a_password(at: Stage) -> None:
    """Who has not given the password is refused everything else, whatever it is."""
    wire = await at.join()
    await at.do(wire, "PING", "GET a", "MULTI", "SUBSCRIBE a", "AUTH wrong", "AUTH other secret", "HELLO 3")
    await at.do(wire, "HELLO 3 AUTH default wrong", "GET", "AUTH secret", "PING", "AUTH wrong", "PING")
    other = await at.join()
    await at.do(other, "AUTH default secret", "SET a 1", "CONFIG GET requirepass")
    third = await at.join()
    kind, _ = await third.ask("HELLO", "3", "AUTH", "default", "secret")
    at.see(kind)
    await at.do(third, "GET a", "DEL a")
