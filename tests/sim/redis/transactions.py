"""Scenes of transactions: done whole or not at all, and not if what was watched has changed."""

from __future__ import annotations

import asyncio

from tests.sim.redis.stage import Stage


async def done_together(at: Stage) -> None:
    """What is queued is done at EXEC, all of it, and answered in one list."""
    await at.do_alone(
        "MULTI",
        "SET a 1",
        "GET a",
        "HSET h f 1",
        "ZADD z 1 a",
        "ZRANGE z 0 -1 WITHSCORES",
        "HGETALL h",
        "XADD x 1-1 a 1",
        "XRANGE x - +",
        "GET nothing",
        "PING",
        "EXEC",
        "MULTI",
        "EXEC",
        "EXEC",
        "GET a",
    )


async def discarded(at: Stage) -> None:
    """What is discarded is not done."""
    await at.do_alone(
        "MULTI", "SET a 1", "DISCARD", "EXISTS a", "DISCARD", "MULTI", "MULTI", "SET a 2", "EXEC", "GET a"
    )


async def spoiled(at: Stage) -> None:
    """A command that can't be queued spoils the transaction; one that fails when it is done does not undo others."""
    await at.do_alone(
        "MULTI",
        "SET a 1",
        "GET",
        "SET b 1",
        "EXEC",
        "EXISTS a b",
        "MULTI",
        "SET a 1",
        "SADD a x",
        "EXPIRE a x",
        "SET b 1",
        "EXEC",
        "EXISTS a b",
        "MULTI",
        "GET",
        "DISCARD",
        "MULTI",
        "SET c 1",
        "EXEC",
        "MULTI",
        "MULTI",
        "WATCH a",
        "SET d 1",
        "EXEC",
    )


async def watched(at: Stage) -> None:
    """A change of a watched key by anybody, also one to the same value, and a deletion, undo the transaction."""
    one, other = await at.join(), await at.join(3)
    changes: tuple[str, ...] = (
        "SET k 1",
        "SET k 1",
        "DEL k",
        "SADD k a",
        "SADD k a",
        "SREM k x",
        "SREM k a",
        "HSET k f 1",
        "HSET k f 1",
    )
    changes += ("EXPIRE k 100", "EXPIRE k 100", "PERSIST k", "HDEL k x", "FLUSHALL", "FLUSHALL", "EXPIRE k 5", "DEL k")
    changes += (
        "ZADD k 1 a",
        "ZADD k 1 a",
        "ZADD k XX 1 b",
        "ZREM k b",
        "ZREMRANGEBYSCORE k 5 9",
        "ZREM k a",
        "XADD k 1-1 a 1",
    )
    changes += (
        "XADD k 1-1 a 1",
        "XTRIM k MINID 1",
        "XTRIM k MINID 9",
        "EXPIRE k -1",
        "SET k 1 XX",
        "GET k",
        "SET other 1",
    )
    for change in changes:
        for watcher, changer in ((one, other), (other, one), (one, one)):
            assert await watcher.ask("WATCH", "k") == ("status", "OK")
            outcome = await changer.ask(*change.split())
            await watcher.ask("MULTI")
            await watcher.ask("PING")
            at.see(change, outcome, await watcher.ask("EXEC"))


async def watched_until_it_expired(at: Stage) -> None:
    """A watched key that expires has changed."""
    wire = await at.join()
    await at.do(wire, "SET k 1 PX 1000", "WATCH k")
    await asyncio.sleep(1.5)
    await at.do(wire, "MULTI", "SET done 1", "EXEC", "EXISTS done", "WATCH k", "MULTI", "EXEC")


async def watched_in_another_database(at: Stage) -> None:
    """A key is watched in the database of that moment."""
    one, other = await at.join(), await at.join()
    await at.do(one, "WATCH k", "SELECT 1")
    await at.do(other, "SELECT 1", "SET k 1")
    await at.do(one, "MULTI", "EXEC", "WATCH k")
    await at.do(other, "SELECT 0", "SET k 1", "SELECT 1", "SET k 2")
    await at.do(one, "SELECT 0", "MULTI", "EXEC")


async def unwatched(at: Stage) -> None:
    """UNWATCH, DISCARD and EXEC end all watching."""
    one, other = await at.join(), await at.join()
    for ending in (
        ("UNWATCH",),
        ("MULTI", "DISCARD"),
        ("MULTI", "EXEC"),
        ("MULTI", "GET", "EXEC"),
        ("MULTI", "UNWATCH"),
    ):
        await at.do(one, "WATCH k j", *ending)
        await at.do(other, "SET k 1", "SET j 1")
        await at.do(one, "MULTI", "PING", "EXEC")


async def two_race(at: Stage) -> None:
    """Of two that watch the same key, the first one's transaction is done and the second one's is not."""
    one, other = await at.join(), await at.join()
    await at.do(one, "SET n 1", "WATCH n", "GET n")
    await at.do(other, "WATCH n", "GET n", "MULTI", "SET n 2")
    await at.do(one, "MULTI", "SET n 3", "EXEC")
    await at.do(other, "EXEC", "GET n", "WATCH n", "GET n", "MULTI", "SET n 4", "EXEC", "GET n")


async def queued_by_the_dead(at: Stage) -> None:
    """What a client queued that is gone is never done."""
    one, other = await at.join(), await at.join()
    await at.do(one, "MULTI", "SET a 1", "SET b 1")
    await one.close()
    await asyncio.sleep(0.1)
    await at.do(other, "EXISTS a b")
