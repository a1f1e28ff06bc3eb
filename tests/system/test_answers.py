"""Ordinary answers: pages are bounded, who does not take an answer is cut, a full replica still answers its probes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from system.cursor import Position
from system.database import DatabaseUnavailable
from system.http import app
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually, problem

pytestmark = pytest.mark.stack

COUNT, SIZE = 40, 250_000
"""10 MB: more than the kernel's buffers on both sides take."""
BYTES_A_SECOND = 50_000
"""What a slow client reads."""
TTL_S = 1.0
OPENAPI = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.asynccontextmanager
async def asking(relay: InProcess, request: bytes) -> AsyncIterator[socket.socket]:
    """A connection with a small receive buffer that has asked for something and reads nothing by itself."""
    host, port = relay.url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, int(port)))
        await loop.sock_sendall(sock, request)
        yield sock


def page_request(relay: InProcess, agent: str = "ann") -> bytes:
    """A request for a page of everything."""
    return (
        f"GET /v1/agents/{agent}/events?cursor=earliest&limit=1000 HTTP/1.1\r\nHost: x\r\n"
        f"Accept: application/json\r\nAuthorization: Bearer {relay.token(agent)}\r\n\r\n"
    ).encode()


async def with_much_to_read(relay: InProcess) -> None:
    """Publish to all agents what makes a large page."""
    for _ in range(0, COUNT, 10):
        await relay.publish(*(event(subject="_all", data="x" * SIZE) for _ in range(10)))
    await relay.settled()


async def pages_are(relay: InProcess, count: int) -> None:
    """Wait until so many pages are under way."""

    async def reached() -> bool:
        return await relay.metric("relay_pages") == count

    await eventually(reached, f"{count} pages under way")


async def connections_are(relay: InProcess, count: int) -> None:
    """Wait until so many connections are open."""
    server = relay.relay._guard.server
    assert server is not None
    await eventually(lambda: len(server.connections) == count, f"{count} connections")


def without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have only the relay's own deadline end a connection."""
    monkeypatch.setattr(app, "_notice_dead_peer", lambda *_: None)


async def test_pages_have_a_limit_for_an_agent_and_for_all(start_relay: StartRelay) -> None:
    """G7: pages that nobody reads hold their places, and no more than those: 429 beyond the agent's own, 503 beyond the
    replica's, both with Retry-After; streams go on; whoever leaves makes room.
    """
    relay = await start_relay(pages_max=3, pages_per_agent_max=2, body_bytes_max=8_000_000)
    await with_much_to_read(relay)
    async with contextlib.AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(asking(relay, page_request(relay)))
        await pages_are(relay, 2)
        refused = problem(await relay.page(), 429, "ann has 2 pages under way, its limit")
        assert refused["type"] == "urn:meshrelay:problem:too-many-pages"
        assert (await relay.page("bob", limit=1)).status_code == 200
        await held.enter_async_context(asking(relay, page_request(relay, "bob")))
        await pages_are(relay, 3)
        problem(await relay.page("cyd"), 503, "3 pages under way, its limit")
        async with relay.stream(cursor="now") as stream:
            assert stream.response.status_code == 200
        assert await relay.metric("relay_pages_refused_total", limit="agent") == 1
        assert await relay.metric("relay_pages_refused_total", limit="replica") == 1
    await pages_are(relay, 0)
    assert (await relay.page()).status_code == 200
    assert not relay.relay._answers._per_agent


async def test_a_refused_page_keeps_no_place(start_relay: StartRelay) -> None:
    """Whatever becomes of a page, a 400, a 410 or a 503, its place is free afterwards."""
    relay = await start_relay(pages_max=1, pages_per_agent_max=1)
    (cursor,) = await relay.publish(event())
    await relay.settled()
    for _ in range(3):
        problem(await relay.page(limit=0), 400, "limit")
        problem(await relay.page(cursor="aaaaaa-1"), 410, "another life")
        assert (await relay.page(cursor="aaaaaa-1", on_gone="skip")).status_code == 200
        assert (await relay.page(cursor=cursor)).status_code == 200
    assert await relay.metric("relay_pages") == 0


async def test_a_page_that_waited_past_its_token_is_not_given(start_relay: StartRelay) -> None:
    """Somebody locks the table while a page is read, and the token ends meanwhile: what was published since is nobody's
    any more. A stream has a timer for that; the page was given.
    """
    relay = await start_relay()
    await relay.publish(event())
    await relay.settled()
    holder = await asyncpg.connect(relay.dsn)
    await holder.execute("BEGIN")
    await holder.execute("LOCK TABLE agent_events IN ACCESS EXCLUSIVE MODE")
    headers = {"Accept": "application/json", "Authorization": f"Bearer {relay.token('ann', ttl_s=TTL_S)}"}
    asking = asyncio.create_task(relay.http.get("/v1/agents/ann/events", headers=headers))
    await pages_are(relay, 1)
    await asyncio.sleep(TTL_S + 0.1)
    await holder.execute("ROLLBACK")
    await holder.close()
    problem(await asking, 401, "expired")
    assert await relay.metric("relay_pages") == 0


