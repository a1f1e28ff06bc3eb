"""A full disk under the real Redis and under the model: what is refused, what ends, what is there afterwards.

The real disk is a small one (tmpfs); a machine that can't mount one can't run these tests, and says so.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from faults.stack import EmbeddedStack, RedisProcess, disks
from faults.stack.disks import SmallDisk
from sim.redis.settings import RedisSettings
from tests.sim.redis.arms import simulated
from tests.sim.redis.ground import Ground, RealGround, SimulatedGround
from tests.sim.redis.stage import Stage
from tests.sim.redis.wire import Wire

pytestmark = pytest.mark.conformance

LOADING = "error", "LOADING Redis is loading the dataset in memory"
UNTIL_S = 10.0
"""Longest wait for a server that tries again once a second."""
LARGE = "x" * 8_000
"""More than the last page of the file has room for, however full the disk is."""


class FullGround(Ground):
    """A server whose disk can be filled."""

    @abc.abstractmethod
    async def fill(self) -> None:
        """Leave no room."""

    @abc.abstractmethod
    async def free(self) -> None:
        """Give it back."""

    @abc.abstractmethod
    async def has_ended(self) -> bool:
        """Whether the server ends by itself within a second."""


class RealFull(RealGround, FullGround):
    """A process of this machine over a small disk."""

    def __init__(self, process: RedisProcess, disk: SmallDisk) -> None:
        super().__init__(process)
        self._disk = disk

    async def fill(self) -> None:
        """Leave no room."""
        assert (await asyncio.to_thread(self._disk.fill))["is_refused"]

    async def free(self) -> None:
        """Give it back."""
        assert await asyncio.to_thread(self._disk.free) > 0

    async def has_ended(self) -> bool:
        """Whether the server ends by itself within a second."""
        for _ in range(50):
            if not self.process.is_running():
                return True
            await asyncio.sleep(0.02)
        return False


class SimulatedFull(SimulatedGround, FullGround):
    """A simulated server's."""

    @classmethod
    def of(cls, ground: Ground) -> SimulatedFull:
        """The same server, whose disk can be filled."""
        ground.__class__ = cls
        assert isinstance(ground, cls)
        return ground

    async def fill(self) -> None:
        """Leave no room."""
        self.disk.is_full = True

    async def free(self) -> None:
        """Give it back."""
        self.disk.is_full = False

    async def has_ended(self) -> bool:
        """Whether the server ends by itself within a second."""
        await asyncio.sleep(1.0)
        return not self.is_running


async def synced_each(ground: FullGround) -> list[Any]:
    """With `always` who writes hears nothing more, and the server ends; it comes back, reads, and ends again."""
    at = Stage(ground)
    wire = await at.join()
    await at.do(wire, "SET a 1", "XADD x 1-1 a 1")
    await ground.fill()
    await at.do(wire, "GET a", "PING", ("SET", "b", LARGE))
    at.see(await ground.has_ended())
    await ground.start()
    wire = await at.join()
    await at.do(wire, "GET a", "EXISTS b", "XLEN x", "PUBLISH c 1", "EXPIRE nothing 5", "MULTI")
    await at.do(wire, ("SET", "c", LARGE), ("SET", "d", LARGE), "EXEC")
    at.see(await ground.has_ended())
    await ground.free()
    await ground.start()
    wire = await at.join()
    await at.do(wire, "GET a", "EXISTS b c d", ("SET", "b", LARGE), "DBSIZE")
    await at.clean()
    return at.seen


async def synced_now_and_then(ground: FullGround) -> list[Any]:
    """With `everysec` the first write that finds no room is answered; then writes and PING are refused."""
    at = Stage(ground)
    wire, other = await at.join(), await at.join(3)
    await at.do(wire, "SET a 1", "XADD x 1-1 a 1")
    await at.do(other, "MULTI", "SET q 1")
    await ground.fill()
    await at.do(wire, ("SET", "b", LARGE))
    await asyncio.sleep(0.3)
    refused = ("SET c 1", "PING", "DEL a", "EXPIRE a 10", "XADD x 2-1 a 1", "XTRIM x MINID 9", "FLUSHALL", "GET", "SET")
    await at.do(wire, *refused, "GET a", "EXISTS b", "ECHO a", "PUBLISH c 1", "WATCH a", "UNWATCH", "TTL a", "XLEN x")
    await at.do(wire, "MULTI", "GET a", "EXEC", "MULTI", "SET c 1", "EXEC", "MULTI", "PING", "DISCARD")
    await at.do(other, "GET a", "EXEC", "PING", "EXEC", "SUBSCRIBE c")
    await _look(at, wire)
    await ground.kill()
    await ground.begin_start()
    wire = await _joined(at)
    await at.do(wire, "GET a", "EXISTS b q", "XLEN x", "PING", ("SET", "d", LARGE))
    await asyncio.sleep(0.3)
    await at.do(wire, "PING", "EXISTS d")
    await _look(at, wire)
    await ground.free()
    async with asyncio.timeout(UNTIL_S):
        while await wire.ask("PING") != ("status", "PONG"):  # noqa: ASYNC110  it tries once a second, and tells nobody
            await asyncio.sleep(0.05)
    await at.do(wire, "PING", "EXISTS d", "SET e 1")
    await _look(at, wire)
    await ground.kill()
    await ground.start()
    wire = await at.join()
    await at.do(wire, "EXISTS a b d e", "DBSIZE")
    await at.clean()
    return at.seen


async def _joined(at: Stage) -> Wire:
    """A connection to a server that has begun to start, once it is there and has read its file."""
    while True:
        try:
            wire = await at.join()
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            break
    while await wire.ask("GET", "nothing") == LOADING:  # noqa: ASYNC110  no event
        await asyncio.sleep(0.01)
    return wire


async def _look(at: Stage, wire: Wire) -> None:
    """Note what INFO says of the file."""
    text = (await wire.ask("INFO", "persistence")).decode()
    at.see([line for line in text.splitlines() if line.startswith("aof_last_write_status")])


@pytest.mark.parametrize(("scene", "sync"), [(synced_each, "always"), (synced_now_and_then, "everysec")])
async def test_redis_on_a_full_disk(scene: Callable[[FullGround], Awaitable[list[Any]]], sync: Any) -> None:
    """Both servers refuse, end, and come back alike; what was answered and not written is lost with the process."""
    assert disks.refused() is None
    stack = EmbeddedStack()
    try:
        process = stack.add_redis(sync=sync, small=True)
        await process.start()
        expected = await scene(RealFull(process, stack.disks["redis"]))
    finally:
        stack.close()
    assert ("error" in str(expected)) is (sync == "everysec")
    found = simulated(lambda ground: scene(SimulatedFull.of(ground)), RedisSettings(appendfsync=sync))
    for place, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        assert got == wanted, f"at {place}, after {expected[max(0, place - 2) : place]}"
