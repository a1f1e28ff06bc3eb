"""Who is to look again: news of what was fed, by agent, and the live sessions that it sends back to replay.

Without I/O. News may be lost with their connection; each says where it follows, so that a hole shows, and whoever
reads the watermark by another way says it here (`polled`). Then everybody looks again, once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from system.cursor import Position, ordinal_of
from system.event import ALL_AGENTS
from system.hub import LiveSession


class News:
    """What one replica has heard."""

    def __init__(self, on_moved: Callable[[], None]) -> None:
        """`on_moved` is told when the head has moved: whoever is live and not concerned is to be marked."""
        self._on_moved = on_moved
        self._open: dict[str, int] = {}
        self._heard: dict[str, Position] = {}
        """The last news of each agent that has a source open."""
        self._everyone = Position(0)
        """The last news that may concern anybody."""
        self._live: dict[str, dict[LiveSession, None]] = {}
        self._moved = asyncio.Event()
        self.head: Position | None = None
        """The watermark in Redis, as last heard."""

    def open(self, agent: str) -> None:
        """Remember news of this agent from now on."""
        self._open[agent] = self._open.get(agent, 0) + 1

    def close(self, agent: str) -> None:
        """Undo one `open`."""
        self._open[agent] -= 1
        if not self._open[agent]:
            del self._open[agent]
            self._heard.pop(agent, None)

    def covers(self, agent: str, position: Position) -> bool:
        """Whether there is no news of an agent beyond a position that it has read up to."""
        return position >= max(self._heard.get(agent, 0), self._everyone)

    def join(self, agent: str, session: LiveSession) -> None:
        """Send the session back to replay at the next news of its agent."""
        self._live.setdefault(agent, {})[session] = None

    def leave(self, agent: str, session: LiveSession) -> None:
        """Undo `join`; a session that is not there is none of our concern."""
        group = self._live.get(agent)
        if group is not None:
            group.pop(session, None)
            if not group:
                del self._live[agent]

    def reached(self, position: Position) -> Position:
        """What a live session that joined at this position has been given: all of it up to the head.

        Had there been news of it, or a hole among them, it would not be live any more. Into another epoch nobody goes
        but by a page: a replica may not know its tag yet.
        """
        if self.head is None or ordinal_of(self.head) != ordinal_of(position):
            return position
        return max(position, self.head)

    def take(self, text: str) -> None:
        """Take one message of the channel: `<watermark before> <after> <agent> …`. Raises ValueError if it is none."""
        first, second, *agents = text.split(" ")
        before, after = Position(int(first)), Position(int(second))
        if self.head is None or before > self.head or after < self.head:
            # a hole; or Redis lost what it had, and is being filled again
            self._start_from(after)
            return
        if ALL_AGENTS in agents:
            self._nudge_everyone(after)
        for agent in agents:
            if agent in self._open:
                self._heard[agent] = after
            self._nudge(agent)
        self._set_head(after)

    def polled(self, watermark: Position | None, *, since: Position | None) -> None:
        """Take the watermark as it was read, `since` being the head before it was asked for."""
        if watermark is None or watermark == self.head:
            return
        if self.head is None or watermark > self.head or (since is not None and watermark < since):
            self._start_from(watermark)

    async def wait_moved(self, timeout_s: float) -> None:
        """Wait until the head moves, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()

    def _start_from(self, watermark: Position) -> None:
        """What was heard before counts no more: it may lie above the watermark, or be incomplete."""
        self._heard.clear()
        self._nudge_everyone(watermark)
        self._set_head(watermark)

    def _set_head(self, watermark: Position) -> None:
        """Last of all: who loses live by the same news has reached the head from before."""
        self.head = watermark
        self._moved.set()
        self._moved.clear()
        self._on_moved()

    def _nudge(self, agent: str) -> None:
        for session in self._live.pop(agent, {}):
            session.lose_live()

    def _nudge_everyone(self, watermark: Position) -> None:
        self._everyone = watermark
        for agent in list(self._live):
            self._nudge(agent)
