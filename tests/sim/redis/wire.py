"""A client of Redis in the protocol's own words: it shares nothing with the model, nor with any library."""

from __future__ import annotations

import asyncio
from typing import Any

SIGNS = {b"+": "status", b"-": "error", b",": "double", b"%": "map", b"~": "set", b">": "push"}
UNTIL_S = 20.0
"""How long an answer that is bound to come may take."""


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def lay(cls, address: tuple[str, int]) -> Wire:
        """Connect."""
        return cls(*await asyncio.open_connection(*address))

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)

    def send(self, *words: Any) -> None:
        """Send a command, and wait for nothing."""
        self._writer.write(command(*words))

    async def ask(self, *words: Any) -> Any:
        """Send a command; its answer, or how the connection ended instead."""
        self.send(*words)
        return await self.hear()

    async def hear(self) -> Any:
        """The next answer: what is no plain string, number, list or null goes with its kind."""
        try:
            async with asyncio.timeout(UNTIL_S):
                return await self._reply()
        except (ConnectionError, asyncio.IncompleteReadError):
            return ("over",)

    async def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()

    async def _reply(self) -> Any:
        line = await self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise asyncio.IncompleteReadError(line, None)
        sign, text = line[:1], line[1:-2]
        if sign == b":":
            return int(text)
        if sign in (b"+", b"-", b","):
            return SIGNS[sign], text.decode("latin-1")
        if sign in (b"$", b"="):
            if text == b"-1":
                return None
            data = (await self._reader.readexactly(int(text) + 2))[:-2]
            return data if sign == b"$" else ("verbatim", data)
        if sign == b"_":
            return ("null",)
        assert sign in (b"*", b"%", b"~", b">"), line
        if text == b"-1":
            return ("null list",)
        parts = [await self._reply() for _ in range(int(text) * (2 if sign == b"%" else 1))]
        return parts if sign == b"*" else (SIGNS[sign], parts)


def command(*words: Any) -> bytes:
    """A command's bytes."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
