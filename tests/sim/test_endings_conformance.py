"""How connections end on a simulated network and on loopback: what readers and writers are told, by asyncio's streams
and by plain protocols, in whatever order close, abort, write and the other side's end come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.sim.test_tcp_conformance import Ground, Noting, _until
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.conformance
LIMIT_S = 10.0
SHORT_S = 0.05
"""Long enough for a segment to arrive in either world."""
MANY = b"x" * 16 * 1024 * 1024
"""More than both kernels' buffers take."""


class Streams:
    """A client and a server by asyncio's streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server_reader: asyncio.StreamReader
    server_writer: asyncio.StreamWriter

    @classmethod
    async def connected(cls, ground: Ground) -> Streams:
        """A new connection."""
        streams = cls()
        accepted = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            streams.server_reader, streams.server_writer = reader, writer
            accepted.set()

        server = await asyncio.start_server(accept, ground.address, 0)
        port = server.sockets[0].getsockname()[1]
        streams.reader, streams.writer = await asyncio.open_connection(ground.address, port)
        await accepted.wait()
        server.close()
        return streams


async def told(what: Awaitable[Any]) -> Any:
    """What it answers, or the error's type and number."""
    try:
        return await what
    except asyncio.IncompleteReadError as error:
        return "incomplete", error.partial, error.expected
    except OSError as error:
        return type(error).__name__, error.errno


async def _end_in_the_middle_of_a_message(ground: Ground) -> Any:
    streams = await Streams.connected(ground)
    streams.server_writer.write(b"half of a mess")
    streams.server_writer.close()
    exactly = await told(streams.reader.readexactly(20))
    rest = await told(streams.reader.read(5)), streams.reader.at_eof()
    streams.writer.close()
    return exactly, rest, await told(streams.writer.wait_closed())


async def _end_in_the_middle_of_a_line(ground: Ground) -> Any:
    streams = await Streams.connected(ground)
    streams.server_writer.write(b"a line\nhalf of")
    streams.server_writer.close()
    lines = [await told(streams.reader.readuntil()), await told(streams.reader.readuntil())]
    streams.writer.close()
    return lines, await told(streams.writer.wait_closed())


async def _reset_under_a_reader(ground: Ground) -> Any:
    """Bytes that came before the reset are gone with it, unless they were read before."""
    streams = await Streams.connected(ground)
    streams.server_writer.write(b"read before")
    first = await told(streams.reader.readexactly(11))
    streams.server_writer.transport.pause_reading()  # type: ignore[attr-defined]
    streams.writer.write(b"never read")
    await asyncio.sleep(SHORT_S)
    streams.server_writer.transport.abort()
    second = await told(streams.reader.read(5))
    third = await told(streams.reader.read(5))
    streams.writer.write(b"into the void")
    drained = await told(streams.writer.drain())
    streams.writer.close()
    return first, second, third, drained, await told(streams.writer.wait_closed())


async def _reset_under_a_writer(ground: Ground) -> Any:
    """Who waits for room learns of the end, though it reads nothing."""
    streams = await Streams.connected(ground)
    streams.writer.transport.pause_reading()  # type: ignore[attr-defined]
    streams.server_writer.write(MANY)
    draining = asyncio.ensure_future(told(streams.server_writer.drain()))
    await asyncio.sleep(SHORT_S)
    before = draining.done()
    streams.writer.transport.abort()
    drained = await draining
    return before, drained, await told(streams.server_writer.wait_closed())


async def _reset_while_nobody_reads(ground: Ground) -> Any:
    """Who neither reads nor has anything to write does not hear of a reset until it does either."""
    client, server = await ground.connected()
    server.transport.pause_reading()
    client.transport.pause_reading()
    server.transport.write(b"never read")
    await asyncio.sleep(SHORT_S)
    client.transport.abort()
    await asyncio.sleep(SHORT_S)
    before = list(server.notes)
    server.transport.resume_reading()
    await server.lost
    return before, server.notes, client.notes


async def _reset_noticed_by_a_write(ground: Ground) -> Any:
    client, server = await ground.connected()
    server.transport.pause_reading()
    client.transport.pause_reading()
    server.transport.write(b"never read")
    await asyncio.sleep(SHORT_S)
    client.transport.abort()
    await asyncio.sleep(SHORT_S)
    server.transport.write(b"into the void")
    await server.lost
    return server.notes


