"""The servers as machines of the world: their disks outlive their processes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from faults.plan import Servers
from faults.vocabulary import DiskFull, Fault, LeaderChange, PowerLoss, QuorumLoss
from sim.environment import S
from sim.errors import NotModelled
from sim.faults import Machine
from sim.host import Host, Process
from sim.jetstream.disk import NatsDisk
from sim.jetstream.server import NatsServer
from sim.postgres.disk import PostgresDisk
from sim.postgres.server import PostgresServer
from sim.programs import FOR_EVER_S, NATS_PORT, POSTGRES_PORT, REDIS_PORT, Program
from sim.redis.disk import RedisDisk
from sim.redis.server import RedisServer
from sim.redis.settings import RedisSettings

Start = Callable[[Host, Program], Process]
NATS_BACKLOG, POSTGRES_BACKLOG, REDIS_BACKLOG = 4_096, 200, 511
"""Connections that wait to be accepted: Go asks for the kernel's limit, Postgres for twice its `max_connections`, Redis
for its `tcp-backlog`."""
REDIS_SYNC_S, REDIS_LOAD_S = (0.000_1, 0.004), (0.02, 0.4)
"""How long a sync of its file takes, and how long the file is read at a start."""
RESTART_NS = 1 * S
"""How soon a server that ended by itself is started again, as any service manager would."""
ONE_SAFE = Servers()
"""NATS as a plan has it that says nothing of it."""


class NatsMachine(Machine):
    """NATS with JetStream."""

    def __init__(self, host: Host, rng: random.Random, start: Start, servers: Servers = ONE_SAFE) -> None:
        super().__init__(host, lambda: None)
        self.start = lambda: _started(start, host, self._main)
        self.disk = NatsDisk()
        self.asked: Counter[str] = Counter()
        """What clients published, over all its lives, by what it is for."""
        self._servers = servers
        self._rng = rng
        self._messages_lost = 0
        self._server: NatsServer | None = None
        self._process: Process | None = None
        self.on_power_loss = self._lose_power

    def begin(self, fault: Fault) -> dict[str, Any]:
        """Begin a fault; the proof of a power loss tells how NATS synced, and what that cost."""
        if isinstance(fault, LeaderChange | QuorumLoss):
            return self._shake(fault)
        if isinstance(fault, DiskFull):
            self.disk.is_full = True
            return {"streams": len(self.disk.streams)}
        proof = super().begin(fault)
        if isinstance(fault, PowerLoss):
            proof |= {"nats_sync": self._servers.nats_sync, "messages_lost": self._messages_lost}
        return proof

    def end(self, fault: Fault) -> None:
        """Lift it; a server whose disk was full is restarted, as its operator must."""
        super().end(fault)
        if isinstance(fault, DiskFull):
            self._make_room()
        self._settle()

    def heal(self) -> None:
        """Set its clock right, make room on its disk, and have all its servers back."""
        super().heal()
        if self.disk.is_full:
            self._make_room()
        self._settle()

    @property
    def consumers(self) -> int:
        """How many JetStream consumers there are now."""
        return 0 if self._server is None else self._server.consumer_count

    def _make_room(self) -> None:
        self.disk.is_full = False
        for process in self.host.processes:
            if process.is_alive:
                process.kill()
        if not self.is_down:
            self.start()

    def _shake(self, fault: LeaderChange | QuorumLoss) -> dict[str, Any]:
        if self._servers.nats_replicas == 1:
            raise NotModelled(f"expected three servers for {fault.kind}, got one")
        if self._server is None or self._process is None or not self._process.is_alive:
            return {"servers": 0}
        cluster = self._server.cluster
        clients = self._server.client_count
        self._process.loop.within(cluster.lose_leader if isinstance(fault, LeaderChange) else cluster.lose_quorum)
        return {"servers": self._servers.nats_replicas, "clients_cut_off": clients - self._server.client_count}

    def _settle(self) -> None:
        if self._server is not None and self._process is not None and self._process.is_alive:
            self._process.loop.within(self._server.cluster.elect)
            self._process.loop.within(self._server.cluster.regain_quorum)

    def _lose_power(self) -> None:
        self._messages_lost = self.disk.lose_power()

    async def _main(self, process: Process) -> None:
        server = NatsServer(
            name="nats",
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(self._rng.getrandbits(64)),
            disk=self.disk,
            sync_always=self._servers.nats_sync == "always",
            replicas=self._servers.nats_replicas,
            asked=self.asked,
        )
        self._server, self._process = server, process
        await asyncio.get_running_loop().create_server(server.protocol, "0.0.0.0", NATS_PORT, backlog=NATS_BACKLOG)
        server.start()
        await asyncio.sleep(FOR_EVER_S)


class PostgresMachine(Machine):
    """PostgreSQL."""

    def __init__(self, host: Host, rng: random.Random, start: Start) -> None:
        super().__init__(host, lambda: None)
        self.start = lambda: _started(start, host, self._main)
        self.disk = PostgresDisk()
        self.asked: Counter[str] = Counter()
        """Statements that came, over all its lives."""
        self._rng = rng
        self.on_power_loss = self.disk.lose_power

    def begin(self, fault: Fault) -> dict[str, Any]:
        """Begin a fault."""
        if isinstance(fault, DiskFull):
            self.disk.is_full = True
            return {"unsynced": self.disk.unsynced}
        return super().begin(fault)

    def end(self, fault: Fault) -> None:
        """Lift it."""
        if isinstance(fault, DiskFull):
            self.disk.is_full = False
        super().end(fault)

    def heal(self) -> None:
        """Make room on its disk, and set the rest right."""
        self.disk.is_full = False
        super().heal()

    async def _main(self, process: Process) -> None:
        server = PostgresServer(
            name="postgres",
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(self._rng.getrandbits(64)),
            disk=self.disk,
            asked=self.asked,
        )
        await asyncio.get_running_loop().create_server(
            server.protocol, "0.0.0.0", POSTGRES_PORT, backlog=POSTGRES_BACKLOG
        )
        server.start()
        await asyncio.sleep(FOR_EVER_S)


class RedisMachine(Machine):
    """Redis; a world has it only under the transport of that name."""

    def __init__(self, host: Host, rng: random.Random, start: Start, servers: Servers = ONE_SAFE) -> None:
        super().__init__(host, lambda: None)
        self.start = self._start_once
        self.stop = self._stop_politely
        self.disk = RedisDisk()
        self.asked: Counter[str] = Counter()
        """Commands that came, over all its lives, by name."""
        self._start_process = start
        self._settings = RedisSettings(appendfsync=servers.redis_sync, sync_s=REDIS_SYNC_S, load_s=REDIS_LOAD_S)
        self._rng = rng
        self._records_lost = 0
        self._server: RedisServer | None = None
        self._process: Process | None = None
        self.on_power_loss = self._lose_power

    def begin(self, fault: Fault) -> dict[str, Any]:
        """Begin a fault; the proof of a power loss tells how Redis synced, and what that cost."""
        if isinstance(fault, DiskFull):
            self.disk.is_full = True
            return {"unsynced": self.disk.unsynced}
        proof = super().begin(fault)
        if isinstance(fault, PowerLoss):
            proof |= {"redis_sync": self._settings.appendfsync, "records_lost": self._records_lost}
        return proof

    def end(self, fault: Fault) -> None:
        """Lift it."""
        if isinstance(fault, DiskFull):
            self.disk.is_full = False
        super().end(fault)

    def heal(self) -> None:
        """Make room on its disk, and set the rest right."""
        self.disk.is_full = False
        super().heal()

    def _start_once(self) -> None:
        if not self.is_running:
            self._start_process(self.host, self._main)

    def _stop_politely(self, then: Callable[[], None]) -> None:
        if self._server is not None and self._process is not None and self._process.is_alive:
            self._process.loop.within(self._server.shut_down)
            self._process.kill()
        then()

    def _ended_by_itself(self, process: Process) -> None:
        """A write found no room, and each is to be synced: the process ends, and is started again after a time."""

        def again() -> None:
            if self.host.is_up and not self.is_down:
                self.start()

        self.host.environment.at(0, process.kill)
        self.host.environment.at(RESTART_NS, again)

    def _lose_power(self) -> None:
        self._records_lost = self.disk.lose_power()

    async def _main(self, process: Process) -> None:
        server = RedisServer(
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(self._rng.getrandbits(64)),
            disk=self.disk,
            settings=self._settings,
            exit=lambda: self._ended_by_itself(process),
            asked=self.asked,
        )
        self._server, self._process = server, process
        await asyncio.get_running_loop().create_server(server.protocol, "0.0.0.0", REDIS_PORT, backlog=REDIS_BACKLOG)
        server.start()
        await asyncio.sleep(FOR_EVER_S)


def _started(start: Start, host: Host, main: Program) -> None:
    start(host, main)
