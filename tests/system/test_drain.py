"""Stopping (SIGTERM): agents are told, evenly, with the last frames before it; all within the deadline, exit code 0."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from faults.stack import EmbeddedStack, NatsProcess, RelayProcess
from tests.system.conftest import StartRelay
from tests.system.harness import UnderTest, event, eventually, problem, under_test

pytestmark = pytest.mark.stack


@pytest.fixture
async def process(
    stack: EmbeddedStack, fresh_database: str, fresh_nats: NatsProcess
) -> AsyncIterator[tuple[RelayProcess, UnderTest]]:
    """A relay as a process of its own."""
    made = stack.add_relay(
        f"{fresh_nats.name}-relay",
        {
            "NATS_URL": fresh_nats.url,
            "NATS_MONITOR_URL": fresh_nats.monitor_url,
            "POSTGRES_DSN": fresh_database,
            "DRAIN_DEADLINE_S": "6",
        },
    )
    await made.start()
    relay = under_test(made, fresh_database, fresh_nats, stack.jwt_secret)
    yield made, relay
    await relay.close()
    await stack.remove(made)


async def test_sigterm_ends_all_streams_evenly_within_the_deadline(process: tuple[RelayProcess, UnderTest]) -> None:
    """Ten agents: each gets its events, then relay.close with reason and delay, one after the other and not as a herd;
    no connection is reset; the process ends with code 0 within its deadline, and says in its log that all was flushed.
    """
    server, relay = process
    loop = asyncio.get_running_loop()
    made = [event(subject="_all") for _ in range(30)]
    async with AsyncExitStack() as opened:
        streams = [
            await opened.enter_async_context(relay.stream(f"a{number}", cursor="earliest")) for number in range(10)
        ]
        await relay.publish(*made)

        async def written() -> bool:
            names = ("sse_live_events_total", "sse_replay_events_total")
            return sum([await relay.metric(name) for name in names]) == 10 * len(made)

        await eventually(written, "all events handed to the connections")
        began = loop.time()
        server.terminate()
        ended: list[float] = []

        async def read(stream: object) -> None:
            assert hasattr(stream, "rest")
            await stream.rest()
            ended.append(loop.time())

        await asyncio.gather(*(read(stream) for stream in streams))
        assert await server.wait() == 0
        assert loop.time() - began < 6 + 1.5
        for stream in streams:
            assert stream.delivered == [one["id"] for one in made]
            last = stream.seen[-1]
            assert (last.event, last.id, last.data["reason"]) == ("relay.close", None, "drain")
            assert 1_000 <= last.data["retry_ms"] <= 5_000
            assert stream.seen[-2].retry_ms == last.data["retry_ms"]
    assert ended[-1] - ended[0] > 1.0, "spread over the time"
    assert b'"flushed": true' in server.log_path.read_bytes()
    delays = {stream.seen[-1].data["retry_ms"] for stream in streams}
    assert len(delays) > 1, "each comes back at another time"


async def test_an_idle_relay_stops_at_once(process: tuple[RelayProcess, UnderTest]) -> None:
    """Without streams a drain takes no time; Ctrl-C is as good as SIGTERM; a second signal changes nothing."""
    server, relay = process
    await relay.publish(event())
    loop = asyncio.get_running_loop()
    began = loop.time()
    server.signal(signal.SIGINT)
    server.signal(signal.SIGTERM)
    assert await server.wait() == 0
    assert loop.time() - began < 6


async def test_a_draining_replica_refuses_new_streams_and_is_not_ready(start_relay: StartRelay) -> None:
    """While open streams are closed one by one, publishes over open connections are still taken, new streams are sent
    elsewhere with 503, in band for those who asked so, and /readyz takes the replica out.
    """
    relay = await start_relay(drain_deadline_s=12)
    kept = [relay.bearer(f"a{number}") for number in range(3)]
    async with AsyncExitStack() as opened:
        streams = [await opened.enter_async_context(relay.stream(f"a{number}")) for number in range(4)]
        for stream in streams:
            await stream.named("relay.cursor")
        assert (await relay.http.get("/readyz")).status_code == 200  # keeps a connection open
        draining = asyncio.create_task(relay.relay.drain())
        await streams[0].named("relay.close")
        answer = await relay.http.get("/readyz")
        assert (answer.status_code, answer.json()["parts"]["accepting"]) == (503, False)
        refused = await relay.http.get("/v1/agents/a0/events", headers=kept[0])
        assert problem(refused, 503, "draining")["status"] == 503
        in_band = await relay.http.get("/v1/agents/a0/events?on_gone=event", headers=kept[0])
        assert (in_band.status_code, '"reason":"capacity"' in in_band.text) == (200, True)
        made = event(subject="a3")
        await relay.publish(made)
        assert await streams[3].events(1) == [made["id"]], "an open stream lives until its turn"
        for stream in streams[1:]:
            assert (await stream.rest())[-1].data["reason"] == "drain"
        await draining


async def test_a_stream_that_does_not_read_does_not_hold_up_a_drain(start_relay: StartRelay) -> None:
    """A client that has stopped reading is cut at the deadline; the others were told in time."""
    relay = await start_relay(drain_deadline_s=2, slow_client_timeout_s=60)
    await relay.publish(*(event(data="x" * 200_000) for _ in range(10)))
    await relay.publish(*(event(data="x" * 200_000) for _ in range(10)))
    loop = asyncio.get_running_loop()
    async with relay.stream(cursor="earliest") as stuck, relay.stream("bob") as reading:
        assert stuck.response.status_code == 200
        await reading.named("relay.cursor")
        began = loop.time()
        draining = asyncio.create_task(relay.relay.drain())
        assert (await reading.rest())[-1].data["reason"] == "drain"
        await draining
        assert loop.time() - began < 2 + 1.5


async def test_a_stream_that_opens_as_the_drain_begins_is_told_too(start_relay: StartRelay) -> None:
    """However a drain and an opening meet, the client gets a 503 or a stream that ends with relay.close: never an
    answer of 200 that ends without a word, as those closed before their first byte did.
    """
    relay = await start_relay(drain_deadline_s=2)
    ends: list[str] = []

    async def client(number: int) -> None:
        async with relay.stream(f"a{number}", cursor="now") as stream:
            if stream.response.status_code == 503:
                ends.append("refused")
                return
            frames = await stream.rest()
            ends.append(frames[-1].data["reason"] if frames[-1].event == "relay.close" else f"nothing: {frames}")

    clients = [asyncio.create_task(client(number)) for number in range(30)]
    registry = relay.relay._sessions
    await eventually(lambda: len(registry._open) >= 3, "some streams")
    await relay.relay.drain()
    await asyncio.gather(*clients, return_exceptions=True)
    assert set(ends) <= {"drain", "refused"}
    assert "drain" in ends


async def test_a_stream_closed_before_its_first_byte_is_told(start_relay: StartRelay) -> None:
    """A token that expires between its check and the first byte: the stream still says relay.close with the reason."""
    relay = await start_relay()
    registry = relay.relay._sessions
    opened = registry.opened

    def expired(session: object, _: float) -> object:
        return opened(session, 0.0)  # type: ignore[arg-type]

    registry.opened = expired  # type: ignore[method-assign, assignment]
    await relay.publish(event())
    async with relay.stream() as stream:
        frames = await stream.rest()
    assert frames[-1].event == "relay.close"
    assert frames[-1].data["reason"] == "token_expired"
    assert [frame.event for frame in frames if frame.event] == ["relay.close"]
