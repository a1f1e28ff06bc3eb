"""Each client comes back after a cut behind what it has: every event once, in order, over all connections."""

from __future__ import annotations

import asyncio
import json

import pytest

from faults.stack import RelayProcess
from tests.interop.clients import CLIENTS, Client
from tests.interop.conftest import Mesh
from tests.interop.cutting import Way

pytestmark = pytest.mark.stack

EVENTS = 60


async def flow(mesh: Mesh, ids: list[str]) -> None:
    """Publish one event after another, a few milliseconds apart."""
    for one in ids:
        await mesh.send(one)
        await asyncio.sleep(0.005)


async def test_cuts_within_the_stream_lose_nothing(mesh: Mesh, kind: type[Client]) -> None:
    """Resets and early ends at any byte, also within an id or a character, neither lose nor repeat an event."""
    # odd lengths, so that each cut falls elsewhere within a frame
    plan: list[tuple[int, Way]] = [(900 + 137 * number, "reset" if number % 2 else "end") for number in range(10)]
    mesh.proxy.cut_each(*plan)
    client = mesh.follow(kind, cursor="earliest")
    ids = [f"{mesh.agent}-{number}" for number in range(EVENTS)]
    await flow(mesh, ids)
    await client.until_delivered(EVENTS)
    assert client.delivered == ids
    assert mesh.proxy.cuts == len(plan)
    told = {one.id for one in client.messages} | {None}
    assert set(mesh.proxy.positions) <= told
    assert len(set(mesh.proxy.positions)) > 5


async def test_a_killed_client_loses_nothing(mesh: Mesh, kind: type[Client]) -> None:
    """A client that dies in mid-stream and starts anew after the last id that its user saw misses nothing."""
    client = mesh.follow(kind, cursor="earliest")
    sent: list[str] = []
    kills = 0

    async def flow_on() -> None:
        while kills < 3:
            sent.append(f"{mesh.agent}-{len(sent)}")
            await flow(mesh, sent[-1:])

    async with asyncio.TaskGroup() as group:
        group.create_task(flow_on())
        while kills < 3:
            await client.until_delivered(len(client.delivered) + 5)
            await client.kill()
            kills += 1
    # sent when the last one is dead, so only its successor can have it
    sent.append(f"{mesh.agent}-last")
    await flow(mesh, sent[-1:])
    await client.until_delivered(len(sent))
    assert client.delivered == sent
    assert len(mesh.proxy.requests) >= 4


async def test_a_killed_relay_loses_nothing(mesh: Mesh, replica: RelayProcess) -> None:
    """All clients outlive SIGKILL and restart of their relay, while events arrive by another."""
    mesh.proxy.target = replica.address
    clients = [mesh.follow(kind, cursor="earliest") for kind in CLIENTS]
    ids = [f"{mesh.agent}-{number}" for number in range(EVENTS)]
    async with asyncio.TaskGroup() as group:
        group.create_task(flow(mesh, ids))
        for client in clients:
            await client.until_delivered(10)
        await replica.kill()
        await replica.start()
    for client in clients:
        await client.until_delivered(EVENTS)
        assert client.delivered == ids


async def test_a_drained_relay_says_so_and_another_goes_on(
    mesh: Mesh, replica: RelayProcess, kind: type[Client]
) -> None:
    """At SIGTERM each client is told relay.close, as data, and resumes at the replica that it finds next."""
    lasting, mesh.proxy.target = mesh.proxy.target, replica.address
    client = mesh.follow(kind, cursor="earliest")
    first = [f"{mesh.agent}-{number}" for number in range(5)]
    await flow(mesh, first)
    await client.until_delivered(5)
    mesh.proxy.target = lasting
    replica.terminate()
    await client.until(lambda: client.named("relay.close"), "relay.close")
    then = [f"{mesh.agent}-{number}" for number in range(5, 10)]
    await flow(mesh, then)
    await client.until_delivered(10)
    assert client.delivered == first + then
    (closing,) = client.named("relay.close")
    told = json.loads(closing.data)
    assert (told["reason"], told.keys()) == ("drain", {"reason", "retry_ms"})
    assert 20 <= told["retry_ms"] <= 60
    assert await replica.wait() == 0
