"""The hub: a bounded window of the most recent events, and the sessions that have caught up with it.

The window is the hand-off from replay to live: a session replays until its position lies within the window, takes the
rest from it and joins, all in one turn of the event loop, so that nothing can fall between. A session needs no buffer
of its own; memory is bounded by the one window. The hub refuses holes: when its tail loses continuity, it empties the
window and sends every session back to replay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Protocol

import msgspec

from system.account import Burst, burst_of
from system.cursor import Position
from system.event import ALL_AGENTS
from system.frames import chunk


class Released(msgspec.Struct, frozen=True, gc=False):
    """An event below the watermark, ready to send; a struct, because one is made of every event."""

    pos: Position
    agent: str
    type: str
    frame: bytes


_POS = attrgetter("pos")
PIECE_BYTES_MAX = 256 * 1024
"""What a live session can be given beyond its limit of unsent bytes, a single larger event aside."""


class LiveSession(Protocol):
    """What the hub needs of a session that has joined."""

    types: frozenset[str]

    def push(self, payload: bytes, burst: Burst) -> None:
        """Send a chunk with the events of a burst at once, or none of it and lose live; must not raise nor wait.

        Meanwhile the hub's head is still what the session has been sent up to.
        """

    def lose_live(self) -> None:
        """Go back to replay."""


class Hub:
    """The window, and the live sessions by agent."""

    def __init__(self, *, events_max: int, bytes_max: int, piece_bytes_max: int = PIECE_BYTES_MAX) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._piece_bytes_max = piece_bytes_max
        self._window: deque[Released] = deque()
        self._bytes = 0
        self._live: dict[str, dict[LiveSession, None]] = {}
        self.start: Position | None = None
        """The window holds everything after this position; None before the first reading of the tail."""
        self.head: Position = Position(0)
        """Everything at or below was released."""

    def reset(self, position: Position) -> None:
        """Begin anew at a position: the window is empty and every live session replays."""
        sessions = [session for group in self._live.values() for session in group]
        self._live.clear()
        for session in sessions:
            session.lose_live()  # before the head moves: a live session's place is the head that it was sent up to
        self._window.clear()
        self._bytes = 0
        self.start = self.head = position

    def covers(self, position: Position) -> bool:
        """Whether everything after this position is in the window."""
        return self.start is not None and self.start <= position <= self.head

    def since(self, agent: str, position: Position) -> list[Released]:
        """What an agent is to receive of the window after a position, in order."""
        assert self.covers(position), (position, self.start, self.head)
        newest_first = []
        for released in reversed(self._window):
            if released.pos <= position:
                break
            if released.agent in (agent, ALL_AGENTS):
                newest_first.append(released)
        return newest_first[::-1]

    def join(self, agent: str, session: LiveSession) -> None:
        """Add a session that has sent everything up to `head`."""
        self._live.setdefault(agent, {})[session] = None

    def leave(self, agent: str, session: LiveSession) -> None:
        """Remove a session; one that is not there is none of our concern."""
        group = self._live.get(agent)
        if group is not None:
            group.pop(session, None)
            if not group:
                del self._live[agent]

    def release(self, events: Sequence[Released], head: Position) -> None:
        """Take the next events in order, send them to the live sessions, and move the head.

        A piece at a time, so that a session whose client does not read is found out before it is given all of them.
        """
        assert self.start is not None, "reset first"
        first = 0
        for last in piece_ends(events, self._piece_bytes_max):
            self._release(events[first:last], events[last - 1].pos)
            first = last
        self._release(events[first:], head)

    def _release(self, events: Sequence[Released], head: Position) -> None:
        self._keep(events)
        addressed: dict[str, list[Released]] = {}
        for released in events:
            addressed.setdefault(released.agent, []).append(released)
        everyone = addressed.pop(ALL_AGENTS, [])
        for agent, own in addressed.items():
            group = self._live.get(agent)
            if group:
                _send(list(group), sorted(everyone + own, key=_POS) if everyone else own)
        if everyone:
            _send([one for agent, group in self._live.items() if agent not in addressed for one in group], everyone)
        self.head = head  # last: who falls behind at this release has not been sent any of it

    def _keep(self, events: Sequence[Released]) -> None:
        self._window.extend(events)
        self._bytes += sum([len(released.frame) for released in events])
        while self._window and (len(self._window) > self._events_max or self._bytes > self._bytes_max):
            oldest = self._window.popleft()
            self._bytes -= len(oldest.frame)
            self.start = oldest.pos


def piece_ends(events: Sequence[Released], bytes_max: int) -> Iterator[int]:
    """Where to cut events into pieces of so many bytes, or of one larger event; the rest is the last piece."""
    size = 0
    for index, one in enumerate(events):
        size += len(one.frame)
        if size > bytes_max and index:
            yield index
            size = len(one.frame)


def _send(sessions: list[LiveSession], events: Sequence[Released]) -> None:
    """Send the same events to sessions, to each what it wants; a list of their own, for a push may end in `leave`."""
    payload = b""
    burst: Burst | None = None
    for session in sessions:
        if session.types:
            wanted = [one for one in events if one.type in session.types]
            if wanted:
                session.push(chunk([one.frame for one in wanted]), burst_of([one.pos for one in wanted]))
        else:
            payload = payload or chunk([one.frame for one in events])
            burst = burst or burst_of([one.pos for one in events])
            session.push(payload, burst)
