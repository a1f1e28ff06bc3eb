"""The two servers as machines of the world: their disks outlive their processes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from sim.faults import Machine
from sim.host import Host, Process
from sim.jetstream.disk import NatsDisk
from sim.jetstream.server import NatsServer
from sim.postgres.disk import PostgresDisk
from sim.postgres.server import PostgresServer
from sim.programs import FOR_EVER_S, NATS_PORT, POSTGRES_PORT, Program

Start = Callable[[Host, Program], Process]


class NatsMachine(Machine):
    """NATS with JetStream."""

    def __init__(self, host: Host, rng: random.Random, start: Start) -> None:
        super().__init__(host, lambda: None)
        self.start = lambda: _started(start, host, self._main)
        self.disk = NatsDisk()
        self.sync_always = True
        self._rng = rng
        self.on_power_loss = self.disk.lose_power

    async def _main(self, process: Process) -> None:
        server = NatsServer(
            name="nats",
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(self._rng.getrandbits(64)),
            disk=self.disk,
            sync_always=self.sync_always,
        )
        await asyncio.get_running_loop().create_server(server.protocol, "0.0.0.0", NATS_PORT)
        server.start()
        await asyncio.sleep(FOR_EVER_S)


class PostgresMachine(Machine):
    """PostgreSQL."""

    def __init__(self, host: Host, rng: random.Random, start: Start) -> None:
        super().__init__(host, lambda: None)
        self.start = lambda: _started(start, host, self._main)
        self.disk = PostgresDisk()
        self._rng = rng
        self.on_power_loss = self.disk.lose_power

    async def _main(self, process: Process) -> None:
        server = PostgresServer(
            name="postgres",
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(self._rng.getrandbits(64)),
            disk=self.disk,
        )
        await asyncio.get_running_loop().create_server(server.protocol, "0.0.0.0", POSTGRES_PORT)
        server.start()
        await asyncio.sleep(FOR_EVER_S)


def _started(start: Start, host: Host, main: Program) -> None:
    start(host, main)