async def _closed_with_unread_bytes(ground: Ground) -> Any:
    """A close, not an abort: the kernel resets all the same."""
    client, server = await ground.connected()
    client.transport.pause_reading()
    server.transport.write(b"never read")
    await asyncio.sleep(SHORT_S)
    client.transport.close()
    await server.lost
    await client.lost
    return client.notes, server.notes


async def _closed_by_both(ground: Ground) -> Any:
    client, server = await ground.connected()
    client.transport.close()
    server.transport.close()
    await client.lost
    await server.lost
    return client.notes, server.notes


async def _written_to_after_its_own_close(ground: Ground) -> Any:
    """What is written after a close with nothing buffered goes nowhere, and nobody says so."""
    client, server = await ground.connected()
    client.transport.write(b"before")
    client.transport.close()
    client.transport.write(b"after")
    client.transport.close()
    await client.lost
    client.transport.write(b"long after")
    await server.lost
    return client.notes, server.notes, server.received, client.transport.is_closing()


async def _written_to_after_its_own_abort(ground: Ground) -> Any:
    client, server = await ground.connected()
    client.transport.abort()
    client.transport.write(b"after")
    client.transport.abort()
    client.transport.close()
    await client.lost
    await server.lost
    return client.notes, server.notes, server.received


async def _written_to_after_its_own_end(ground: Ground) -> Any:
    client, server = await ground.connected(keep_open=True)
    client.transport.write_eof()
    client.transport.write_eof()
    with pytest.raises(RuntimeError) as caught:
        client.transport.write(b"after the end")
    server.transport.write(b"still heard")
    await _until(lambda: client.received == b"still heard")
    server.transport.close()
    client.transport.close()
    await client.lost
    await server.lost
    return str(caught.value), client.notes, server.notes


async def _aborted_after_its_own_end(ground: Ground) -> Any:
    """The end is out already: the other side sees no more than that."""
    client, server = await ground.connected(keep_open=True)
    client.transport.write_eof()
    await _until(lambda: "eof" in server.notes)
    client.transport.abort()
    await client.lost
    await asyncio.sleep(SHORT_S)
    before = list(server.notes)
    server.transport.write(b"anybody?")
    await asyncio.sleep(SHORT_S)
    server.transport.write(b"nobody")
    await server.lost
    return before, server.notes, client.notes


async def _aborted_with_bytes_to_send(ground: Ground) -> Any:
    """What the kernel has is sent; what the program still had is lost; the reader sees a plain end."""
    client, server = await ground.connected()
    client.transport.pause_reading()
    server.transport.write(MANY)
    await asyncio.sleep(SHORT_S)
    server.transport.abort()
    await server.lost
    client.transport.resume_reading()
    await client.lost
    return server.notes, client.notes, 0 < len(client.received) < len(MANY)


async def _dropped_as_soon_as_accepted(ground: Ground) -> Any:
    """A server that does not want its client: connected, then at its end, whatever the client had sent meanwhile."""
    loop = asyncio.get_running_loop()

    class Unwelcoming(Noting):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.close()

    server = await loop.create_server(Unwelcoming, ground.address, 0)
    _, client = await loop.create_connection(Noting, ground.address, server.sockets[0].getsockname()[1])
    await client.lost
    server.close()
    return client.notes


SCENES: list[Callable[[Ground], Awaitable[Any]]] = [
    _end_in_the_middle_of_a_message,
    _end_in_the_middle_of_a_line,
    _reset_under_a_reader,
    _reset_under_a_writer,
    _reset_while_nobody_reads,
    _reset_noticed_by_a_write,
    _closed_with_unread_bytes,
    _closed_by_both,
    _written_to_after_its_own_close,
    _written_to_after_its_own_abort,
    _written_to_after_its_own_end,
    _aborted_after_its_own_end,
    _aborted_with_bytes_to_send,
    _dropped_as_soon_as_accepted,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__.strip("_"))
async def test_connections_end_as_on_loopback(scene: Callable[[Ground], Awaitable[Any]]) -> None:
    """One scene in both worlds: answers, exceptions with their numbers, and callbacks are equal, in order."""
    async with asyncio.timeout(LIMIT_S):
        real = await scene(Ground("127.0.0.1"))
    assert await asyncio.get_running_loop().run_in_executor(None, _simulated, scene) == real


def _simulated(scene: Callable[[Ground], Awaitable[Any]]) -> Any:
    async def play(_: Any) -> Any:
        return await scene(Ground("a"))

    return SmallWorld().result_of(play, 60.0)
