"""A Redis server that a scene may kill, freeze and start again: a real one, or a simulated one."""

from __future__ import annotations

import abc
import asyncio
import random
import shutil
from pathlib import Path
from typing import Any

from faults.stack import EmbeddedStack, RedisProcess
from sim.host import Process
from sim.redis.disk import RedisDisk
from sim.redis.server import RedisServer
from sim.redis.settings import RedisSettings
from tests.sim.redis.given import SETTINGS
from tests.sim.redis.wire import UNTIL_S, Wire
from tests.sim.worlds import SmallWorld

PORT = 6379
LISTENS_S = 0.01
"""Until a simulated server listens."""


class Ground(abc.ABC):
    """One server, its disk, and its lives."""

    address: tuple[str, int]
    password = ""

    @abc.abstractmethod
    async def kill(self) -> None:
        """SIGKILL."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """SIGTERM; it has ended on return."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Start it over its disk; it listens on return."""

    @abc.abstractmethod
    async def begin_start(self) -> None:
        """Start it over its disk, and wait for nothing."""

    @abc.abstractmethod
    def pause(self) -> None:
        """SIGSTOP."""

    @abc.abstractmethod
    def resume(self) -> None:
        """SIGCONT."""

    @abc.abstractmethod
    async def keep_disk(self) -> None:
        """Remember the disk as it is; the server must not run."""

    @abc.abstractmethod
    async def put_back_disk(self) -> None:
        """Take back what was written since, as a power loss takes what was not synced; the server must not run."""


class RealGround(Ground):
    """A process of this machine."""

    def __init__(self, process: RedisProcess) -> None:
        self.process = process
        self.address = process.address
        self._kept = Path(f"{process.spec.folder}.kept")

    async def kill(self) -> None:
        """SIGKILL."""
        await self.process.kill()

    async def stop(self) -> None:
        """SIGTERM; it has ended on return."""
        assert await self.process.stop() == 0

    async def start(self) -> None:
        """Start it over its disk; it serves on return."""
        await self.process.start()

    async def begin_start(self) -> None:
        """Start it over its disk, and wait for nothing."""
        self.process.start_nowait()

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.process.resume()

    async def keep_disk(self) -> None:
        """Copy its folder."""
        assert not self.process.is_running()
        await asyncio.to_thread(shutil.copytree, self.process.spec.folder, self._kept)

    async def put_back_disk(self) -> None:
        """Have the copy instead of its folder."""
        assert not self.process.is_running()
        await asyncio.to_thread(shutil.rmtree, self.process.spec.folder)
        await asyncio.to_thread(shutil.move, self._kept, self.process.spec.folder)


class SimulatedGround(Ground):
    """A process of a host of a simulated network."""

    address = "b", PORT

    def __init__(self, world: SmallWorld, settings: RedisSettings) -> None:
        self.disk = RedisDisk()
        self.password = settings.password
        self._world = world
        self._settings = settings
        self._process: Process | None = None
        self._server: RedisServer | None = None
        self._lives = 0

    def begin(self) -> None:
        """Start it, from outside."""
        self._lives += 1
        self._process = self._world.start(self._world.b, self._serve, f"redis/{self._lives}")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, by itself or otherwise."""
        return self._process is not None and self._process.is_alive

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    async def stop(self) -> None:
        """SIGTERM; it has ended on return."""
        assert self._process is not None
        assert self._server is not None
        self._process.loop.within(self._server.shut_down)
        await self.kill()

    async def start(self) -> None:
        """Start it over its disk; it listens on return."""
        await self.begin_start()
        await asyncio.sleep(LISTENS_S)

    async def begin_start(self) -> None:
        """Start it over its disk, and wait for nothing."""
        assert not self.is_running
        self.begin()

    def pause(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.resume()

    async def keep_disk(self) -> None:
        """Everything is synced."""
        assert self._process is None
        self.disk.sync()

    async def put_back_disk(self) -> None:
        """What was not synced is gone."""
        assert self._process is None
        self.disk.lose_power()

    async def _serve(self, process: Process) -> None:
        self._server = server = RedisServer(
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(f"server/{self._lives}"),
            disk=self.disk,
            settings=self._settings,
            exit=lambda: process.host.environment.at(0, process.kill),
        )
        await process.loop.create_server(server.protocol, "0.0.0.0", PORT)
        server.start()


def real_for(stack: EmbeddedStack, scene: str, name: str = "") -> RedisProcess:
    """A real server with a scene's settings, not started."""
    given: dict[str, Any] = {"appendonly": "yes", "appendfsync": "always"} | SETTINGS.get(scene, {})
    return stack.add_redis(f"redis-{name or scene}", sync=given.pop("appendfsync"), **given)


async def listening(process: RedisProcess) -> None:
    """Wait until a real server takes connections, whatever it answers."""
    await process.wait_ready() if "requirepass" not in " ".join(process.spec.argv) else await _taken_in(process)


async def _taken_in(process: RedisProcess) -> None:
    async with asyncio.timeout(UNTIL_S):
        while True:
            try:
                wire = await Wire.lay(process.address)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                return await wire.close()
