"""The words in which the tests of the client's decisions speak: sample events, and machines in a known state."""

from __future__ import annotations

import dataclasses
import random
import typing
from typing import Any

from system.client.errors import (
    ProtocolViolated,
)
from system.client.machine import Machine
from system.client.notices import CloseNotice, Delivery, Floors, GapNotice, GoneNotice
from system.client.settings import ClientSettings
from system.client.steps import (
    Action,
    Answered,
    BookmarkSeen,
    CloseSeen,
    Connect,
    Done,
    Elapsed,
    Event,
    EventSeen,
    GapSeen,
    Garbage,
    GoneSeen,
    Lost,
    Opened,
    Raised,
    Read,
    RetrySeen,
    Started,
    StopAsked,
)
from system.cursor import Cursor

SETTINGS = ClientSettings(backoff_base_s=1.0, backoff_max_s=30.0, handler_attempts_max=3)
EVENTS: tuple[type, ...] = typing.get_args(Event)
ACTIONS: tuple[type, ...] = typing.get_args(Action)
FLOORS = Floors(critical="abc234-5", standard="abc234-7")


def place(seq: int, epoch: str = "abc234") -> Cursor:
    """A cursor."""
    return Cursor(epoch, seq)


def seen(seq: int, epoch: str = "abc234") -> EventSeen:
    """The event `e<seq>` of the stream."""
    at = place(seq, epoch)
    return EventSeen(
        delivery=Delivery(
            cursor=str(at), id=f"e{seq}", type="task.assigned", subject="alice", raw=b"{}", place=at, conn=1
        )
    )


def gone(reason: str = "expired", *, via: Any = "status", resync: str = "/r", floors: Floors = FLOORS) -> GoneNotice:
    """A loss notice."""
    return GoneNotice(reason=reason, floors=floors, head="abc234-9", resync=resync, detail="", via=via)


GAP = GapNotice(reason="expired", cursor=None, floors=FLOORS, head=None)


def answered(status: int, *, told_s: float = 0.0, notice: GoneNotice | None = None) -> Answered:
    """An answer that is no stream."""
    return Answered(status=status, told_s=told_s, gone=notice, detail="planted")


def machine(saved: Cursor | None = None, **changes: Any) -> Machine:
    """A machine that has started and waits for its first connection."""
    made = Machine(dataclasses.replace(SETTINGS, **changes), random.Random(3))
    made.step(Started(saved=saved))
    return made


def reading(saved: Cursor | None = None, **changes: Any) -> Machine:
    """A machine on an open stream."""
    made = machine(saved, **changes)
    assert made.step(Opened()) == Read()
    return made


def reconnected(made: Machine) -> Connect:
    """Let the wait pass."""
    action = made.step(Elapsed())
    assert isinstance(action, Connect)
    return action


SAMPLES: dict[type, Event] = {
    Started: Started(saved=None),
    Opened: Opened(),
    Answered: answered(503),
    Lost: Lost(why="eof"),
    Garbage: Garbage(error=ProtocolViolated("planted")),
    EventSeen: seen(4),
    BookmarkSeen: BookmarkSeen(place=place(4)),
    GapSeen: GapSeen(notice=GAP),
    GoneSeen: GoneSeen(notice=gone(via="event")),
    CloseSeen: CloseSeen(notice=CloseNotice(reason="drain", retry_ms=500)),
    RetrySeen: RetrySeen(retry_ms=2000),
    Done: Done(),
    Raised: Raised(error=LookupError("planted")),
    Elapsed: Elapsed(),
    StopAsked: StopAsked(),
}
