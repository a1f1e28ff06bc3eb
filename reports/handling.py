"""What agents' applications were given, as against what their clients read and saved.

A client reads an event, gives it to its application, and saves its cursor once that is done with it. A cursor saved
before is a promise that a crash would break: the relay will never bring the event again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from reports.events import NONE, Events
from reports.history import Connect, Deliver, Gap, Gone, Handled, Publish, Saved
from system.cursor import ordinal_of

BY_ACK = (None, "acked")
"""What a client without a cursor presents that wants to go on where it has acknowledged."""


class Unhandled(NamedTuple):
    """An event that a client saved its cursor past, and its application was never done with."""

    agent: str
    event: int
    position: int
    t_ns: int
    delivered_record: int
    saved_record: int


class Given(NamedTuple):
    """An event that an application was given, with words other than those known to be published."""

    agent: str
    event: int
    t_ns: int
    digest: str
    record: int


class Forgotten(NamedTuple):
    """A client that asks for what it had handled and saved."""

    agent: str
    saved: int
    t_ns: int
    record: int


@dataclass(slots=True)
class _Client:
    """Where one client is."""

    saved: int = NONE
    """The position behind which it asks for events."""
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Delivered and not handled: events' rows, with their positions and records."""
    handled: dict[int, int] = field(default_factory=dict)
    """Handled and not saved: events' rows, with their positions."""


class Handling:
    """All clients of a history; only those that tell what was handled are to be shown here."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._clients: dict[str, _Client] = {}
        self._digests: dict[int, str] = {}
        self._given: list[Given] = []
        self.unhandled: list[Unhandled] = []
        self.forgotten: list[Forgotten] = []
        self.count = 0
        """How many events applications were done with."""

    def published(self, event: int, record: Publish) -> None:
        """An event is sent; an event's words are the same at every attempt."""
        if record.digest is not None:
            self._digests[event] = record.digest

    def connecting(self, position: int | None, record: Connect, number: int) -> None:
        """A client begins anew behind its cursor: what it had read is brought again, or it is told that it is gone.

        Who asks for its ack instead has lost its cursor, and has to handle again what is brought again.
        """
        known = self._clients.get(record.agent)
        if known is None:
            return
        known.waiting.clear()
        if record.cursor in BY_ACK:
            known.saved = NONE
        elif known.saved != NONE and _is_before(position, record, known.saved):
            self.forgotten.append(Forgotten(record.agent, known.saved, record.t_ns, number))

    def told(self, notice: Gap | Gone) -> None:
        """A client that is told of a loss goes on from wherever the relay says: its own cursor may lead nowhere."""
        if isinstance(notice, Gone) and notice.agent in self._clients:
            self._clients[notice.agent].saved = NONE

    def delivered(self, event: int, position: int, record: Deliver, number: int) -> None:
        """A client has read an event; what it has had before it need not give to anybody."""
        client = self._clients.setdefault(record.agent, _Client())
        if position > client.saved and event not in client.handled:
            client.waiting[event] = position, number

    def handled(self, record: Handled, number: int) -> None:
        """An application is done with an event."""
        self.count += 1
        event = self._events.row_of.get(record.id)
        client = self._clients.get(record.agent)
        if event is None or client is None:
            return  # nobody delivered it: its application made it up
        position, _ = client.waiting.pop(event, (NONE, NONE))
        if position != NONE:
            client.handled[event] = position
        if record.digest is not None and record.digest != self._digest_of(event):
            self._given.append(Given(record.agent, event, record.t_ns, record.digest, number))

    def saved(self, position: int | None, record: Saved, number: int) -> None:
        """A client will never ask again for what lies at or before this position."""
        client = self._clients.get(record.agent)
        if client is None or position is None:
            return
        client.saved = max(client.saved, position)
        for event, (place, delivered) in [one for one in client.waiting.items() if one[1][0] <= position]:
            del client.waiting[event]
            self.unhandled.append(Unhandled(record.agent, event, place, record.t_ns, delivered, number))
        for event in [one for one, place in client.handled.items() if place <= position]:
            del client.handled[event]

    def changed(self) -> list[Given]:
        """What applications were given with other words than were published; to be asked once all is known."""
        return [one for one in self._given if self._digest_of(one.event) not in (None, one.digest)]

    def _digest_of(self, event: int) -> str | None:
        """What was published; a stale redispatch says what its original said."""
        known = self._digests.get(event)
        if known is None:
            original, mark, _ = self._events.ids[event].rpartition("~r")
            known = self._digests.get(self._events.row_of.get(original, NONE)) if mark else None
        return known


def _is_before(position: int | None, record: Connect, saved: int) -> bool:
    """Whether a client begins before a place that it had reached; cursors of other epochs are not compared."""
    if position is None:
        return record.cursor == "earliest"
    return ordinal_of(position) == ordinal_of(saved) and position < saved
