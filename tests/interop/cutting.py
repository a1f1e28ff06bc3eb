"""A TCP proxy within the test that cuts connections: at a byte, or all at once, by a reset or by an early end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

Way = Literal["reset", "end"]
"""RST, or FIN within an answer: to a client the one is an error, the other an answer cut short."""

PIECE_BYTES = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Forwards every connection to `target`, which may change; notes what clients ask and what passes."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.cuts = 0
        self._plan: deque[tuple[int, Way]] = deque()
        self._asked: list[bytearray] = []
        self._passed = bytearray()
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, target: tuple[str, int]) -> AsyncIterator[CuttingProxy]:
        """A proxy for the length of an `async with`."""
        proxy = cls(target)
        proxy._server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        try:
            yield proxy
        finally:
            proxy._server.close()
            proxy.cut()
            await asyncio.gather(*proxy._tasks)
            await proxy._server.wait_closed()

    @property
    def url(self) -> str:
        """Its base address, without a slash at the end."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def requests(self) -> list[str]:
        """The heads of all requests so far, connection by connection."""
        heads = [head for asked in self._asked for head in bytes(asked).split(b"\r\n\r\n")]
        return [head.decode("latin-1") for head in heads if head]

    @property
    def positions(self) -> list[str | None]:
        """The Last-Event-ID of each request so far."""
        return [_header(head, "last-event-id") for head in self.requests]

    @property
    def heartbeats(self) -> int:
        """The heartbeats that have passed, each in an HTTP chunk of its own."""
        return bytes(self._passed).count(b"2\r\n:\n\r\n")

    def cut_each(self, *plan: tuple[int, Way]) -> None:
        """Cut the connections to come, one by one, after so many bytes to the client; later ones stay."""
        self._plan.extend(plan)

    def cut(self, way: Way = "reset") -> None:
        """Cut every open connection now."""
        for client in list(self._clients):
            self._end(client, way)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = bytearray()
        self._asked.append(asked)
        self._clients.add(writer)
        limit = self._plan.popleft() if self._plan else None
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(*self.target)
            up = asyncio.create_task(_pump(reader, upstream, asked))
            try:
                if await self._answer(answers, writer, limit):
                    self._end(writer, limit[1] if limit else "reset")
            finally:
                up.cancel()
                await asyncio.wait([up])
        except OSError:
            pass  # either side has gone; so does the other, below
        finally:
            self._clients.discard(writer)
            for end in filter(None, (upstream, writer)):
                end.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: tuple[int, Way] | None
    ) -> bool:
        """Forward answers until they end, or up to the limit: then True."""
        left = limit[0] if limit else None
        while left is None or left > 0:
            piece = await reader.read(PIECE_BYTES if left is None else min(left, PIECE_BYTES))
            if not piece:
                return False
            self._passed += piece
            writer.write(piece)
            await writer.drain()
            left = None if left is None else left - len(piece)
        return True

    def _end(self, client: asyncio.StreamWriter, way: Way) -> None:
        self.cuts += 1
        if way == "end":
            client.close()
            return
        with contextlib.suppress(OSError):  # closed already
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, noted: bytearray) -> None:
    """Forward what a client asks, and its end."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            noted += piece
            writer.write(piece)
            await writer.drain()
    writer.close()


def _header(head: str, name: str) -> str | None:
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return None
