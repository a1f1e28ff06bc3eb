"""What an agent's client shows, as a history: the same records from the real stack and from the simulated world."""

from __future__ import annotations

from collections.abc import Mapping

from faults.content import digest_of
from faults.recorder import Recorder
from reports import history
from system.client import Delivery, GapNotice, GoneNotice, Observer
from system.client.notices import EXPIRED
from system.cursor import Cursor


class AgentWitness(Observer):
    """Records what one agent's client sees, through all its lives."""

    def __init__(self, name: str, recorder: Recorder, types: tuple[str, ...] = ()) -> None:
        """`types` are those that it asks for; empty is all."""
        self.name = name
        self._types = types
        self.life = 0
        """The number of the client's current life; whoever starts one counts it up."""
        self.saved_seq = 0
        """The sequence of the cursor that was saved last: everything up to it has been handled."""
        self.saved_epoch = ""
        """The epoch of that cursor: of another one, its sequence says nothing."""
        self.delivered = 0
        self._recorder = recorder
        self._is_answered = False
        self._token_ends_ns: int | None = None
        self.told: str | None = None
        """The head that it shows with its next connection."""

    def granted(self, ttl_s: float) -> None:
        """A token is made for it, good for so long; its client presents the last one that it got."""
        self._token_ends_ns = self._recorder.now_ns() + round(ttl_s * 1e9)

    def connecting(self, conn: int, presented: str | None, resync: bool) -> None:
        """A connection is tried; with the first of its life the client knows no head."""
        self._is_answered = False
        if conn == 1:
            self.told = None
        self._recorder.record(
            history.Connect,
            agent=self.name,
            conn=self._name_of(conn),
            cursor=presented,
            types=self._types,
            told=self.told,
        )

    def connected(self, conn: int, status: int, reason: str | None, headers: Mapping[str, str]) -> None:
        """The relay answered."""
        self._is_answered = True
        self._recorder.record(
            history.Connected,
            agent=self.name,
            conn=self._name_of(conn),
            status=status,
            reason=reason,
            token_ends_ns=self._token_ends_ns,
        )

    def deliver(self, conn: int, cursor: str, event_id: str, event_type: str, addressee: str) -> None:
        """An event's frame arrived."""
        self.delivered += 1
        self._recorder.record(
            history.Deliver,
            agent=self.name,
            conn=self._name_of(conn),
            cursor=cursor,
            id=event_id,
            type=event_type,
            addressee=addressee,
        )

    def bookmark(self, conn: int, cursor: str) -> None:
        """A bookmark arrived."""
        self._recorder.record(history.Bookmark, agent=self.name, conn=self._name_of(conn), cursor=cursor)

    def gap(self, conn: int, cursor: str | None, notice: GapNotice) -> None:
        """A gap notice arrived."""
        self._recorder.record(
            history.Gap,
            agent=self.name,
            conn=self._name_of(conn),
            cursor=_place(notice.cursor, cursor),
            floors=history.Floors(critical=notice.floors.critical, standard=notice.floors.standard),
        )

    def gone(self, conn: int, cursor: str | None, notice: GoneNotice) -> None:
        """A notice of loss arrived."""
        if notice.reason != EXPIRED:
            self.told = notice.head
        self._recorder.record(
            history.Gone,
            agent=self.name,
            conn=self._name_of(conn),
            cursor=cursor,
            reason=notice.reason,
            via=notice.via,
            floors=history.Floors(critical=notice.floors.critical, standard=notice.floors.standard),
        )

    def closed(self, conn: int, why: str) -> None:
        """The connection is over."""
        if not self._is_answered:
            self._recorder.record(
                history.Connected, agent=self.name, conn=self._name_of(conn), status=None, reason=why[:200]
            )
        self._recorder.record(history.Disconnect, agent=self.name, conn=self._name_of(conn), why=why[:200])

    def handled(self, delivery: Delivery) -> None:
        """The application is done with an event; for its handler to say."""
        self._recorder.record(history.Handled, agent=self.name, id=delivery.id, digest=digest_of(delivery.raw))

    def invented(self, cursor: str, status: int | None, reason: str | None) -> None:
        """It asked behind a cursor that it had made up."""
        self._recorder.record(history.Invented, agent=self.name, cursor=cursor, status=status, reason=reason)

    def saved(self, cursor: str) -> None:
        """The cursor is durable."""
        place = Cursor.parse(cursor)
        self.saved_seq, self.saved_epoch = place.seq, place.epoch
        self._recorder.record(history.Saved, agent=self.name, cursor=cursor)

    def forgot(self) -> None:
        """Its cursor is lost: what it had handled counts for nothing until it has saved one again."""
        self.saved_seq, self.saved_epoch = 0, ""

    def acked(self, cursor: str) -> None:
        """The relay confirmed an ack."""
        self._recorder.record(history.Acked, agent=self.name, cursor=cursor)

    def _name_of(self, conn: int) -> str:
        return f"{self.life}.{conn}"


def _place(told: str | None, stood: str | None) -> str | None:
    """The cursor that a notice is about; a keyword such as `earliest` is none."""
    return told if told is not None and "-" in told else stood
