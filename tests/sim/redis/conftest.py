"""Real Redis servers for the suite, each started once for a module."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from faults.stack import EmbeddedStack, RedisProcess
from sim.redis.settings import VERSION
from tests.sim.redis.wire import Wire


@pytest.fixture(scope="module")
def real(stack: EmbeddedStack) -> Iterator[RedisProcess]:
    """A real server that scenes share, one after the other; its words are those of the model's release."""
    process = stack.add_redis("redis-conformance", appendonly="yes")
    asyncio.run(_started(process))
    yield process
    asyncio.run(stack.remove(process))


async def _started(process: RedisProcess) -> None:
    await process.start()
    wire = await Wire.lay(process.address)
    text = (await wire.ask("INFO", "server")).decode()
    await wire.close()
    assert f"redis_version:{VERSION}\r\n" in text, (
        f"expected redis-server {VERSION}, whose words the model speaks, at {process.spec.argv[0]}; "
        "take the one on PATH away, so that the wheel's is used"
    )
