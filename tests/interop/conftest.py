"""A relay for a worker's interop tests, with quick settings, and clients that reach it through a proxy that cuts."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from faults.stack import EmbeddedStack, NatsProcess, RelayProcess
from tests.interop.clients import CLIENTS, Client
from tests.interop.cutting import CuttingProxy
from tests.system.harness import UnderTest, eventually, under_test

QUICK = {
    "HEARTBEAT_S": "0.1",
    "BOOKMARK_S": "0.2",
    "RETRY_MIN_MS": "20",
    "RETRY_MAX_MS": "60",
    "SWEEP_INTERVAL_S": "0.1",
    "SWEEP_PAUSE_S": "0",
    "TAIL_POLL_S": "0.05",
    "DRAIN_DEADLINE_S": "4",
    # three clients, and the sessions of their cut connections that the relay has not noticed yet
    "SESSIONS_PER_AGENT_MAX": "6",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What a worker's relays share."""

    stack: EmbeddedStack
    nats: NatsProcess
    dsn: str

    def add_relay(self) -> RelayProcess:
        """One more replica, not started."""
        ours = QUICK | {"NATS_URL": self.nats.url, "POSTGRES_DSN": self.dsn}
        return self.stack.add_relay(f"interop-{uuid.uuid4().hex[:8]}", ours)


@pytest.fixture(scope="session")
def servers(stack: EmbeddedStack) -> Iterator[Servers]:
    """A database and a NATS that only the interop tests of this worker use."""
    name = f"interop_{uuid.uuid4().hex}"
    nats = stack.add_nats(f"nats-{name[:16]}")
    asyncio.run(nats.start())
    asyncio.run(_execute(stack.postgres_dsn, f"create database {name}"))
    yield Servers(stack=stack, nats=nats, dsn=re.sub(r"/[^/]*$", f"/{name}", stack.postgres_dsn))
    asyncio.run(stack.remove(nats))
    asyncio.run(_execute(stack.postgres_dsn, f"drop database {name} with (force)"))


@pytest.fixture(scope="session")
def lasting_relay(servers: Servers) -> Iterator[RelayProcess]:
    """A relay that no test stops."""
    process = servers.add_relay()
    asyncio.run(process.start())
    yield process
    asyncio.run(servers.stack.remove(process))


class Mesh(UnderTest):
    """The lasting relay, one agent of this test's own, and the clients that follow its stream through the proxy."""

    def __init__(self, servers: Servers, process: RelayProcess, proxy: CuttingProxy) -> None:
        plain = under_test(process, servers.dsn, servers.nats, servers.stack.jwt_secret)
        super().__init__(plain.url, plain.dsn, plain.nats_server, plain.secret)
        self.agent = f"agent-{uuid.uuid4().hex[:12]}"
        self.proxy = proxy
        self._plain = plain
        self._clients: list[Client] = []

    def follow(self, kind: type[Client], *, resync: bool = False, **query: str) -> Client:
        """Let a client follow the agent's stream."""
        client = kind(self.token(self.agent, scope="stream"), resync=resync)
        parameters = "&".join(f"{key}={value}" for key, value in query.items())
        client.follow(f"{self.proxy.url}/v1/agents/{self.agent}/events?{parameters}")
        self._clients.append(client)
        return client

    async def send(self, *ids: str, **attributes: Any) -> list[str]:
        """Publish events with these ids, one by one, to the agent; answers their cursors."""
        usual = {"specversion": "1.0", "source": "/interop", "type": "task.assigned", "subject": self.agent}
        # text of two and of four bytes a character, so that a cut may fall within one
        data = {"text": "für 𝄞 " * 12}
        cursors = []
        for one in ids:
            text = json.dumps(usual | {"id": one, "data": data} | attributes, ensure_ascii=False)
            response = await self.post(text.encode())
            assert response.status_code == 202, response.text
            cursors.append(response.json()["events"][0]["cursor"])
        return cursors

    async def expire(self, *ids: str) -> None:
        """Let these events be past retention, and wait until they are swept."""
        query = "SELECT count(*) AS count FROM agent_events WHERE id = ANY($1::text[])"
        await eventually(lambda: self._count_is(len(ids), query, list(ids)), "the events stored")
        age = "UPDATE agent_events SET persisted_at = now() - interval '60 days' WHERE id = ANY($1::text[])"
        await self.rows(age, list(ids))
        await eventually(lambda: self._count_is(0, query, list(ids)), "the events swept")

    async def close(self) -> None:
        """End the clients, then our own connections."""
        await asyncio.gather(*(client.close() for client in self._clients))
        await self._plain.close()
        await super().close()

    async def _count_is(self, count: int, query: str, ids: list[str]) -> bool:
        return bool((await self.rows(query, ids))[0]["count"] == count)


@pytest.fixture
async def mesh(servers: Servers, lasting_relay: RelayProcess) -> AsyncIterator[Mesh]:
    """An agent on the lasting relay, all its clients behind one proxy."""
    async with CuttingProxy.open(lasting_relay.address) as proxy:
        mesh = Mesh(servers, lasting_relay, proxy)
        yield mesh
        await mesh.close()


@pytest.fixture
async def replica(servers: Servers, lasting_relay: RelayProcess) -> AsyncIterator[RelayProcess]:
    """Another relay beside the lasting one, for this test alone; it may be stopped, killed and restarted."""
    process = servers.add_relay()
    await process.start()
    yield process
    await servers.stack.remove(process)


@pytest.fixture(params=CLIENTS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    """Each of the clients."""
    chosen: type[Client] = request.param
    return chosen


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
