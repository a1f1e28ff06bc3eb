"""What one can watch an agent client do: every frame as received, every connection from its try to its end.

All calls are synchronous, in the order of things, and must be cheap; what an observer raises ends the run. For each
`connecting` there is exactly one `closed` with the same connection number, also after cancellation. Frames are shown
before the client's own filter, so that a judge sees the relay's duplicates and not the client's defence.
"""

from __future__ import annotations

from collections.abc import Mapping

from system.client.notices import GapNotice, GoneNotice


class Observer:
    """Sees everything, does nothing; override what you need."""

    def connecting(self, conn: int, presented: str | None, resync: bool) -> None:
        """A connection is tried: `presented` is a cursor, a keyword, or None for the relay's choice.

        With `resync` the position is the one within the relay's own resync address.
        """

    def connected(self, conn: int, status: int, reason: str | None, headers: Mapping[str, str]) -> None:
        """The relay answered; `reason` is that of a 410, or the title of another problem document."""

    def deliver(self, conn: int, cursor: str, event_id: str, event_type: str, addressee: str) -> None:
        """An event's frame arrived; `addressee` is the event's subject."""

    def bookmark(self, conn: int, cursor: str) -> None:
        """A bookmark's frame arrived."""

    def gap(self, conn: int, cursor: str | None, notice: GapNotice) -> None:
        """A gap notice arrived while the agent stood at `cursor`."""

    def gone(self, conn: int, cursor: str | None, notice: GoneNotice) -> None:
        """A notice of loss arrived, as a status or as an event (`notice.via`), while the agent stood at `cursor`."""

    def closed(self, conn: int, why: str) -> None:
        """The connection is over.

        `why` is a relay.close reason, or `eof`, `silent`, `reset`, `connect`, `token`, `no stream`, `refused`,
        `garbage`, `handler`, `stopped`, `cancelled`, `failed`; a colon and details may follow.
        """

    def saved(self, cursor: str) -> None:
        """The cursor is durable; everything at or before it has been handled."""

    def acked(self, cursor: str) -> None:
        """The relay confirmed an ack; its cursor may be ahead of the one that was sent."""

    def ack_failed(self, cursor: str, why: str) -> None:
        """An ack got no confirmation; the place is not affected."""

    def waiting(self, delay_s: float, why: str) -> None:
        """The client backs off before its next connection."""
