"""What the relay tells an agent: deliveries, and notices of gaps, of loss and of closing; and how to read them.

Reading is strict where a mistake would cost an event (cursors, the resync address) and lenient elsewhere (unknown
members are ignored), so that a newer relay can say more to an older agent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from system.client.errors import ProtocolViolated
from system.client.sse import Frame
from system.cursor import Cursor, CursorMalformed

BOOKMARK = "relay.cursor"
GAP = "relay.gap"
GONE = "relay.gone"
CLOSE = "relay.close"
RESERVED_PREFIX = "relay."

EXPIRED = "expired"
"""The only reason of a 410 that leaves the cursor's place in the stream valid."""

# Path and query of visible ASCII, not `//host`: following it must not carry the token to another origin. As long as a
# request's line may be: it repeats the types that were asked for.
_ADDRESS = re.compile(r"/(?!/)[!-\[\]-~]{0,8189}", re.ASCII)


class _Envelope(msgspec.Struct):
    id: str
    type: str
    subject: str


class _Floors(msgspec.Struct):
    critical: str | None = None
    standard: str | None = None


class _Gone(msgspec.Struct):
    reason: str
    resync: str
    floors: _Floors = msgspec.field(default_factory=_Floors)
    head: str | None = None
    detail: str = ""


class _Gap(msgspec.Struct):
    reason: str = EXPIRED
    floors: _Floors = msgspec.field(default_factory=_Floors)
    cursor: str | None = None
    head: str | None = None


class _Close(msgspec.Struct):
    reason: str
    retry_ms: int = 0


_T = TypeVar("_T")

_envelope = msgspec.json.Decoder(_Envelope)
_gone = msgspec.json.Decoder(_Gone)
_gap = msgspec.json.Decoder(_Gap)
_close = msgspec.json.Decoder(_Close)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """The highest deleted place of each retention class, as cursor texts; None where nothing was deleted."""

    critical: str | None
    standard: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for the handler."""

    cursor: str
    """The agent's place once this event is handled; opaque to applications."""
    id: str
    """The event's id, its idempotency key: the same after a redelivery."""
    type: str
    subject: str
    """The agent that it is addressed to, or `_all`."""
    raw: bytes
    """The CloudEvent's JSON as received."""
    place: Cursor
    conn: int
    """The number of the connection that brought it; 0 if a page did."""

    def decode(self) -> dict[str, Any]:
        """The CloudEvent as a dict, decoded at each call."""
        event: dict[str, Any] = msgspec.json.decode(self.raw)
        return event


@dataclass(frozen=True, slots=True, kw_only=True)
class GapNotice:
    """Only standard events addressed to the agent have expired beyond its place; delivery goes on after them."""

    reason: str
    cursor: str | None
    floors: Floors
    head: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneNotice:
    """A critical event is gone, or the cursor belongs to no place in this stream: the application must resync."""

    reason: str
    """`expired`, `wrong_epoch` or `ahead`."""
    floors: Floors
    head: str | None
    resync: str
    """Path and query from which delivery will continue; opaque."""
    detail: str
    via: Literal["status", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseNotice:
    """The relay is about to close this connection; the place is kept."""

    reason: str
    """`drain`, `slow`, `token_expired`, `lagging` or `superseded`."""
    retry_ms: int


def delivery_from(frame: Frame, conn: int) -> Delivery:
    """The event within a frame.

    Raises ProtocolViolated: without a readable cursor it could not be saved, without an id not be told apart.
    """
    if frame.id is None:
        raise ProtocolViolated(f"expected an id in every event frame, got {frame.event[:64]!r} without one")
    return delivery_at(frame.id, frame.data, conn)


def delivery_at(cursor: str, raw: bytes, conn: int) -> Delivery:
    """The event with this JSON at this cursor. Raises ProtocolViolated."""
    try:
        place = Cursor.parse(cursor)
        envelope = _envelope.decode(raw)
    except (CursorMalformed, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolViolated(f"expected a CloudEvent behind a cursor, at {cursor[:64]!r}: {error}") from error
    return Delivery(
        cursor=cursor,
        id=envelope.id,
        type=envelope.type,
        subject=envelope.subject,
        raw=raw,
        place=place,
        conn=conn,
    )


def bookmark_from(frame: Frame) -> Cursor:
    """The place that a bookmark marks. Raises ProtocolViolated."""
    try:
        return Cursor.parse(frame.id or "")
    except CursorMalformed as error:
        raise ProtocolViolated(f"expected a cursor as the id of {BOOKMARK}: {error}") from error


def gap_from(data: bytes) -> GapNotice:
    """The notice within a `relay.gap` frame. Raises ProtocolViolated."""
    gap = _read(_gap, data, GAP)
    return GapNotice(reason=gap.reason, cursor=gap.cursor, floors=_floors(gap.floors), head=gap.head)


def gone_from(data: bytes, via: Literal["status", "event"]) -> GoneNotice:
    """The notice within a 410's problem document or a `relay.gone` frame. Raises ProtocolViolated."""
    gone = _read(_gone, data, GONE)
    return GoneNotice(
        reason=gone.reason,
        floors=_floors(gone.floors),
        head=gone.head,
        resync=checked_address(gone.resync),
        detail=gone.detail,
        via=via,
    )


def close_from(data: bytes) -> CloseNotice:
    """The notice within a `relay.close` frame. Raises ProtocolViolated."""
    close = _read(_close, data, CLOSE)
    return CloseNotice(reason=close.reason, retry_ms=max(0, close.retry_ms))


def checked_address(address: str) -> str:
    """A path and query that may be followed with the agent's token. Raises ProtocolViolated."""
    if _ADDRESS.fullmatch(address) is None or "#" in address:
        raise ProtocolViolated(
            f"expected a resync address such as '/v1/agents/a/events?cursor=…', got {address[:80]!r}"
        )
    return address


def _floors(floors: _Floors) -> Floors:
    return Floors(critical=floors.critical, standard=floors.standard)


def _read(decoder: msgspec.json.Decoder[_T], data: bytes, what: str) -> _T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolViolated(f"expected the JSON of {what}, got {data[:80]!r}: {error}") from error
