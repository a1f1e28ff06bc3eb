"""What a scene is played on: a server, clients in the protocol's own words, and what was seen so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from tests.sim.redis.ground import Ground
from tests.sim.redis.wire import Wire

LONG_S = 20
"""Times to live of so long are compared in tens of seconds."""


class Stage:
    """One server and its clients."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.seen: list[Any] = []
        self._wires: list[Wire] = []

    def see(self, *what: Any) -> None:
        """Note something that must be the same everywhere."""
        self.seen.append(what)

    async def join(self, protocol: int = 2) -> Wire:
        """One more client."""
        wire = await Wire.lay(self.ground.address)
        self._wires.append(wire)
        if protocol == 3:
            greeting = await wire.ask("HELLO", "3")
            assert greeting[0] == "map", greeting
        return wire

    async def do(self, wire: Wire, *lines: str | tuple[Any, ...]) -> None:
        """Have a client give commands, one after the other; note each answer."""
        for line in lines:
            words = line.split() if isinstance(line, str) else line
            self.see(words, plain(words, await wire.ask(*words)))

    async def do_alone(self, *lines: str | tuple[Any, ...]) -> None:
        """The same over a connection of its own, in either version of the protocol, each on an empty server."""
        for protocol in (2, 3):
            wire = await self.join(protocol)
            await wire.ask("FLUSHALL")
            await self.do(wire, *lines)
            await wire.close()

    async def clean(self) -> None:
        """Leave nothing behind."""
        for wire in self._wires:
            await wire.close()


def plain(words: Sequence[Any], answer: Any) -> Any:
    """An answer without what is promised nowhere: the order of sets and hashes, a tree's nodes, a client's number."""
    match str(words[0]).upper(), answer:
        case "SMEMBERS", list():
            return sorted(answer)
        case "SMEMBERS", ("set", list(parts)):
            return "set", sorted(parts)
        case "HGETALL", list():
            return sorted(zip(answer[::2], answer[1::2], strict=True))
        case "HGETALL", ("map", list(parts)):
            return "map", sorted(zip(parts[::2], parts[1::2], strict=True))
        case "SSCAN", [cursor, list(parts)]:
            return cursor, sorted(parts)
        case "TTL", int(left_s) if left_s >= LONG_S:
            return round(left_s, -1)  # a second may pass on a busy disk
        case "HELLO", list() | ("map", list()):
            parts = answer if isinstance(answer, list) else answer[1]
            pairs = [(key, str(value)) for key, value in zip(parts[::2], parts[1::2], strict=True)]
            return isinstance(answer, list), [pair for pair in pairs if pair[0] != b"id"]
        case "XINFO", list() | ("map", list()):
            parts = answer if isinstance(answer, list) else answer[1]
            pairs = [*zip(parts[::2], parts[1::2], strict=True)]
            return isinstance(answer, list), [pair for pair in pairs if pair[0] != b"radix-tree-nodes"]
    return answer


Scene: TypeAlias = Callable[[Stage], Awaitable[None]]
