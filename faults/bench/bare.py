"""The baseline's sending end, as a process of its own: a server of nothing but uvloop's `transport.write`.

It answers every request with what the relay's stream begins with, and then, on command, writes a load's bytes in the
relay's write sizes, made ready beforehand. Commanded like the reader; it has no flow control, no sessions, no metrics.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Any, cast

import uvloop

from faults.bench.load import TAG, Load, rounds
from system.frames import bookmark_frame, chunk, retry_frame

GREETING = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunk([retry_frame(1_000)])
    + chunk([bookmark_frame(f"{TAG}-0")])
)


class Sender:
    """The accepted connections, and the load to write to them."""

    def __init__(self) -> None:
        self.transports: list[asyncio.Transport] = []
        self._rounds: list[list[tuple[int | None, bytes]]] = []
        self._server: asyncio.Server | None = None

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command and answer it."""
        match command.pop("do"):
            case "listen":
                loop = asyncio.get_running_loop()
                self._server = await loop.create_server(lambda: _Peer(self), "127.0.0.1", 0, backlog=1024)
                return {"port": self._server.sockets[0].getsockname()[1]}
            case "prepare":
                self._rounds = rounds(Load(**command["load"]), per_round=command["per_round"])
                gc.collect()
                return {"rounds": len(self._rounds)}
            case "write":
                return await self._write(**command)
            case other:
                return {"error": f"expected listen, prepare or write, got {other!r}"}

    async def _write(self, *, round_s: float = 0.0) -> dict[str, Any]:
        """Write all rounds, each in a turn of the loop, or one every `round_s`."""
        loop = asyncio.get_running_loop()
        started_ns = time.monotonic_ns()
        started = loop.time()
        writes = 0
        for number, batch in enumerate(self._rounds, start=1):
            for receiver, payload in batch:
                receivers = self.transports if receiver is None else [self.transports[receiver]]
                writes += len(receivers)
                for transport in receivers:
                    transport.write(payload)
            await asyncio.sleep(max(0.0, started + number * round_s - loop.time()) if round_s else 0)
        return {"started_ns": started_ns, "writes": writes}


class _Peer(asyncio.Protocol):
    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            self._head = b""
            self._transport.write(GREETING)
            self._sender.transports.append(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport in self._sender.transports:
            self._sender.transports.remove(self._transport)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    sender = Sender()
    while line := await commands.readline():
        answer = await sender.do(json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_main())
