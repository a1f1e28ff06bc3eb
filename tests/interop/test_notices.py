"""What is not an event reaches each client as what it is: gaps, bookmarks, a full house; heartbeats not at all."""

from __future__ import annotations

import contextlib

import pytest

from tests.interop.clients import Client
from tests.interop.conftest import QUICK, Mesh
from tests.system.harness import eventually

pytestmark = pytest.mark.stack


async def three_heartbeats(mesh: Mesh) -> None:
    """Wait until three more have passed."""
    goal = mesh.proxy.heartbeats + 3
    await eventually(lambda: mesh.proxy.heartbeats >= goal, "three heartbeats")


async def test_a_gap_is_told_ahead_of_the_replay(mesh: Mesh, kind: type[Client]) -> None:
    """A client that missed standard events hears of it first, then receives all that is retained after its cursor."""
    (before,) = await mesh.send(f"{mesh.agent}-0")
    await mesh.send(f"{mesh.agent}-1", f"{mesh.agent}-2", type="note.added")
    await mesh.send(f"{mesh.agent}-3")
    await mesh.expire(f"{mesh.agent}-1", f"{mesh.agent}-2")
    await mesh.settled()
    client = mesh.follow(kind, cursor=before)
    await client.until_delivered(1)
    assert [one.name for one in client.messages[:2]] == ["relay.gap", "task.assigned"]
    gap = client.messages[0]
    assert gap.id == ""
    assert (gap.document["reason"], gap.document["class"], gap.document["cursor"]) == ("expired", "standard", before)
    assert client.delivered == [f"{mesh.agent}-3"]
    # told once: behind the replay, a reconnect hears nothing of it
    mesh.proxy.cut()
    await mesh.send(f"{mesh.agent}-4")
    await client.until_delivered(2)
    assert len(client.named("relay.gap")) == 1
    assert client.failure is None


async def test_heartbeats_and_delays_make_no_message(mesh: Mesh, kind: type[Client]) -> None:
    """Heartbeats, reconnect delays and connections themselves hand nothing to the client's user."""
    client = mesh.follow(kind, cursor="earliest")
    await mesh.send(f"{mesh.agent}-0")
    await client.until_delivered(1)
    for number in (1, 2):
        await three_heartbeats(mesh)
        mesh.proxy.cut()
        await mesh.send(f"{mesh.agent}-{number}")
        await client.until_delivered(number + 1)
    assert client.delivered == [f"{mesh.agent}-{number}" for number in range(3)]
    assert {one.name for one in client.messages} == {"task.assigned", "relay.cursor"}
    assert all(one.data for one in client.messages)


async def test_a_bookmark_moves_the_cursor(mesh: Mesh, kind: type[Client]) -> None:
    """A client that receives nothing still moves on, and says so when it reconnects."""
    client = mesh.follow(kind, cursor="earliest")
    await client.until(lambda: client.named("relay.cursor"), "the first bookmark")
    (moved,) = await mesh.send(f"{mesh.agent}-other", subject="somebody-else")
    await client.until(lambda: client.last_id == moved, f"a bookmark at {moved}")
    (found,) = [one for one in client.messages if one.id == moved]
    assert (found.name, found.data) == ("relay.cursor", "{}")
    asked = len(mesh.proxy.positions)
    mesh.proxy.cut()
    await client.until(lambda: len(mesh.proxy.positions) > asked, "a reconnect")
    assert mesh.proxy.positions[asked] == moved
    assert client.delivered == []


async def test_a_full_house_is_told_in_band(mesh: Mesh, kind: type[Client]) -> None:
    """With on_gone=event a client over the limit is asked to come back, and is served once there is room."""
    async with contextlib.AsyncExitStack() as crowd:
        for _ in range(int(QUICK["SESSIONS_PER_AGENT_MAX"])):
            await crowd.enter_async_context(mesh.stream(mesh.agent))
        client = mesh.follow(kind, cursor="earliest", on_gone="event")
        await client.until(lambda: len(client.named("relay.close")) >= 2, "two refusals")
        assert {one.document["reason"] for one in client.named("relay.close")} == {"capacity"}
    await mesh.send(f"{mesh.agent}-0")
    await client.until_delivered(1)
    assert (client.delivered, client.failure) == ([f"{mesh.agent}-0"], None)


async def test_a_full_house_is_a_429_without(mesh: Mesh, kind: type[Client]) -> None:
    """Without on_gone=event a client over the limit sees the status, which ends eventsource for good."""
    async with contextlib.AsyncExitStack() as crowd:
        for _ in range(int(QUICK["SESSIONS_PER_AGENT_MAX"])):
            await crowd.enter_async_context(mesh.stream(mesh.agent))
        client = mesh.follow(kind, cursor="earliest")
        await client.until(lambda: client.failure, "a refusal")
    assert client.failure is not None
    assert (client.failure.status, client.messages) == (429, [])
