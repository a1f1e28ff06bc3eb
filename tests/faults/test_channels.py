"""The two ways to publish: what is stored is acked with its cursor, and what is not known is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import nats
import psutil
import pytest
from aiohttp import web

from faults.arrivals import Arrival
from faults.mesh.channels import UNANSWERED, HttpChannel, NatsChannel, Result
from faults.mesh.outbox import Settled
from faults.stack import NatsProcess
from tests.faults.test_outbox import arrival

BATCH = [arrival(1), arrival(2)]


@asynccontextmanager
async def answering(
    status: int, body: object, *, delay_s: float = 0.0
) -> AsyncIterator[tuple[HttpChannel, list[bytes]]]:
    """A channel to a relay that gives one answer, and the bodies that it was sent."""
    bodies: list[bytes] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        bodies.append(await request.read())
        await asyncio.sleep(delay_s)
        return web.Response(status=status, body=body if isinstance(body, bytes) else msgspec.json.encode(body))

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    channel = HttpChannel(f"http://{host}:{port}", "token")
    try:
        yield channel, bodies
    finally:
        await channel.close()
        await runner.cleanup()


def _stored(*ids: str) -> object:
    return {"events": [{"id": one, "cursor": f"abc234-{n}", "duplicate": n == 2} for n, one in enumerate(ids, 1)]}


async def test_acked_over_http() -> None:
    """A 202 gives each event its cursor and says which were there already; the batch went as one array."""
    async with answering(202, _stored("e1", "e2")) as (channel, bodies):
        results = await channel.send(BATCH)
    assert results == [
        Result(outcome=Settled.ACKED, cursor="abc234-1", status=202),
        Result(outcome=Settled.ACKED, cursor="abc234-2", duplicate=True, status=202),
    ]
    assert [event["id"] for event in msgspec.json.decode(bodies[0])] == ["e1", "e2"]


@pytest.mark.parametrize(
    ("status", "body", "batch", "outcome"),
    [
        (503, {"title": "unknown"}, BATCH, Settled.UNKNOWN),
        (500, {}, BATCH[:1], Settled.UNKNOWN),
        (409, {}, BATCH[:1], Settled.REFUSED),
        (422, {}, BATCH[:1], Settled.REFUSED),
        (409, {}, BATCH, Settled.UNKNOWN),
        (401, {}, BATCH[:1], Settled.UNKNOWN),
        (429, {}, BATCH[:1], Settled.UNKNOWN),
        (202, b'{"events":[{"id', BATCH[:1], Settled.UNKNOWN),
        (202, _stored("e2", "e1"), BATCH, Settled.UNKNOWN),
        (202, _stored("e1"), BATCH, Settled.UNKNOWN),
    ],
)
async def test_what_an_answer_means(status: int, body: object, batch: list[Arrival], outcome: Settled) -> None:
    """Only a refusal of a single event is final; anything that does not speak for each event is unknown."""
    async with answering(status, body) as (channel, _):
        results = await channel.send(batch)
    assert [(result.outcome, result.status, result.cursor) for result in results] == [(outcome, status, None)] * len(
        batch
    )


async def test_no_answer_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that is silent, or not there, leaves every event unknown, within the channel's limit."""
    monkeypatch.setattr("faults.mesh.channels.ANSWER_S", 1.0)
    async with answering(202, _stored("e1", "e2"), delay_s=5.0) as (channel, bodies):
        assert await channel.send(BATCH) == [UNANSWERED] * 2
        assert len(bodies) == 1
    nobody = HttpChannel("http://127.0.0.1:1", "token")
    assert await nobody.send(BATCH) == [UNANSWERED] * 2
    await nobody.close()


async def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that sends a byte now and then, for ever, holds a publisher no longer than a silent one."""
    monkeypatch.setattr("faults.mesh.channels.ANSWER_S", 0.3)

    async def trickle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=202)
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    runner = web.ServerRunner(web.Server(trickle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    channel = HttpChannel(f"http://127.0.0.1:{runner.addresses[0][1]}", "token")
    async with asyncio.timeout(4.0):
        assert await channel.send(BATCH) == [UNANSWERED] * 2
    await channel.close()
    await runner.cleanup()


@pytest.mark.stack
async def test_acked_by_nats(fresh_nats: NatsProcess) -> None:
    """A PubAck gives the cursor, the same one for a repeat, as a duplicate; subject and id are the event's."""
    client = await nats.connect(fresh_nats.url)
    await client.jetstream().add_stream(name="MESH_EVENTS", subjects=["mesh.events.>"])
    channel = NatsChannel(fresh_nats.url, "abc234")
    first, again = await channel.send(BATCH), await channel.send(BATCH[1:])
    message = await client.jetstream().get_msg("MESH_EVENTS", seq=2)
    await channel.close()
    await client.close()
    assert first == [Result(outcome=Settled.ACKED, cursor=f"abc234-{n}") for n in (1, 2)]
    assert again == [Result(outcome=Settled.ACKED, cursor="abc234-2", duplicate=True)]
    assert (message.subject, message.data) == ("mesh.events.alice.task.assigned", BATCH[1].event())
    assert (message.headers or {})["Nats-Msg-Id"] == "e2"


@pytest.mark.stack
async def test_a_nats_channel_outlives_its_server(fresh_nats: NatsProcess) -> None:
    """While the server is away, or has no stream, events are unknown; when it is back they are acked."""
    channel = NatsChannel(fresh_nats.url, "abc234")
    assert await channel.send(BATCH) == [UNANSWERED] * 2
    client = await nats.connect(fresh_nats.url)
    await client.jetstream().add_stream(name="MESH_EVENTS", subjects=["mesh.events.>"])
    await client.close()
    assert [result.outcome for result in await channel.send(BATCH)] == [Settled.ACKED] * 2
    await fresh_nats.kill()
    assert await channel.send(BATCH) == [UNANSWERED] * 2
    await fresh_nats.start()
    assert [result.duplicate for result in await channel.send(BATCH)] == [True, True]
    await fresh_nats.kill()
    await fresh_nats.start()
    await asyncio.sleep(0.2)  # for the channel's client to have seen its connection close
    assert [result.duplicate for result in await channel.send(BATCH)] == [True, True]
    fresh_nats.pause()
    while psutil.Process(fresh_nats.pid).status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0.01)
    assert await channel.send(BATCH) == [UNANSWERED] * 2
    fresh_nats.resume()
    assert [result.duplicate for result in await channel.send(BATCH)] == [True, True]
    await channel.close()
