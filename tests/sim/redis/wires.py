"""Scenes of bytes: requests that come in pieces, together, by hand, or broken."""

from __future__ import annotations

import asyncio

from tests.sim.redis.stage import Stage
from tests.sim.redis.wire import command


async def by_hand(at: Stage) -> None:
    """Requests as a person types them, and lines that say nothing."""
    wire = await at.join()
    wire.write(b"PING\r\nSET a 1\n\r\n\nGET   a\r\n*0\r\n*-1\r\nping hello\r\n")
    at.see([await wire.hear() for _ in range(4)])


async def in_pieces(at: Stage) -> None:
    """A request is done when its last byte has come."""
    wire = await at.join()
    for byte in command("SET", "a", b"\r\n*3\r\n") + command("GET", "a"):
        wire.write(bytes([byte]))
        await asyncio.sleep(0.001)
    at.see([await wire.hear() for _ in range(2)])


async def all_at_once(at: Stage) -> None:
    """Many requests in one go are answered in their order."""
    wire = await at.join()
    requests = [("XADD", "x", f"{number}-1", "n", number) for number in range(1, 501)]
    wire.write(b"".join(command(*one) for one in requests) + command("XLEN", "x") + command("GET", "x"))
    at.see([await wire.hear() for _ in range(502)])


async def large(at: Stage) -> None:
    """Values of a megabyte come whole."""
    wire = await at.join()
    value = bytes(range(256)) * 4_096
    await at.do(wire, ("SET", "a", value))
    at.see(await wire.ask("GET", "a") == value)


async def broken(at: Stage) -> None:
    """What is no request is named, and ends the connection; what came before it is done."""
    for bytes_ in (
        b"*x\r\n",
        b"*1048577\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
        b"*01\r\n",
        b"x" * 70_000,
        b"*" + b"1" * 70_000,
    ):
        wire = await at.join()
        behind = command("SET", "a", "2") if len(bytes_) < 100 else b""
        wire.write(command("SET", "a", "1") + bytes_ + behind)
        at.see(bytes_[:20], [await wire.hear() for _ in range(3)])
        other = await at.join()
        await at.do(other, "GET a", "DEL a")


async def said_goodbye(at: Stage) -> None:
    """After QUIT nothing more is done, and the connection ends."""
    wire, other = await at.join(), await at.join()
    wire.write(command("SET", "a", 1) + command("QUIT") + command("SET", "a", 2))
    at.see([await wire.hear() for _ in range(3)])
    await at.do(other, "GET a")
