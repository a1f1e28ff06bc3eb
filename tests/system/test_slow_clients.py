"""Clients that read slowly or not at all: they lose their connection at worst, never an event, and cost little."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any

import pytest

from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, all_transports, event, eventually

pytestmark = pytest.mark.stack

SIZE = 100_000
COUNT = 150
"""15 MB: more than the kernel's buffers on both sides take."""


class SlowClient:
    """A connection with a small receive buffer that reads only when told to."""

    def __init__(self, relay: InProcess, place: str, agent: str = "ann") -> None:
        self._relay = relay
        self._request = (
            f"GET /v1/agents/{agent}/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {place}\r\n"
            f"Authorization: Bearer {relay.token(agent)}\r\n\r\n"
        )
        self._body = b""
        self._raw = b""
        self._seen: set[str] = set()
        self.ids: list[str] = []
        """The cursors of the events that came, in order."""

    async def __aenter__(self) -> SlowClient:
        host, port = self._relay.url.removeprefix("http://").split(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        self._sock = sock
        await asyncio.get_running_loop().sock_sendall(sock, self._request.encode())
        while b"\r\n\r\n" not in self._raw:
            self._raw += await self._receive()
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sock.close()

    def reset(self) -> None:
        """End the connection at once by a reset, as of a process that is killed with unread bytes."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    async def _receive(self) -> bytes:
        async with asyncio.timeout(20):
            return await asyncio.get_running_loop().sock_recv(self._sock, 262_144)

    async def read_until(self, cursor: str) -> None:
        """Read until this cursor has come. Raises ConnectionResetError."""
        while cursor not in self._seen:
            piece = await self._receive()
            if not piece:
                raise ConnectionResetError
            self._raw += piece
            self._take()

    def _take(self) -> None:
        """Note the ids of all whole blocks within whole chunks."""
        while (end := self._raw.find(b"\r\n")) >= 0:
            size = int(self._raw[:end], 16)
            if len(self._raw) < end + 2 + size + 2:
                break
            self._body += self._raw[end + 2 : end + 2 + size]
            self._raw = self._raw[end + 2 + size + 2 :]
        *blocks, self._body = self._body.split(b"\n\n")
        for block in blocks:
            lines = block.split(b"\n")
            found = [line[4:].decode() for line in lines if line.startswith(b"id: ")]
            self._seen.update(found)
            if b"event: task.assigned" in lines:
                self.ids += found


def unsent(relay: InProcess) -> int:
    """Bytes that the relay holds for its slowest session."""
    transports = [session._transport for session in relay.relay._sessions._open]
    return max((one.get_write_buffer_size() for one in transports if one is not None), default=0)


async def flood(relay: InProcess, count: int = COUNT) -> tuple[list[str], int]:
    """Publish much for ann; answers the cursors and the most bytes that were unsent meanwhile."""
    cursors: list[str] = []
    most = 0
    for _ in range(0, count, 5):
        cursors += await relay.publish(*(event(data="x" * SIZE) for _ in range(5)))
        most = max(most, unsent(relay))
    await relay.settled()
    return cursors, max(most, unsent(relay))


LIMITS: dict[str, Any] = {"slow_client_bytes": 200_000, "page_bytes": 500_000, "slow_client_timeout_s": 20}
BOUND = 64 * SIZE * 1.1 + 200_000
"""The first page of a replay, whose events' size nobody knows, and what a live session may hold."""


async def _both_live(relay: InProcess) -> bool:
    return await relay.metric("sse_sessions_live") == 2


@all_transports
async def test_a_slow_client_falls_behind_and_catches_up(start_relay: StartRelay, transport: dict[str, Any]) -> None:
    """G1, G7: a live client that does not read while 15 MB come is sent back to replay, where it sets the pace: the
    relay holds no more than a page for it, and it gets everything, once, in order; its neighbour notices nothing.
    """
    relay = await start_relay(**LIMITS)
    async with SlowClient(relay, "now") as slow, relay.stream(cursor="now") as quick:
        await quick.named("relay.cursor")
        await eventually(lambda: _both_live(relay), "two live sessions")
        reading = asyncio.create_task(quick.events(COUNT))
        cursors, most = await flood(relay)
        await reading
        assert quick.cursors == cursors
        assert most <= BOUND
        # only what is pushed can be behind; a session that reads the stream takes what comes as pages
        assert await relay.metric("sse_sessions_behind_total") >= 1 or transport["transport"] != "cursor"
        await slow.read_until(cursors[-1])
        assert slow.ids == cursors
        (last,) = await relay.publish(event())
        await slow.read_until(last)
        assert slow.ids == [*cursors, last]


@all_transports
async def test_what_is_in_the_window_is_sent_in_pieces(start_relay: StartRelay) -> None:
    """G7: a client that is behind by the whole window, all of it in memory, is sent a piece at a time: the window is
    64 MB, and a herd of clients that come back had each all of it in its buffer.
    """
    relay = await start_relay(**LIMITS)
    (place,) = await relay.publish(event())
    cursors, _ = await flood(relay)
    assert relay.relay._hub.start is not None
    async with SlowClient(relay, place) as slow:
        most = 0
        for cursor in cursors[:40]:
            await slow.read_until(cursor)
            most = max(most, unsent(relay))
        assert most <= 1_000_000
        await slow.read_until(cursors[-1])
        assert slow.ids == cursors


@all_transports
async def test_a_client_that_stops_reading_is_cut_and_keeps_its_place(start_relay: StartRelay) -> None:
    """A client that reads nothing for the limit loses its connection, not its place: it can get the rest."""
    relay = await start_relay(**(LIMITS | {"slow_client_timeout_s": 2}))
    async with SlowClient(relay, "now") as stuck:
        cursors = await relay.publish(event(), event(), event())
        await stuck.read_until(cursors[-1])
        cursors += (await flood(relay))[0]

        async def cut() -> bool:
            return await relay.metric("sse_sessions") == 0

        await eventually(cut, "the end of the slow session")
        # the kernel, told the same limit, may be the first to give up; then it looks as if the client had left
        reasons = [await relay.metric("sse_sessions_closed_total", reason=name) for name in ("slow", "client_left")]
        assert sorted(reasons) == [0, 1]
        with pytest.raises(ConnectionResetError):
            await stuck.read_until(cursors[-1])
        got = stuck.ids
    assert got == cursors[: len(got)]
    assert 0 < len(got) < len(cursors)
    async with relay.stream(last_event_id=got[-1]) as again:
        await again.events(len(cursors) - len(got))
        assert got + again.cursors == cursors


@all_transports
async def test_a_client_that_vanishes_leaves_nothing(start_relay: StartRelay) -> None:
    """A connection that is reset while much is unsent: its session ends at once, also in mid-replay."""
    relay = await start_relay(**LIMITS)
    cursors, _ = await flood(relay)
    async with SlowClient(relay, "earliest") as leaving:
        await leaving.read_until(cursors[3])
        linger = b"\1\0\0\0\0\0\0\0"
        leaving._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def gone() -> bool:
        return await relay.metric("sse_sessions") == 0

    await eventually(gone, "the end of the session")
    assert await relay.metric("sse_sessions_closed_total", reason="client_left") == 1
    assert not relay.relay._hub._live


async def test_who_leaves_in_mid_replay_is_no_fault(
    start_relay: StartRelay, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that resets its connection just before it is written to leaves no error in the log.

    A write that failed before the server had heard of the loss ended the handler with ConnectionResetError, and
    aiohttp logged an error with a trace: found by random requests, of which the reader took the first bytes only.
    """
    relay = await start_relay()
    await relay.publish(event())
    await relay.settled()
    places = relay.relay._places
    read_page, asked, left = places.read_page, asyncio.Event(), asyncio.Event()
    clients: list[SlowClient] = []

    async def read_and_lose_the_reader(*args: Any) -> Any:
        page = await read_page(*args)
        asked.set()
        await left.wait()
        clients[0].reset()  # in the same turn of the loop as the session's next write
        return page

    monkeypatch.setattr(places, "read_page", read_and_lose_the_reader)
    async with SlowClient(relay, "earliest") as client:
        clients.append(client)
        await asked.wait()
        left.set()
        await eventually(lambda: _has_no_session(relay), "the end of the session")
    assert await relay.metric("sse_sessions_closed_total", reason="client_left") == 1
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def _has_no_session(relay: InProcess) -> bool:
    return await relay.metric("sse_sessions") == 0
