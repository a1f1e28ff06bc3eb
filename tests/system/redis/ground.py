"""What the tests ask Redis behind the relay's back, and how they make its events old."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from faults.stack import RedisProcess
from system.cursor import Cursor, pack
from tests.system.harness import STREAM, InProcess, eventually

PREFIX = f"{{mesh:{STREAM}}}:"
DAY_S = 86_400.0


async def asked(server: RedisProcess, *command: Any) -> Any:
    """The answer to one command."""
    client: Any = Redis.from_url(server.url, decode_responses=True)
    try:
        return await client.execute_command(*command)
    finally:
        await client.aclose()


async def stored(server: RedisProcess) -> dict[str, Any]:
    """Everything in Redis, by key."""
    readers: dict[str, Callable[[str], tuple[Any, ...]]] = {
        "string": lambda key: ("GET", key),
        "hash": lambda key: ("HGETALL", key),
        "zset": lambda key: ("ZRANGEBYSCORE", key, "-inf", "+inf", "WITHSCORES"),
        "stream": lambda key: ("XRANGE", key, "-", "+"),
    }
    keys = sorted(await asked(server, "KEYS", "*"))
    return {key: await asked(server, *readers[await asked(server, "TYPE", key)](key)) for key in keys}


async def fed(relay: InProcess, server: RedisProcess, cursor: str, ordinal: int = 1) -> None:
    """Wait until Redis is filled up to this cursor."""
    wanted = pack(ordinal, Cursor.parse(cursor).seq)

    async def reached() -> bool:
        return int(await asked(server, "HGET", f"{PREFIX}feed", "watermark") or 0) >= wanted

    await eventually(reached, f"{cursor} in Redis")


async def age(server: RedisProcess, cursor: str, days: float) -> None:
    """Make everything up to this cursor so many days old."""
    fed_ms = round((time.time() - days * DAY_S) * 1_000)
    ages = await asked(server, "ZRANGEBYSCORE", f"{PREFIX}ages", "-inf", "+inf")
    last = pack(1, Cursor.parse(cursor).seq)
    for member in [one for one in ages if int(one) <= last] + [last]:
        await asked(server, "ZADD", f"{PREFIX}ages", fed_ms, member)
    for letter in "cs":
        for agent in await asked(server, "ZRANGEBYSCORE", f"{PREFIX}oldest:{letter}", "-inf", "+inf"):
            await asked(server, "ZADD", f"{PREFIX}oldest:{letter}", fed_ms, agent)


async def trimmed(server: RedisProcess, agent: str, letter: str, cursor: str) -> None:
    """Wait until an agent's floor of this class is exactly this cursor."""
    floor = str(pack(1, Cursor.parse(cursor).seq))

    async def is_there() -> bool:
        return bool(await asked(server, "HGET", f"{PREFIX}floors:{letter}", agent) == floor)

    await eventually(is_there, f"the floor {floor} of {agent}")
