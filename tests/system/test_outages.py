"""NATS and Postgres away, restarted, frozen: acknowledged stays acknowledged, and all goes on by itself (G6, G8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from faults.stack import EmbeddedStack, ManagedProcess
from tests.system.harness import InProcess, all_transports, event, eventually, problem
from tests.system.traffic import traffic

pytestmark = pytest.mark.stack

BRISK: dict[str, Any] = {
    "ready_after_silence_s": 1.5,
    "publish_timeout_s": 1,
    "database_timeout_s": 1,
    "lease_s": 3,
}


@pytest.fixture
async def own_stack() -> AsyncIterator[EmbeddedStack]:
    """Servers that this test may break."""
    async with EmbeddedStack.start() as stack:
        yield stack


@pytest.fixture
async def relay(own_stack: EmbeddedStack, transport: dict[str, Any]) -> AsyncIterator[InProcess]:
    """A relay on them, quick to notice."""
    running = await InProcess.start(own_stack.postgres_dsn, own_stack.nats, **(BRISK | transport))
    await running.ready()
    yield running
    await running.stop()


async def readyz(relay: InProcess, status: int) -> dict[str, Any]:
    """Wait for this status of /readyz; answers its parts."""
    found: dict[str, Any] = {}

    async def there() -> bool:
        response = await relay.http.get("/readyz")
        found.update(response.json()["parts"])
        return response.status_code == status

    await eventually(there, f"/readyz {status}")
    return found


def process(stack: EmbeddedStack, name: str) -> ManagedProcess:
    """NATS or Postgres."""
    return {"nats": stack.nats, "postgres": stack.postgres}[name]


@all_transports
@pytest.mark.parametrize("name", ["nats", "postgres"])
@pytest.mark.parametrize("how", ["kill", "restart", "pause"])
async def test_an_outage_in_mid_traffic_loses_nothing(
    own_stack: EmbeddedStack, relay: InProcess, name: str, how: str
) -> None:
    """SIGKILL and start, orderly restart, SIGSTOP and SIGCONT, of either server, under traffic: all acknowledged events
    arrive, once and in order, without a restart of the relay; /readyz says which part is away, and comes back.
    """
    server = process(own_stack, name)
    async with traffic(relay) as books:
        if how == "kill":
            await server.kill()
        elif how == "pause":
            server.pause()
        else:
            await server.stop()
        parts = await readyz(relay, 503)
        assert parts[name] is False
        if how == "pause":
            server.resume()
        else:
            await server.start()
        await readyz(relay, 200)
        await books.more(20)
        await books.caught_up()
    assert not relay.relay.failed.done()
    assert await relay.rows("SELECT * FROM dead_letters") == []
    assert (await relay.http.get("/healthz")).status_code == 200


@all_transports
async def test_publishing_goes_on_while_postgres_is_away(own_stack: EmbeddedStack, relay: InProcess) -> None:
    """The stream takes events without Postgres; they are stored and delivered when it is back, an id used twice with
    other content among them as a dead letter; meanwhile streams and acks are an honest 503.
    """
    (place,) = await relay.publish(event("before"))
    await relay.settled()
    await own_stack.postgres.kill()
    made = event("meanwhile")
    assert (await relay.post(made)).status_code == 202
    assert (await relay.post(made)).json()["events"][0]["duplicate"] is True
    problem(await relay.post(made | {"data": "other"}), 409)
    for answer in (
        await relay.get("/v1/agents/ann/events", Accept="text/event-stream"),
        await relay.page(),
        await relay.ack(place),
    ):
        problem(answer, 503)
    await own_stack.postgres.start()
    await readyz(relay, 200)
    async with relay.stream(cursor=place) as stream:
        assert await stream.events(1) == ["meanwhile"]


@all_transports
async def test_a_live_stream_outlives_postgres(own_stack: EmbeddedStack, relay: InProcess) -> None:
    """An open stream stays open while Postgres is away, and goes on where it was; so does one that had to replay."""
    made = [event() for _ in range(10)]
    async with relay.stream(cursor="now") as live:
        await live.named("relay.cursor")
        await relay.publish(*made[:5])
        assert len(await live.events(5)) == 5
        await own_stack.postgres.kill()
        await relay.publish(*made[5:])
        await own_stack.postgres.start()
        assert await live.events(5) == [one["id"] for one in made[5:]]


@pytest.mark.parametrize("transport", ["jetstream"], indirect=True)
async def test_who_reads_the_stream_is_served_without_postgres(own_stack: EmbeddedStack, relay: InProcess) -> None:
    """Transport jetstream: a connected agent gets what is published while Postgres is away, also across a restart of
    NATS, and comes back to nothing missed or repeated; who connects meanwhile is told 503.
    """
    async with relay.stream(cursor="now") as live:
        await live.named("relay.cursor")
        await relay.publish(event("before"))
        assert await live.events(1) == ["before"]
        await relay.settled()
        await own_stack.postgres.kill()
        made = [event() for _ in range(200)]
        for start in range(0, 200, 50):
            await relay.publish(*made[start : start + 50])
        assert await live.events(200) == [one["id"] for one in made]
        await own_stack.nats.restart()
        problem(await relay.page(), 503)

        async def published() -> bool:
            return (await relay.post(event("after-nats", data=1))).status_code == 202

        await eventually(published, "a publish")
        assert await live.events(1) == ["after-nats"]
        await own_stack.postgres.start()
        await readyz(relay, 200)
        (last,) = await relay.publish(event("after-postgres"))
        assert await live.events(1) == ["after-postgres"]
        assert live.last_id == last
        assert (await relay.ack(last)).json() == {"acked": last}
    async with relay.stream(last_event_id=live.cursors[0]) as again:
        assert await again.events(202) == live.delivered[1:]


async def test_an_unknown_outcome_is_said_and_a_retry_settles_it(own_stack: EmbeddedStack, relay: InProcess) -> None:
    """NATS frozen: the publish is answered as unknown within its limit; when NATS is back, the same request is stored
    once, whether or not the first one had got through.
    """
    own_stack.nats.pause()
    loop = asyncio.get_running_loop()
    began = loop.time()
    document = problem(await relay.post([event("one"), event("two")]), 503, "unknown")
    assert loop.time() - began < 10
    assert document["unknown"] == ["one", "two"]
    own_stack.nats.resume()

    async def stored() -> bool:
        return (await relay.post([event("one", data=0), event("two", data=0)])).status_code in (202, 409)

    await eventually(stored, "an answer")
    await relay.settled()
    rows = await relay.rows("SELECT id FROM agent_events ORDER BY pos")
    assert [row["id"] for row in rows] == ["one", "two"]


@pytest.mark.parametrize("name", ["nats", "postgres"])
async def test_a_relay_may_start_before_its_servers(own_stack: EmbeddedStack, name: str) -> None:
    """Started while a server is away, the relay listens, is alive, not ready, and becomes ready by itself."""
    server = process(own_stack, name)
    await server.stop()
    relay = await InProcess.start(own_stack.postgres_dsn, own_stack.nats, **BRISK)
    try:
        parts = await readyz(relay, 503)
        assert not parts[name]
        assert (await relay.http.get("/healthz")).status_code == 200
        problem(await relay.post(event()), 503, "nothing was published")
        problem(await relay.page(), 503)
        await server.start()
        await readyz(relay, 200)
        await relay.publish(event())
        await relay.settled()
    finally:
        await relay.stop()


async def test_a_drain_without_its_servers_keeps_its_deadline(own_stack: EmbeddedStack) -> None:
    """Both servers frozen: SIGTERM's drain still ends within its deadline, and the stream is told."""
    relay = await InProcess.start(own_stack.postgres_dsn, own_stack.nats, drain_deadline_s=4)
    await relay.ready()
    loop = asyncio.get_running_loop()
    try:
        async with relay.stream(cursor="now") as stream:
            await stream.named("relay.cursor")
            own_stack.postgres.pause()
            own_stack.nats.pause()
            began = loop.time()
            draining = asyncio.create_task(relay.relay.drain())
            assert (await stream.named("relay.close")).data["reason"] == "drain"
            await draining
            assert loop.time() - began < 4 + 1.5
    finally:
        own_stack.postgres.resume()
        own_stack.nats.resume()
        await relay.close()
