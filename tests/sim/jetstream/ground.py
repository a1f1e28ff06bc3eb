"""A NATS server that a scene may kill, start again and give an older disk: a real one, or a simulated one."""

from __future__ import annotations

import abc
import asyncio
import random
import shutil
import signal
from pathlib import Path

from faults.stack import NatsProcess
from sim.host import Process
from sim.jetstream.connection import PING_S
from sim.jetstream.disk import NatsDisk
from sim.jetstream.server import NatsServer
from tests.sim.worlds import SmallWorld

PORT = 4222
LISTENS_S = 0.01
"""Until a simulated server listens."""


class Ground(abc.ABC):
    """One server, its disk, and its lives."""

    url: str
    beside: str
    """The host of whoever plays, by the name that it has for itself."""

    @abc.abstractmethod
    async def kill(self) -> None:
        """SIGKILL."""

    @abc.abstractmethod
    async def retire(self) -> None:
        """Ask it to end in good time (`lame duck mode`)."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Start it over its disk; it serves on return."""

    @abc.abstractmethod
    async def keep_disk(self) -> None:
        """Remember the disk as it is; the server that is killed must not run."""

    @abc.abstractmethod
    async def put_back_disk(self) -> None:
        """Take back what was written since, as a power loss takes what was not synced; the server must not run."""


class RealGround(Ground):
    """A process of this machine."""

    beside = "127.0.0.1"

    def __init__(self, process: NatsProcess) -> None:
        self._process = process
        self._kept = Path(f"{process.spec.folder}.kept")
        self.url = process.url

    async def kill(self) -> None:
        """SIGKILL."""
        await self._process.kill()

    async def retire(self) -> None:
        """SIGUSR2."""
        self._process.signal(signal.SIGUSR2)

    async def start(self) -> None:
        """Start it over its disk; it serves on return."""
        await self._process.start()

    async def keep_disk(self) -> None:
        """Copy its folder."""
        assert not self._process.is_running()
        await asyncio.to_thread(shutil.copytree, self._process.spec.folder, self._kept)

    async def put_back_disk(self) -> None:
        """Have the copy instead of its folder."""
        assert not self._process.is_running()
        await asyncio.to_thread(shutil.rmtree, self._process.spec.folder)
        await asyncio.to_thread(shutil.move, self._kept, self._process.spec.folder)


class SimulatedGround(Ground):
    """A process of a host of a simulated network."""

    url = f"nats://b:{PORT}"
    beside = "a"

    def __init__(self, world: SmallWorld, *, sync_always: bool = True, ping_s: float = PING_S) -> None:
        self._world = world
        self._sync_always = sync_always
        self._ping_s = ping_s
        self._disk = NatsDisk()
        self._process: Process | None = None
        self._server: NatsServer | None = None
        self._lives = 0

    def begin(self) -> None:
        """Start it, from outside."""
        self._lives += 1
        self._process = self._world.start(self._world.b, self._serve, f"nats/{self._lives}")

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    async def retire(self) -> None:
        """Ask it to end in good time."""
        assert self._process is not None
        assert self._server is not None
        self._process.loop.within(self._server.retire)

    async def start(self) -> None:
        """Start it over its disk; it serves on return."""
        assert self._process is None
        self.begin()
        await asyncio.sleep(LISTENS_S)

    async def keep_disk(self) -> None:
        """Everything is synced."""
        assert self._process is None
        self._disk.sync()

    async def put_back_disk(self) -> None:
        """What was not synced is gone."""
        assert self._process is None
        self._disk.lose_power()

    async def _serve(self, process: Process) -> None:
        self._server = server = NatsServer(
            name="nats",
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(f"server/{self._lives}"),
            disk=self._disk,
            sync_always=self._sync_always,
            ping_s=self._ping_s,
        )
        await process.loop.create_server(server.protocol, "0.0.0.0", PORT)
        server.start()
