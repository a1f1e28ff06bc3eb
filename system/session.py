"""A session's decisions, without I/O: where it stands, what it is told, and when it may go live.

    opening ──▶ replay ◀──▶ live        replay ⇢ closed, live ⇢ closed

`position` is the promise: everything addressed to the agent at or below it was sent, filtered out by its own wish, or
told to be gone. It moves only with what is written to the connection.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from system.cursor import Position


class State(enum.Enum):
    """Where a session is."""

    REPLAY = "replay"
    LIVE = "live"
    CLOSED = "closed"


class Signal(enum.Enum):
    """What happens to a session."""

    CAUGHT_UP = "caught up"
    """Its position lies within the hub's window and the rest was taken."""
    FELL_BEHIND = "fell behind"
    """Its client reads too slowly, or the tail lost continuity."""
    CLOSE = "close"


TRANSITIONS: dict[tuple[State, Signal], State] = {
    (State.REPLAY, Signal.CAUGHT_UP): State.LIVE,
    (State.REPLAY, Signal.FELL_BEHIND): State.REPLAY,
    (State.REPLAY, Signal.CLOSE): State.CLOSED,
    (State.LIVE, Signal.FELL_BEHIND): State.REPLAY,
    (State.LIVE, Signal.CLOSE): State.CLOSED,
    (State.CLOSED, Signal.FELL_BEHIND): State.CLOSED,
    (State.CLOSED, Signal.CLOSE): State.CLOSED,
}
"""Rejected, because only a bug could do it: CAUGHT_UP while LIVE (it would send the window twice) or CLOSED."""


def advance(state: State, signal: Signal) -> State:
    """The next state. Raises KeyError for a pair that only a bug can produce."""
    return TRANSITIONS[state, signal]


class OnGone(enum.Enum):
    """How a client wants to hear that a critical event is gone."""

    STATUS = "status"
    """By a 410, before anything is sent (the default)."""
    EVENT = "event"
    """In the stream, which then ends: for clients that cannot see a status."""
    SKIP = "skip"
    """In the stream, which goes on with what is retained: for resync, when the client knows already."""


class Notice(enum.Enum):
    """What a session must be told about expired events."""

    GAP = "gap"
    """Standard events addressed to the agent are gone; nothing critical is."""
    GONE = "gone"
    """A critical event addressed to the agent is gone."""


@dataclass(frozen=True, slots=True)
class Floors:
    """The highest deleted positions addressed to an agent, by class; 0 if nothing was deleted."""

    critical: Position
    standard: Position


NOTHING_TOLD = Floors(Position(0), Position(0))


def notice_for(position: Position, floors: Floors, told: Floors) -> Notice | None:
    """What is newly gone after a position, beyond what was told before.

    A floor above the position is the position of a deleted event that this agent was to receive and did not.
    """
    if floors.critical > max(position, told.critical):
        return Notice.GONE
    if floors.standard > max(position, told.standard):
        return Notice.GAP
    return None


def next_page_rows(*, rows: int, page_bytes: int, last_rows: int, rows_max: int, bytes_max: int) -> int:
    """How many rows to ask for next, so that a page stays near `bytes_max` whatever the events' size."""
    if last_rows == 0:
        return rows
    average_bytes = max(1, page_bytes // last_rows)
    return max(1, min(rows_max, rows * 4, bytes_max // average_bytes))


FIRST_PAGE_ROWS = 64
"""Bounds the first page while nothing is known of the events' size: 16 MiB at 256 KiB an event."""


class PageRow(msgspec.Struct, frozen=True, gc=False):
    """One retained event of a page; a struct, for a replay makes hundreds of thousands."""

    pos: Position
    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of one agent's events with the floors and the watermark of the same snapshot."""

    rows: Sequence[PageRow]
    floors: Floors
    watermark: Position
    full: bool
    """True if there may be more at or below the watermark."""
    reached: Position | None = None
    """Where the page ends if that is neither its last row nor the watermark."""

    @property
    def end(self) -> Position:
        """The position that a session reaches with this page: its last row, or on the last page the watermark."""
        if self.reached is not None:
            return self.reached
        return self.rows[-1].pos if self.full else self.watermark
