"""The owner's side of the nursery: lives are begun, signalled and awaited."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from faults.mesh.life import LINE_BYTES_MAX, Life
from faults.stack import ProcessFailed

BORN_S = 20.0
"""How long a fork may take; it takes milliseconds."""


@dataclass(slots=True, eq=False)
class Child:
    """One living process."""

    pid: int
    send: Callable[[int, int], None]
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Its exit code, negative for a signal, once it is dead and reaped."""

    def kill(self) -> None:
        """SIGKILL; does nothing if it is dead."""
        self.send(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it ends politely."""
        self.send(self.pid, signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP."""
        self.send(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.send(self.pid, signal.SIGCONT)


class Births:
    """The connection to a nursery; closing it ends all that were born."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._requests = 0
        self._asked: dict[int, asyncio.Future[Child]] = {}
        self._children: dict[int, Child] = {}
        self._reading = asyncio.create_task(self._read(), name="nursery")

    @classmethod
    async def connect(cls, path: Path) -> Births:
        """Connect to the nursery at this socket. Raises OSError."""
        return cls(*await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX))

    async def begin(self, life: Life) -> Child:
        """Fork a process for this life. Raises ProcessFailed."""
        self._requests += 1
        born = self._asked[self._requests] = asyncio.get_running_loop().create_future()
        self._write({"request": self._requests, "life": msgspec.to_builtins(life)})
        try:
            return await asyncio.wait_for(born, BORN_S)
        except TimeoutError:
            raise ProcessFailed(f"expected {life.agent.name} to be born within {BORN_S:g} s; see agents.log") from None

    def failed(self) -> BaseException | None:
        """What ended the nursery, if it has ended."""
        if self._reading.done() and not self._reading.cancelled():
            return self._reading.exception()
        return None

    async def close(self) -> None:
        """End everybody; closing twice does no harm."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._writer.close()

    async def _read(self) -> None:
        while line := await self._reader.readline():
            answer = json.loads(line)
            if "ended" in answer:
                self._children.pop(answer["ended"]).ended.set_result(answer["code"])
                continue
            child = self._children[answer["pid"]] = Child(answer["pid"], self._signal)
            asked = self._asked.pop(answer["request"])
            if not asked.done():
                asked.set_result(child)
        raise ProcessFailed("expected the agents' nursery to go on, but it has ended; see agents.log")

    def _signal(self, pid: int, number: int) -> None:
        if pid in self._children:
            self._write({"signal": int(number), "pid": pid})

    def _write(self, request: dict[str, Any]) -> None:
        self._writer.write(json.dumps(request).encode() + b"\n")
