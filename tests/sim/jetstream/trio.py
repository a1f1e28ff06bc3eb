"""Three NATS servers that replicate a stream, some of which a scene may kill: real ones, or the model of a group."""

from __future__ import annotations

import abc
import asyncio
import json
import random
from typing import Any

from nats.aio.client import Client

from faults.stack import EmbeddedStack, NatsProcess, ReservedPort
from sim.host import Process
from sim.jetstream.cluster import SERVERS
from sim.jetstream.disk import NatsDisk
from sim.jetstream.server import NatsServer
from tests.sim.jetstream.ground import LISTENS_S, PORT
from tests.sim.jetstream.stage import connected
from tests.sim.worlds import SmallWorld

WHOLE_S = 60.0
"""The longest wait until three servers agree."""
ELECTION_S = 1.0
"""How long the simulated group has no leader; what a client sees may not depend on it."""
CLUSTER = """
cluster {{
  name: trio
  host: 127.0.0.1
  port: {port}
  routes: [{routes}]
}}
"""


class Trio(abc.ABC):
    """Three servers."""

    urls: list[str]

    async def join(self) -> Client:
        """A client of whichever server is there, that comes back by itself."""
        return await connected(
            self.urls, allow_reconnect=True, reconnect_time_wait=0.05, max_reconnect_attempts=-1, dont_randomize=True
        )

    @abc.abstractmethod
    async def kill_leader(self, stream: str) -> None:
        """SIGKILL the server that leads a stream; the others will elect another."""

    @abc.abstractmethod
    async def kill_follower(self, stream: str) -> None:
        """SIGKILL one that does not."""

    @abc.abstractmethod
    async def kill_majority(self, stream: str) -> None:
        """SIGKILL the two that don't."""

    @abc.abstractmethod
    async def kill_all(self) -> None:
        """SIGKILL every one."""

    @abc.abstractmethod
    async def revive(self, stream: str) -> None:
        """Start whoever is dead; on return all three have everything of the stream."""


class RealTrio(Trio):
    """Three processes of this machine."""

    def __init__(self, stack: EmbeddedStack, name: str) -> None:
        self._stack = stack
        self._ports = [ReservedPort() for _ in range(SERVERS)]
        routes = ", ".join(f'"nats://127.0.0.1:{port.number}"' for port in self._ports)
        self._servers: dict[str, NatsProcess] = {}
        for number, port in enumerate(self._ports):
            config = CLUSTER.format(port=port.number, routes=routes)
            self._servers[f"{name}-{number}"] = stack.add_nats(f"{name}-{number}", more=config)
        self.urls = [one.url for one in self._servers.values()]

    async def start(self) -> None:
        """Start them; on return they have agreed on who leads them."""
        for one in self._servers.values():
            one.start_nowait()
        for one in self._servers.values():
            await one.wait_ready()
        await self._until_whole("")

    async def stop(self) -> None:
        """Kill them, and leave nothing behind."""
        for one in self._servers.values():
            await self._stack.remove(one)
        for port in self._ports:
            port.release()

    async def kill_leader(self, stream: str) -> None:
        """SIGKILL the server that leads a stream."""
        await self._servers[await self._leader(stream)].kill()

    async def kill_follower(self, stream: str) -> None:
        """SIGKILL one that does not."""
        await self._servers[(await self._followers(stream))[0]].kill()

    async def kill_majority(self, stream: str) -> None:
        """SIGKILL the two that don't."""
        for name in await self._followers(stream):
            await self._servers[name].kill()

    async def kill_all(self) -> None:
        """SIGKILL every one."""
        for one in self._servers.values():
            await one.kill()

    async def revive(self, stream: str) -> None:
        """Start whoever is dead, and wait until all have the stream's last message."""
        dead = [one for one in self._servers.values() if not one.is_running()]
        for one in dead:
            one.start_nowait()
        for one in dead:
            await one.wait_ready()
        await self._until_whole(stream)

    async def _followers(self, stream: str) -> list[str]:
        leader = await self._leader(stream)
        return [name for name in self._servers if name != leader]

    async def _leader(self, stream: str) -> str:
        client = await self.join()
        try:
            return str((await _asked(client, f"STREAM.INFO.{stream}"))["cluster"]["leader"])
        finally:
            await client.close()

    async def _until_whole(self, stream: str) -> None:
        client = await self.join()
        try:
            async with asyncio.timeout(WHOLE_S):
                while not await self._is_whole(client, stream):  # noqa: ASYNC110  there is no event to wait for
                    await asyncio.sleep(0.05)
        finally:
            await client.close()

    async def _is_whole(self, client: Client, stream: str) -> bool:
        try:
            if not stream:
                return "error" not in await _asked(client, "INFO")
            cluster = (await _asked(client, f"STREAM.INFO.{stream}")).get("cluster", {})
        except TimeoutError:
            return False
        replicas = cluster.get("replicas", [])
        is_current = all(one["current"] and not one.get("lag") for one in replicas)
        return bool(cluster.get("leader")) and len(replicas) == SERVERS - 1 and is_current


async def _asked(client: Client, subject: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{subject}", b"", timeout=2.0)).data or b"{}")
    return answer


class SimulatedTrio(Trio):
    """The model of a group: its members can't be told apart but by what fails."""

    urls = [f"nats://b:{PORT}"]  # noqa: RUF012  never changed

    def __init__(self, world: SmallWorld) -> None:
        self._world = world
        self._disk = NatsDisk()
        self._lives = 0
        self._process: Process | None = None
        self._server: NatsServer | None = None

    def begin(self) -> None:
        """Start it, from outside."""
        self._lives += 1
        self._process = self._world.start(self._world.b, self._serve, f"trio/{self._lives}")

    async def kill_leader(self, stream: str) -> None:
        """The group has no leader, for a while."""
        process, server = self._running()
        process.loop.within(server.cluster.lose_leader)
        process.loop.within(lambda: process.loop.call_later(ELECTION_S, server.cluster.elect))

    async def kill_follower(self, stream: str) -> None:
        """Nothing is missing but the connections of its clients."""
        process, server = self._running()
        process.loop.within(server.cluster.lose_follower)

    async def kill_majority(self, stream: str) -> None:
        """Nothing can be agreed on."""
        process, server = self._running()
        process.loop.within(server.cluster.lose_quorum)

    async def kill_all(self) -> None:
        """SIGKILL."""
        self._running()[0].kill()
        self._process = None

    async def revive(self, stream: str) -> None:
        """Have all three."""
        if self._process is None:
            self.begin()
            await asyncio.sleep(LISTENS_S)
        process, server = self._running()
        process.loop.within(server.cluster.regain_quorum)
        async with asyncio.timeout(WHOLE_S):
            while not (server.cluster.decides and server.cluster.serves_consumers):  # noqa: ASYNC110  no event
                await asyncio.sleep(0.05)

    def _running(self) -> tuple[Process, NatsServer]:
        assert self._process is not None
        assert self._server is not None
        return self._process, self._server

    async def _serve(self, process: Process) -> None:
        self._server = server = NatsServer(
            name="nats",
            now_ns=process.host.clock.wall_ns,
            rng=random.Random(f"trio/{self._lives}"),
            disk=self._disk,
            replicas=SERVERS,
        )
        await process.loop.create_server(server.protocol, "0.0.0.0", PORT)
        server.start()
