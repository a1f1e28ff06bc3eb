"""What a history says of each event id, in columns: a million events must fit into memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from functools import cached_property
from itertools import accumulate

NONE = -1
"""In every number column: no such time, position, status or name."""


class Events:
    """Every event id that was published or delivered, one row each."""

    def __init__(self) -> None:
        self.row_of: dict[str, int] = {}
        self.ids: list[str] = []
        self.type = array("i")
        self.addressee = array("i")
        self.first_publish_ns = array("q")
        self.acked_ns = array("q")
        self.position = array("q")
        """Where it is stored: from its first ack, else its first delivery.

        A stream that begins a new epoch is read again from its start: what had been acknowledged and not yet written
        then gets a place in the new epoch. So a first delivery in another epoch than the ack's is the truth.
        """
        self.delivered = bytearray()
        """Whether anybody ever received it."""
        self.forgotten = bytearray()
        """Whether it was published again when the stream had forgotten its id: an ack may name a second place then."""
        self.renewed = bytearray()
        """Whether it was published again past its retention, when nobody knew its id: it may be stored anew."""
        self.attempts = array("i")
        self.refused = array("i")
        self.failed_first = bytearray()
        """Whether its first attempt was refused, or got no answer that says what became of it."""
        self.publish_record = array("q")
        self.acked_record = array("q")

    def row(self, event_id: str, event_type: int, addressee: int) -> int:
        """The event's row, made at its first mention."""
        row = self.row_of.get(event_id)
        if row is None:
            row = self.row_of[event_id] = len(self.ids)
            self.ids.append(event_id)
            self.type.append(event_type)
            self.addressee.append(addressee)
            self.delivered.append(False)
            self.forgotten.append(False)
            self.renewed.append(False)
            self.failed_first.append(False)
            for column in (self.attempts, self.refused):
                column.append(0)
            for times in (self.first_publish_ns, self.acked_ns, self.position, self.publish_record, self.acked_record):
                times.append(NONE)
        return row

    def is_published(self, row: int) -> bool:
        """Whether a publisher ever sent it."""
        return self.first_publish_ns[row] != NONE

    def is_acked(self, row: int) -> bool:
        """Whether the relay ever acknowledged it: only then does it owe anything."""
        return self.acked_ns[row] != NONE

    def is_unknown(self, row: int) -> bool:
        """Whether nobody can say if it was stored: never acked, and not refused at every attempt."""
        return self.is_published(row) and not self.is_acked(row) and self.refused[row] < self.attempts[row]

    def lowest_place(self, row: int) -> int:
        """The lowest position at which an event can be stored; to be asked once all rows are known.

        An ack names the last place of an event that the stream took twice; pg-writer stored the first, of which nobody
        heard. It lies behind whatever was acknowledged before the event was first sent.
        """
        if not self.forgotten[row]:
            return self.position[row]
        times_ns, reached = self._reached
        count = bisect_left(times_ns, self.first_publish_ns[row])
        return reached[count - 1] + 1 if count else 0

    @cached_property
    def _reached(self) -> tuple[list[int], list[int]]:
        """When events were acknowledged, in ns, and the highest position acknowledged by then."""
        both = sorted((at_ns, self.position[row]) for row, at_ns in enumerate(self.acked_ns) if at_ns != NONE)
        return [at_ns for at_ns, _ in both], list(accumulate((position for _, position in both), max))