async def test_who_takes_a_page_too_slowly_is_cut(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that reads a page by drops is cut at the limit, by the relay alone: for the kernel it is well. The place
    is free then, it is counted, and is no fault in the log.
    """
    without_the_kernel(monkeypatch)
    relay = await start_relay(pages_max=1, slow_client_timeout_s=1)
    await with_much_to_read(relay)
    async with asking(relay, page_request(relay)) as sock:
        await pages_are(relay, 1)
        reading = asyncio.create_task(_drop_by_drop(sock))
        await pages_are(relay, 0)
        assert not reading.done()
        reading.cancel()
    assert await relay.metric("relay_answers_cut_total") == 1
    assert (await relay.page()).status_code == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("kernel", [True, False])
async def test_a_connection_is_not_held_by_answers_that_nobody_takes(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, kernel: bool
) -> None:
    """Requests without a token, one behind the other, by connections that never read: all are cut within the limit."""
    if not kernel:
        without_the_kernel(monkeypatch)
    relay = await start_relay(connections_max=5, slow_client_timeout_s=1)
    async with contextlib.AsyncExitStack() as held:
        tasks = []
        for _ in range(5):
            sock = await held.enter_async_context(asking(relay, OPENAPI))
            tasks.append(asyncio.create_task(_ask_on(sock)))
        await connections_are(relay, 5)
        await connections_are(relay, 0)
        await asyncio.gather(*tasks)
    assert (await relay.raw(HEALTH.replace(b"1.1", b"1.0"))).startswith(b"HTTP/1.0 200")


async def _drop_by_drop(sock: socket.socket) -> None:
    """Read; what the relay's kernel still holds of a connection that was cut comes, too, and takes a minute."""
    loop = asyncio.get_running_loop()
    while True:
        piece = await loop.sock_recv(sock, 1_024)
        if not piece:
            return
        await asyncio.sleep(len(piece) / BYTES_A_SECOND)


async def _ask_on(sock: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.get_running_loop().sock_sendall(sock, OPENAPI * 100)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
async def test_a_connection_does_not_outlive_its_closing(start_relay: StartRelay) -> None:
    """An answer that fits into the relay's buffer makes nobody wait; when keep-alive closes the connection, what is
    unsent does not keep it open for ever.
    """
    relay = await start_relay(keep_alive_s=1, slow_client_timeout_s=2)
    async with asking(relay, OPENAPI) as sock:
        await connections_are(relay, 1)
        server = relay.relay._guard.server
        assert server is not None
        (handler,) = server.connections
        transport = handler.transport
        assert transport is not None
        while not transport.get_write_buffer_size():
            await asyncio.get_running_loop().sock_sendall(sock, OPENAPI)
            await asyncio.sleep(0.001)
        await eventually(transport.is_closing, "the end of keep-alive")
        assert transport.get_write_buffer_size() > 0
        await connections_are(relay, 0)


async def test_probes_are_answered_by_a_full_replica(start_relay: StartRelay) -> None:
    """At capacity each probe is answered, once, on a connection of its own; anything else there is refused with 503."""
    relay = await start_relay(connections_max=3)
    async with contextlib.AsyncExitStack() as held:
        for _ in range(3):
            await held.enter_async_context(asking(relay, HEALTH))
        await connections_are(relay, 3)
        for path in (b"/healthz", b"/readyz", b"/metrics"):
            answer = await relay.raw(HEALTH.replace(b"/healthz", path) * 2)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.count(b"HTTP/1.1") == 1
        for request in (OPENAPI, page_request(relay), HEALTH.replace(b"/healthz", b"/nothing")):
            answer = await relay.raw(request * 2)
            assert answer.startswith(b"HTTP/1.1 503")
            assert answer.count(b"HTTP/1.1") == 1
            assert b"Retry-After: 5\r\n" in answer


async def test_the_places_of_probes_are_not_kept_by_the_silent(start_relay: StartRelay) -> None:
    """Connections that hold the spare places and say nothing are cut; probes are answered again then."""
    relay = await start_relay(connections_max=1, request_timeout_s=1)
    async with asking(relay, HEALTH), contextlib.AsyncExitStack() as held:
        for _ in range(app.SPARE_CONNECTIONS):
            await held.enter_async_context(asking(relay, b""))
        await connections_are(relay, 1 + app.SPARE_CONNECTIONS)
        assert (await relay.raw(HEALTH)).startswith(b"HTTP/1.1 503")

        async def probed() -> bool:
            return (await relay.raw(HEALTH)).startswith(b"HTTP/1.1 200")

        await eventually(probed, "a probe's answer")


async def test_postgres_that_fails_at_an_epochs_tag_is_503(
    relay: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever look-up of an epoch's tag fails, the answer is 'the same again, soon', not a fault; nothing is said of
    a foreign cursor that can't be told whole. Publishing goes on.
    """
    made = event()
    (cursor,) = await relay.publish(made)
    await relay.settled()
    places = relay.relay._places
    ensure_tag = places.ensure_tag

    def fail_at(call: int) -> None:
        calls = 0

        async def ensure(position: Position) -> None:
            nonlocal calls
            task = asyncio.current_task()
            if task is not None and task.get_name() != "tail":  # which looks at tags, too, whenever it reads
                calls += 1
                if calls == call:
                    raise DatabaseUnavailable("the connection was reset")
            await ensure_tag(position)

        monkeypatch.setattr(places, "ensure_tag", ensure)

    asked: list[tuple[str, Any]] = [
        ("a place's", lambda: relay.page(cursor="earliest")),
        ("a foreign cursor's", lambda: relay.page(cursor="aaaaaa-1")),
        ("an ack's", lambda: relay.ack(cursor)),
        ("a foreign ack's", lambda: relay.ack("aaaaaa-1")),
    ]
    for _, ask in asked:
        fail_at(1)
        problem(await ask(), 503, "the connection was reset")
    fail_at(5)  # a place has four
    problem(await relay.page(cursor="earliest"), 503, "the connection was reset")
    fail_at(5)
    async with relay.stream(cursor="earliest") as stream:
        assert await stream.events(1) == [made["id"]]
    fail_at(1)
    answer = await relay.post(made)
    assert answer.status_code == 202
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
