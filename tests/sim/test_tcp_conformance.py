"""Simulated connections against loopback's: the same callbacks, in the same order, with the same exceptions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohappyeyeballs
import pytest

from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.conformance
LIMIT_S = 5.0


class Noting(asyncio.Protocol):
    """Notes every callback; bytes by their number, neighbours joined."""

    def __init__(self, keep_open: bool = False) -> None:
        self.notes: list[Any] = []
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self.received = b""
        self._keep_open = keep_open

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.notes.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.notes[-1] != "data":
            self.notes.append("data")

    def eof_received(self) -> bool:
        self.notes.append("eof")
        return self._keep_open

    def pause_writing(self) -> None:
        self.notes.append("pause")

    def resume_writing(self) -> None:
        self.notes.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.notes.append(("lost", type(exc).__name__ if exc else None))
        if not self.lost.done():
            self.lost.set_result(None)


class Ground:
    """A server and a client on either kind of loop."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.accepted: list[Noting] = []

    async def connected(self, *, keep_open: bool = False) -> tuple[Noting, Noting]:
        """A new connection: the client's side and the server's."""
        loop = asyncio.get_running_loop()

        def accept() -> Noting:
            self.accepted.append(Noting(keep_open))
            return self.accepted[-1]

        server = await loop.create_server(accept, self.address, 0)
        port = server.sockets[0].getsockname()[1]
        _, client = await loop.create_connection(lambda: Noting(keep_open), self.address, port)
        await _until(lambda: bool(self.accepted) and self.accepted[-1].transport is not None)
        server.close()
        return client, self.accepted[-1]


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  what it waits for is a protocol's callback
        await asyncio.sleep(0.001)


async def _closed_by_the_server(ground: Ground) -> Any:
    client, server = await ground.connected()
    server.transport.write(b"last words")
    server.transport.close()
    await client.lost
    await server.lost
    return client.notes, server.notes, client.received


async def _aborted_with_unread_bytes(ground: Ground) -> Any:
    client, server = await ground.connected()
    client.transport.pause_reading()
    server.transport.write(b"never read")
    await asyncio.sleep(0.05)
    client.transport.abort()
    await server.lost
    await client.lost
    return client.notes, server.notes


async def _written_to_after_its_end(ground: Ground) -> Any:
    client, server = await ground.connected(keep_open=True)
    client.transport.close()
    await client.lost
    await asyncio.sleep(0.05)
    server.transport.write(b"into the void")
    await asyncio.sleep(0.05)
    server.transport.write(b"again")
    await server.lost
    return client.notes, server.notes


async def _half_closed(ground: Ground) -> Any:
    client, server = await ground.connected(keep_open=True)
    client.transport.write(b"question")
    client.transport.write_eof()
    await _until(lambda: "eof" in server.notes)
    server.transport.write(b"answer")
    server.transport.close()
    await server.lost
    await _until(lambda: "eof" in client.notes)
    client.transport.close()
    await client.lost
    return client.notes, server.notes, server.received, client.received


async def _a_reader_that_waits(ground: Ground) -> Any:
    client, server = await ground.connected()
    client.transport.pause_reading()
    size = 16 * 1024 * 1024
    server.transport.write(b"x" * size)
    await asyncio.sleep(0.05)
    buffered = server.transport.get_write_buffer_size()
    client.transport.resume_reading()
    await _until(lambda: len(client.received) >= size)
    await _until(lambda: "resume" in server.notes)
    server.transport.close()
    await client.lost
    await server.lost
    return client.notes, server.notes, buffered > 1_000_000


async def _closed_with_bytes_to_send(ground: Ground) -> Any:
    client, server = await ground.connected()
    client.transport.pause_reading()
    server.transport.write(b"x" * 16 * 1024 * 1024)
    server.transport.close()
    await asyncio.sleep(0.05)
    before = list(server.notes)
    client.transport.resume_reading()
    await server.lost
    await client.lost
    return before, server.notes, client.notes, len(client.received)


async def _refused(ground: Ground) -> Any:
    client, _ = await ground.connected()
    loop = asyncio.get_running_loop()
    port = client.transport.get_extra_info("peername")[1]
    client.transport.close()
    with pytest.raises(OSError) as caught:  # noqa: PT011  its type and number are what is compared
        await loop.create_connection(asyncio.Protocol, ground.address, port)
    return type(caught.value).__name__, caught.value.errno


