"""A wire between a client and its server that loses, or adds, what a scene says: the same on either loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536
Doom = Callable[[bytes], bool]
"""Whether a frame from the server, whole, gets lost."""


class Wire:
    """Takes clients in, and passes on every byte of theirs, and every frame of the server's unless it is to be lost."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""
        self.loses: Doom = lambda _: False
        self.is_deaf = False
        """Whether what clients send gets lost."""
        self.before_pong = b""
        """Said to each client before its first PONG."""

    async def lay(self, host: str) -> Wire:
        """Take clients in from now on, on this host."""
        self._server = await asyncio.start_server(self._joined, host, 0)
        self.url = f"nats://{host}:{self._server.sockets[0].getsockname()[1]}"
        return self

    def cut(self) -> None:
        """Break every connection, on both sides."""
        for pair in self._writers:
            for writer in pair:
                writer.transport.abort()
        self._writers.clear()

    def say(self, line: bytes) -> None:
        """Say something to the client that came last, as if the server had."""
        self._writers[-1][0].write(line)

    async def close(self) -> None:
        """Take nobody in any more, and leave nothing behind."""
        self.cut()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.append((writer, back))
        self._tasks.append(asyncio.ensure_future(self._up(reader, back)))
        self._tasks.append(asyncio.ensure_future(self._down(there, writer)))

    async def _up(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                if not self.is_deaf:
                    back.write(data)
        except (OSError, EOFError):
            pass  # the wire is broken on one side: it breaks on the other
        back.transport.abort()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while frame := await _frame(there):
                if frame == b"PONG\r\n" and self.before_pong:
                    writer.write(self.before_pong)
                    self.before_pong = b""
                if not self.loses(frame):
                    writer.write(frame)
        except (OSError, EOFError):
            pass  # the wire is broken on one side: it breaks on the other
        writer.transport.abort()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A line of the server's, with its message if it has one; empty at the end."""
    line = await reader.readline()
    if line.startswith((b"MSG ", b"HMSG ")):
        line += await reader.readexactly(int(line.split()[-1]) + 2)
    return line
