"""Limits (G7): over each of them an honest refusal with Retry-After, in band for those who see no status; no harm."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from system.http.app import SPARE_CONNECTIONS
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, problem

pytestmark = pytest.mark.stack


async def test_too_many_streams_of_one_agent_are_429(start_relay: StartRelay) -> None:
    """The agent's own limit: 429 with Retry-After; when a stream ends there is room again; others don't mind."""
    relay = await start_relay(sessions_per_agent_max=2)
    async with relay.stream() as one, AsyncExitStack() as opened:
        two = await opened.enter_async_context(relay.stream())
        async with relay.stream() as third:
            problem(third.response, 429, "2 streams open")
        async with relay.stream("bob") as bob:
            assert bob.response.status_code == 200
        await two.frame()
        await opened.aclose()

        async def room() -> bool:
            async with relay.stream() as again:
                return again.response.status_code == 200

        await eventually(room, "room for another stream")
        await relay.publish(made := event())
        assert await one.events(1) == [made["id"]]
    assert await relay.metric("sse_sessions_refused_total", limit="agent") >= 1


async def test_too_many_streams_are_503(start_relay: StartRelay) -> None:
    """The replica's limit: 503 with Retry-After for anybody; with on_gone=event a stream that asks to come back later;
    pages, publishes and acks go on.
    """
    relay = await start_relay(sessions_max=2)
    async with relay.stream("a1") as one, relay.stream("a2"):
        async with relay.stream("a3") as third:
            problem(third.response, 503, "2 streams open, its limit")
        async with relay.stream("a3", on_gone="event") as third:
            assert third.response.status_code == 200
            frames = await third.rest()
            assert [frame.event for frame in frames if frame.event] == ["relay.close"]
            assert frames[0].retry_ms == frames[-1].data["retry_ms"]
            assert third.last_id is None
        (cursor,) = await relay.publish(event(subject="a1"))
        await one.events(1)
        assert (await relay.page("a3")).status_code == 200
        assert (await relay.ack(cursor, "a1")).status_code == 200
    assert await relay.metric("sse_sessions_refused_total", limit="replica") == 2


async def test_too_many_connections_are_refused_with_503(start_relay: StartRelay) -> None:
    """The connection too many gets a whole HTTP answer of valid JSON, whether it asks first or finds no room to ask in;
    when one closes there is room again.
    """
    relay = await start_relay(connections_max=3)
    host, port = relay.url.removeprefix("http://").split(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
    for reader, writer in held:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    refusals = [await relay.raw(b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")]
    spare = [await asyncio.open_connection(host, int(port)) for _ in range(SPARE_CONNECTIONS)]
    refusals += [await relay.raw(request) for request in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")]
    for answer in refusals:
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == b"HTTP/1.1 503 Service Unavailable"
        assert b"Retry-After: 5" in lines
        assert b"Content-Length: %d" % len(body) in lines
        assert json.loads(body)["status"] == 503
    for _, writer in spare:
        writer.close()
    held[0][1].close()

    async def room() -> bool:
        return (await relay.raw(b"GET /v1/openapi.json HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200")

    await eventually(room, "room for a connection")
    for _, writer in held:
        writer.close()


async def test_too_many_publishes_at_once_are_503(start_relay: StartRelay) -> None:
    """Publishes beyond the limit are refused at once, not queued; those under way are not hurt; then there is room."""
    relay = await start_relay(publishes_max=2)
    host, port = relay.url.removeprefix("http://").split(":")
    made = [event(), event()]
    slow = []
    for one in made:
        body = json.dumps(one).encode()
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {relay.token()}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + body[:10])
        slow.append((reader, writer, body))

    async def full() -> bool:
        return (await relay.post(event("probe"))).status_code == 503

    await eventually(full, "two publishes under way")
    problem(await relay.post(event()), 503, "under way already")
    for reader, writer, body in slow:
        writer.write(body[10:])
        assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        writer.close()
    assert (await relay.post(event())).status_code == 202


async def test_a_connection_that_says_nothing_is_cut(start_relay: StartRelay) -> None:
    """No request within the limit, half a head, or half a head after a good request: the connection is ended, and so
    is a body that does not come, with 408.

    Only a connection's first head had a limit: after one good request, half a head, or nothing, could stand for an
    hour.
    """
    relay = await start_relay(request_timeout_s=0.5, keep_alive_s=1)
    good = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await relay.raw(b"") == b""
    assert await relay.raw(b"GET /healthz HT") == b""
    answer = await relay.raw(good + b"GET /healthz HT")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1
    assert (await relay.raw(good)).startswith(b"HTTP/1.1 200")
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {relay.token()}\r\nConnection: close\r\n"
    host, port = relay.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{{".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 408")
    assert json.loads(await reader.readuntil(b"}"))["status"] == 408
    writer.close()


async def test_a_stream_is_not_cut_for_saying_nothing(start_relay: StartRelay) -> None:
    """An open stream has said all that it will: neither the limit on requests nor keep-alive ends it."""
    relay = await start_relay(request_timeout_s=0.3, keep_alive_s=0.3, heartbeat_s=0.2)
    async with relay.stream() as stream:
        for _ in range(6):
            await stream.until(lambda frame: frame.comment is not None)
        made = event()
        await relay.publish(made)
        assert await stream.events(1) == [made["id"]]


async def test_everyone_at_once(start_relay: StartRelay) -> None:
    """A herd of 60 agents with a backlog each, against a handful of replay places: all are served, nothing is lost."""
    relay = await start_relay(replays_max=2, database_pool_max=4)
    made = [event(f"e{number}", subject=f"a{number % 60}") for number in range(600)]
    await relay.publish(*made)
    await relay.settled()

    async def agent(number: int) -> list[str]:
        async with relay.stream(f"a{number}", cursor="earliest") as stream:
            return await stream.events(10)

    got = await asyncio.gather(*(agent(number) for number in range(60)))
    assert got == [[f"e{number + 60 * turn}" for turn in range(10)] for number in range(60)]


async def test_a_token_in_the_query_opens_only_if_allowed(start_relay: StartRelay) -> None:
    """allow_query_token lets EventSource in, which has no headers; the header still counts first; a bad one is 401."""
    relay = await start_relay(allow_query_token=True)
    token = relay.token()
    async with relay.http.stream("GET", f"/v1/agents/ann/events?access_token={token}") as response:
        assert response.status_code == 200
    problem(await relay.http.get("/v1/agents/bob/events?access_token=" + token), 403, "its own")
    problem(await relay.http.get("/v1/agents/ann/events?access_token=x"), 401)
    both = await relay.http.get(f"/v1/agents/ann/events?access_token={token}", headers=relay.bearer("bob"))
    problem(both, 403, "its own")


async def test_capacity_comes_back(relay: InProcess) -> None:
    """A thousand connections that come and go leave no session, no waiting protocol and no growth behind."""
    for _ in range(10):
        await asyncio.gather(*(relay.raw(b"GET /healthz HTTP/1.0\r\n\r\n") for _ in range(20)))
        async with AsyncExitStack() as opened:
            for number in range(8):
                stream = await opened.enter_async_context(relay.stream(f"a{number}", cursor="now"))
                await stream.frame()

    def empty() -> bool:
        parts = relay.relay
        return not parts._sessions._open and not parts._hub._live and not parts._guard._silent

    await eventually(empty, "nothing left behind")
