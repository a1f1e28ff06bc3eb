"""Option C: pages from Postgres by cursor, then live from the hub's window, which the tail feeds from Postgres too."""

from __future__ import annotations

from collections.abc import Sequence

from system.cursor import Position
from system.hub import Hub, LiveSession, Released
from system.places import Places
from system.session import Page
from system.tail import Tail
from system.transport import Transport


class CursorSource:
    """One session's way into the table and the hub."""

    __slots__ = ("_agent", "_hub", "_pause_s", "_places", "_read_up_to", "_tail")

    def __init__(self, agent: str, places: Places, hub: Hub, tail: Tail, *, pause_s: float) -> None:
        """`pause_s` is between two looks at a table that has nothing to give."""
        self._agent = agent
        self._pause_s = pause_s
        self._places = places
        self._hub = hub
        self._tail = tail
        self._read_up_to: Position | None = None
        """Where the last page ended, if it was not full."""

    async def read_page(self, after: Position, rows_max: int) -> Page:
        """A page of the table, its floors and the watermark, of one snapshot (Source)."""
        page = await self._places.read_page(self._agent, after, rows_max)
        self._read_up_to = None if page.full else page.end
        if page.watermark <= after < (self._hub.start or 0):
            # after a failover that lost commits nothing is left to read, and the window begins further on
            await self._tail.wait_moved(self._pause_s)
        return page

    def is_ahead(self, position: Position) -> bool:
        """Read through a replica whose tail is ahead of ours, or up to where ours has yet to begin (Source)."""
        return position == self._read_up_to if self._hub.start is None else position > self._hub.head

    async def wait_moved(self, timeout_s: float) -> None:
        """Wait for the hub's head to move (Source)."""
        await self._tail.wait_moved(timeout_s)

    def covers(self, position: Position) -> bool:
        """Whether the rest is in the hub's window (Source)."""
        return self._hub.covers(position)

    def since(self, position: Position) -> Sequence[Released]:
        """The rest, from the window (Source)."""
        return self._hub.since(self._agent, position)

    def join(self, session: LiveSession) -> None:
        """Be pushed to by the hub (Source)."""
        self._hub.join(self._agent, session)

    def leave(self, session: LiveSession) -> None:
        """Be pushed to no more (Source)."""
        self._hub.leave(self._agent, session)

    def reached(self, position: Position) -> Position:
        """The hub's head: it moves only when what lies below was sent (Source)."""
        return self._hub.head

    def close(self) -> None:
        """Nothing is held (Source)."""


class CursorTransport(Transport):
    """What the sessions of a replica share under option C; the tail and pg-writer run with every option."""

    def __init__(self, places: Places, hub: Hub, tail: Tail, *, pause_s: float) -> None:
        self._pause_s = pause_s
        self._places = places
        self._hub = hub
        self._tail = tail

    def open(self, agent: str) -> CursorSource:
        """A source for one session (Transport)."""
        return CursorSource(agent, self._places, self._hub, self._tail, pause_s=self._pause_s)

    async def run(self) -> None:
        """Nothing of its own (Transport)."""

    async def lead(self, fence: int) -> None:
        """Nothing of its own (Transport)."""
