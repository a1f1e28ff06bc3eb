"""One replica without NATS, or NATS half dead: what it holds is let go, and the others go on (G6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from faults.stack import NatsProcess
from system.host import Host
from system.link import NatsLink
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, problem

pytestmark = pytest.mark.stack

LEASE_S = 2.0
LET_GO_S = LEASE_S * 4 + 5.0
"""A leader notices within half a lease, and lets go after one; the other looks within one. 5 s for two busy cores."""
UNSENT = 64 * 1024
PUBLISHES = 100
"""6.4 MB: three times what nats-py would have held back."""


class Way:
    """The way from one replica to NATS, which can be closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: list[asyncio.StreamWriter] = []

    async def open(self, port: int = 0) -> int:
        """Answers the port on which it is open."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """End what goes over it, and refuse what comes."""
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._port)
        self._open += [writer, there]
        await asyncio.gather(_copy(reader, there), _copy(there_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def way(fresh_nats: NatsProcess) -> AsyncIterator[Way]:
    """A way to NATS for one replica alone."""
    made = Way(fresh_nats.port)
    yield made
    made.close()


async def test_a_leader_that_is_cut_off_from_nats_lets_one_lead_that_is_not(start_relay: StartRelay, way: Way) -> None:
    """It renewed its lease by Postgres for as long as it lived, and what others published was never stored."""
    port = await way.open()
    one = await start_relay(nats_url=f"nats://127.0.0.1:{port}", lease_s=LEASE_S, idle_check_s=1)
    await eventually(lambda: one.relay._leader.fence, "the first leads")
    other = await start_relay(lease_s=LEASE_S, idle_check_s=1)
    way.close()
    await other.publish(event("after"))
    await eventually(lambda: other.relay._leader.fence, "the other leads", LET_GO_S)
    await other.settled()
    assert [row["id"] for row in await other.rows("SELECT id FROM agent_events")] == ["after"]
    await way.open(port)
    await one.ready()
    assert one.relay._leader.fence is None
    assert other.relay._leader.fence is not None


async def test_nobody_reaches_nats_and_yet_somebody_sweeps(start_relay: StartRelay, fresh_nats: NatsProcess) -> None:
    """The lease goes from hand to hand then; once NATS is back, somebody leads at once."""
    relay = await start_relay(lease_s=LEASE_S, retention_standard_s=1.0)
    await relay.publish(event("old", type="note.added"))
    await relay.settled()
    await fresh_nats.kill()
    await eventually(lambda: not relay.relay._leader.fence, "the lease is let go", LET_GO_S)
    await relay.rows("UPDATE agent_events SET persisted_at = now() - interval '1 hour'")
    await eventually(lambda: _is_swept(relay), "the sweep", LET_GO_S)
    await fresh_nats.start()
    await eventually(lambda: _is_taken(relay, event("new")), "a publish that is taken", LET_GO_S)
    await eventually(lambda: relay.rows("SELECT 1 FROM agent_events WHERE id = 'new'"), "that it is stored", LET_GO_S)


async def _is_swept(relay: InProcess) -> bool:
    return not await relay.rows("SELECT 1 FROM agent_events")


async def _is_taken(relay: InProcess, one: dict[str, Any]) -> bool:
    return (await relay.post(one)).status_code == 202


async def test_a_half_open_connection_with_much_unsent_is_given_up(fresh_nats: NatsProcess) -> None:
    """nats-py would hold back whoever sends once 2 MB are unsent, the probe too, and nothing would ever be dialled."""
    link = NatsLink(
        fresh_nats.url, host=Host.real(), name="test", stream="MESH_EVENTS", timeout_s=0.5, probe_interval_s=0.5
    )
    link.start()
    first = await link.wait_connected()
    fresh_nats.pause()
    sending = [asyncio.create_task(_send(first.nc)) for _ in range(PUBLISHES)]
    await eventually(lambda: not link.is_connected(), "the connection is given up")
    await fresh_nats.kill()
    await fresh_nats.start()
    await eventually(link.is_connected, "a new connection")
    assert link.current() is not first
    _, waiting = await asyncio.wait(sending, timeout=1.0)
    assert not waiting
    await link.stop()


async def _send(client: Any) -> None:
    with suppress(Exception):
        await client.publish("any", b"x" * UNSENT)


async def test_what_can_not_be_sent_is_not_taken(start_relay: StartRelay, fresh_nats: NatsProcess) -> None:
    """While NATS takes nothing, publishes are refused once much waits: it would all have to be held."""
    relay = await start_relay(publish_timeout_s=60, event_bytes_max=900_000)
    fresh_nats.pause()
    large = [event(f"large-{number}", data="x" * 800_000) for number in range(50)]
    sending = [asyncio.create_task(relay.post(one)) for one in large]
    done, waiting = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
    assert waiting
    for one in done:
        problem(one.result(), 503, "NATS is behind")
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    fresh_nats.resume()


async def test_a_database_of_another_stream_is_refused(start_relay: StartRelay) -> None:
    """Its events have the places that the new stream's would take: those would be passed over, or never stored."""
    former = await start_relay()
    await former.publish(event("former"))
    await former.settled()
    renamed = await start_relay(wait=False, stream="MESH_V2")
    said = await eventually(lambda: renamed.relay._writer.problem, "the refusal")
    assert "expected a database that knows the stream 'MESH_V2'" in said
    assert "MESHRELAY_STREAM" in said
    problem(await renamed.post(event("new")), 503)
    assert await former.rows("SELECT name FROM event_stream") == [{"name": "MESH_EVENTS"}]