async def _by_a_socket_of_its_own(ground: Ground) -> Any:
    """As aiohttp's client connects: a socket first, its connection next, a transport last."""
    loop = asyncio.get_running_loop()
    _, server = await ground.connected()
    listening = await loop.create_server(lambda: server, ground.address, 0)
    server.notes.clear()
    infos = await loop.getaddrinfo(ground.address, listening.sockets[0].getsockname()[1], type=socket.SOCK_STREAM)
    sock = await aiohappyeyeballs.start_connection(infos[:1])
    _, client = await loop.create_connection(Noting, sock=sock)
    client.transport.write(b"question")
    await _until(lambda: "data" in server.notes)
    server.transport.write(b"answer")
    server.transport.close()
    await client.lost
    listening.close()
    return client.notes, server.notes, server.received, client.received


async def _refused_to_a_socket_of_its_own(ground: Ground) -> Any:
    client, _ = await ground.connected()
    loop = asyncio.get_running_loop()
    port = client.transport.get_extra_info("peername")[1]
    client.transport.close()
    infos = await loop.getaddrinfo(ground.address, port, type=socket.SOCK_STREAM)
    with pytest.raises(OSError) as caught:  # noqa: PT011  its type and number are what is compared
        await aiohappyeyeballs.start_connection(infos[:1])
    return type(caught.value).__name__, caught.value.errno


async def _a_socket_closed_after_its_connection(ground: Ground) -> Any:
    loop = asyncio.get_running_loop()
    _, server = await ground.connected()
    listening = await loop.create_server(lambda: server, ground.address, 0)
    server.notes.clear()
    infos = await loop.getaddrinfo(ground.address, listening.sockets[0].getsockname()[1], type=socket.SOCK_STREAM)
    sock = await aiohappyeyeballs.start_connection(infos[:1])
    sock.close()
    await server.lost
    listening.close()
    return server.notes


SCENES: list[Callable[[Ground], Awaitable[Any]]] = [
    _closed_by_the_server,
    _aborted_with_unread_bytes,
    _written_to_after_its_end,
    _half_closed,
    _a_reader_that_waits,
    _closed_with_bytes_to_send,
    _refused,
    _by_a_socket_of_its_own,
    _refused_to_a_socket_of_its_own,
    _a_socket_closed_after_its_connection,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__.strip("_"))
async def test_connections_behave_as_on_loopback(scene: Callable[[Ground], Awaitable[Any]]) -> None:
    """One scene in both worlds: what each side's protocol was told is equal, step by step."""
    async with asyncio.timeout(LIMIT_S):
        real = await scene(Ground("127.0.0.1"))
    task = asyncio.get_running_loop().run_in_executor(None, _simulated, scene)
    assert await task == real


def _simulated(scene: Callable[[Ground], Awaitable[Any]]) -> Any:
    world = SmallWorld()

    async def play(_: Any) -> Any:
        return await scene(Ground("a"))

    return world.result_of(play, 60.0)


async def test_a_server_that_does_not_accept_is_connected_to_until_its_backlog_is_full() -> None:
    """The kernel answers for it: so many and one more are connected, whoever comes then hears nothing. A paused server
    to which a mesh dialled for a day had tens of thousands of connections to accept at once.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        real = await _dialled("127.0.0.1", deaf.getsockname()[1])
    world = SmallWorld()

    async def listen(_: Any) -> None:
        await asyncio.get_running_loop().create_server(asyncio.Protocol, "0.0.0.0", 80, backlog=1)
        await asyncio.sleep(1e6)

    server = world.start(world.b, listen)
    world.environment.at(1_000, server.pause)
    world.start(world.a, lambda _: _dialled("b", 80))
    task = asyncio.get_running_loop().run_in_executor(None, world.run, 10.0)
    await task
    assert world.results["a"] == real == [True, True, False, False]


async def _dialled(address: str, port: int) -> list[bool]:
    """Whether each of four connections, made one after another, came to be within half a second."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.1)
    connected, open_ones = [], []
    for _ in range(4):
        try:
            async with asyncio.timeout(0.5):
                open_ones.append(await loop.create_connection(asyncio.Protocol, address, port))
            connected.append(True)
        except TimeoutError:
            connected.append(False)
    for transport, _ in open_ones:
        transport.abort()
    return connected
