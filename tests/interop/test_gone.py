"""A loss is told to each client as it can hear it: by status 410, or in the stream with an address to go on at."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.interop.clients import Client, Curl, Eventsource
from tests.interop.conftest import Mesh

pytestmark = pytest.mark.stack

REASONS = ("expired", "wrong_epoch", "ahead")


async def lost_cursor(mesh: Mesh, reason: str) -> str:
    """A cursor that is lost for this reason; three events come after it, or are there at all."""
    ids = [f"{mesh.agent}-{number}" for number in range(5)]
    first, second, *_ = await mesh.send(*ids)
    await mesh.expire(*ids[:2])
    tag, _, seq = first.partition("-")
    # of two expired events the cursor names the first: the second is the loss
    assert second != first
    return {"expired": first, "wrong_epoch": f"zzzzzz-{seq}", "ahead": f"{tag}-{10**12}"}[reason]


@pytest.mark.parametrize("reason", REASONS)
async def test_a_loss_is_a_410(mesh: Mesh, kind: type[Client], reason: str) -> None:
    """Each client sees the status; those that can read a body see why, what is retained, and where to go on."""
    cursor = await lost_cursor(mesh, reason)
    client = mesh.follow(kind, cursor=cursor)
    await client.until(lambda: client.failure, "a failure")
    assert client.failure is not None
    assert (client.failure.status, client.messages) == (410, [])
    assert len(mesh.proxy.requests) == 1
    if kind is Eventsource:
        return
    assert client.failure.content_type.startswith("application/problem+json")
    problem = json.loads(client.failure.body)
    assert (problem["status"], problem["reason"], problem["cursor"]) == (410, reason, cursor)
    assert problem["floors"].keys() == {"critical", "standard"}
    assert urlsplit(problem["resync"]).path == f"/v1/agents/{mesh.agent}/events"


@pytest.mark.parametrize("reason", REASONS)
async def test_a_loss_is_told_in_band(mesh: Mesh, kind: type[Client], reason: str) -> None:
    """With on_gone=event each client is told within a stream that then ends, and goes on at the resync address."""
    cursor = await lost_cursor(mesh, reason)
    client = mesh.follow(kind, resync=True, cursor=cursor, on_gone="event", types="task.assigned")
    await client.until_delivered(3)
    gone = client.messages[0]
    assert (gone.name, gone.id) == ("relay.gone", "")
    assert (gone.document["status"], gone.document["reason"], gone.document["cursor"]) == (410, reason, cursor)
    assert parse_qs(urlsplit(gone.document["resync"]).query)["types"] == ["task.assigned"]
    assert client.delivered == [f"{mesh.agent}-{number}" for number in (2, 3, 4)]
    if kind is Curl:
        assert client.ends == ["code 0"]
    await mesh.send(f"{mesh.agent}-note", type="note.added")
    await mesh.send(f"{mesh.agent}-5")
    await client.until_delivered(4)
    assert client.delivered[3:] == [f"{mesh.agent}-5"]
    assert client.failure is None


@pytest.mark.parametrize("reason", ["expired", "wrong_epoch"])
async def test_the_next_loss_is_told_in_band_too(mesh: Mesh, reason: str) -> None:
    """After a resync, eventsource outlives another loss: the address that it followed keeps the wish to be told so."""
    client = mesh.follow(Eventsource, resync=True, cursor=await lost_cursor(mesh, reason), on_gone="event")
    await client.until_delivered(3)
    told = len(client.named("relay.gone"))
    mesh.proxy.target, lasting = ("127.0.0.1", 1), mesh.proxy.target
    mesh.proxy.cut()
    later = [f"{mesh.agent}-{number}" for number in (5, 6)]
    await mesh.send(*later)
    await mesh.expire(later[0])
    mesh.proxy.target = lasting
    await client.until_delivered(4)
    assert len(client.named("relay.gone")) > told
    assert client.delivered == [f"{mesh.agent}-{number}" for number in (2, 3, 4, 6)]
    assert client.failure is None
