"""A reader of event streams for tests, written from the standard and sharing no code with the relay or its client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx

WAIT_S = 20.0
"""Longest wait for one frame: far above anything seen on two busy cores, so that only a fault reaches it."""


class StreamEnded(Exception):
    """The server closed the stream where the test expected more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One block of the stream, one comment line, or one reconnect delay."""

    id: str | None = None
    event: str | None = None
    data: Any = None
    """Read as JSON."""
    retry_ms: int | None = None
    comment: str | None = None

    @property
    def is_event(self) -> bool:
        """Whether it is an event of the mesh, not of the relay."""
        return self.event is not None and not self.event.startswith("relay.")


class SseReader:
    """An open stream; keeps every frame that it has read in `seen`."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.seen: list[Frame] = []
        self._frames = _frames(response)

    @property
    def delivered(self) -> list[str]:
        """The ids of the events read so far, in order of arrival."""
        return [frame.data["id"] for frame in self.seen if frame.is_event]

    @property
    def cursors(self) -> list[str]:
        """The cursors of the events read so far."""
        return [str(frame.id) for frame in self.seen if frame.is_event]

    @property
    def last_id(self) -> str | None:
        """The last id seen, as a client would send it in Last-Event-ID."""
        return next((frame.id for frame in reversed(self.seen) if frame.id is not None), None)

    async def frame(self, timeout_s: float = WAIT_S) -> Frame:
        """The next frame. Raises StreamEnded, TimeoutError, httpx.TransportError."""
        try:
            frame = await asyncio.wait_for(anext(self._frames), timeout_s)
        except StopAsyncIteration:
            raise StreamEnded(f"after {self.seen[-3:]}") from None
        self.seen.append(frame)
        return frame

    async def until(self, found: Callable[[Frame], bool], timeout_s: float = WAIT_S) -> Frame:
        """The next frame for which this holds; the ones before it are in `seen`."""
        async with asyncio.timeout(timeout_s):
            while True:
                frame = await self.frame()
                if found(frame):
                    return frame

    async def named(self, name: str) -> Frame:
        """The next frame of this name."""
        return await self.until(lambda frame: frame.event == name)

    async def event(self) -> Frame:
        """The next event of the mesh."""
        return await self.until(lambda frame: frame.is_event)

    async def events(self, count: int) -> list[str]:
        """The ids of the next `count` events."""
        return [(await self.event()).data["id"] for _ in range(count)]

    async def rest(self) -> list[Frame]:
        """Everything up to the server's orderly end."""
        start = len(self.seen)
        try:
            while True:
                await self.frame()
        except StreamEnded:
            return self.seen[start:]


async def _frames(response: httpx.Response) -> AsyncIterator[Frame]:
    """Parse the body; lines end with LF only, as the relay promises (httpx splits at more than the standard's ends)."""
    fields: dict[str, str] = {}
    pending = b""
    async for piece in response.aiter_raw():
        *lines, pending = (pending + piece).split(b"\n")
        for line in (one.decode() for one in lines):
            if line.startswith(":"):
                yield Frame(comment=line[1:])
            elif line:
                name, _, value = line.partition(": ")
                if name == "retry":
                    yield Frame(retry_ms=int(value))  # holds from its line on, whatever block it stands in
                    continue
                assert name not in fields, f"a second {name!r} in one block: {fields}"
                fields[name] = value
            elif fields:
                yield _frame(fields)
                fields = {}
    assert not pending, f"the stream ended within a line: {pending!r}"
    assert not fields, f"the stream ended within a block: {fields}"


def _frame(fields: dict[str, str]) -> Frame:
    assert fields.keys() <= {"id", "event", "data"}, fields
    return Frame(
        id=fields.get("id"),
        event=fields.get("event"),
        data=json.loads(fields["data"]) if "data" in fields else None,
    )
