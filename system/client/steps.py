"""The words of the agent client's state machine: its states, the events it takes, the actions it gives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from system.client.errors import ClientError, ProtocolViolated
from system.client.notices import CloseNotice, Delivery, GapNotice, GoneNotice
from system.cursor import Cursor


class State(Enum):
    """Which answer the machine waits for."""

    IDLE = "idle"
    CONNECTING = "connecting"
    READING = "reading"
    HANDLING = "handling"
    """An event or a bookmark is being handled and its cursor saved."""
    TELLING = "telling"
    """The application is being told of a gap or of a loss."""
    WAITING = "waiting"
    FINISHED = "finished"


# Events: what the driver answers.


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The store was read."""

    saved: Cursor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """200 and an event stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Any other status."""

    status: int
    told_s: float
    """Retry-After; 0 if none."""
    gone: GoneNotice | None
    """The document of a 410, if it was one."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """No connection, no answer, no token, or the stream ended or went silent."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What arrived cannot be read."""

    error: ProtocolViolated


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSeen:
    """An event's frame."""

    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class BookmarkSeen:
    """A bookmark's frame."""

    place: Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class GapSeen:
    """A gap notice's frame."""

    notice: GapNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneSeen:
    """A loss notice's frame."""

    notice: GoneNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSeen:
    """A closing notice's frame."""

    notice: CloseNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySeen:
    """The relay's wish for the reconnection time."""

    retry_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Handled and saved, or told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The application's handler raised."""

    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Elapsed:
    """The wait is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """The application wants to stop."""


# Actions: what the driver does next. Anything but Read, Handle, Save and Tell closes an open connection first.


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Open the stream: at the resync address, or else behind the place, or else where the keyword says."""

    address: str | None
    place: Cursor | None
    keyword: str | None
    fresh_token: bool
    told: str | None = None
    """The head that came with the word that the place's life of the stream is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Read on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """Await the handler, then save the delivery's cursor."""

    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """Save the cursor of a bookmark, or of an event that was not asked for."""

    place: Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Await the application's `on_gap` or `on_gone`."""

    notice: GapNotice | GoneNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Close, then wait."""

    delay_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Close, then return from run(), or raise."""

    why: str
    error: ClientError | None


Event = (
    Started | Opened | Answered | Lost | Garbage | EventSeen | BookmarkSeen | GapSeen | GoneSeen | CloseSeen | RetrySeen
) | (Done | Raised | Elapsed | StopAsked)
Action = Connect | Read | Handle | Save | Tell | Wait | Finish
