"""One agent's chain of connections, as values: what it was led past, what came where it should not, what it was told.

`follow.py` makes them from the agent's log; the checkers judge them.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import StrEnum

from reports.checkers.findings import Kind
from reports.history import Gap, Gone
from reports.index import NONE, Log


class How(StrEnum):
    """What led an agent past an event."""

    DELIVERY = "a later delivery"
    BOOKMARK = "a bookmark"
    PRESENTED = "presenting a later cursor"
    TOLD = "a notice that it is gone"
    END = "the end of a converged run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """An owed event that the agent was led past and has not received since."""

    event: int
    position: int
    t_ns: int
    record: int
    conn: int
    how: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Misplaced:
    """A delivery, or the acceptance of a cursor, that should not have been."""

    kind: Kind
    event: int
    position: int
    t_ns: int
    record: int
    other_record: int
    conn: int


@dataclass(slots=True, kw_only=True)
class NoticeSeen:
    """A gap or a loss that the agent was told of; positions are NONE where nothing was said."""

    note: Gap | Gone
    t_ns: int
    record: int
    conn: int
    after: int
    """Where the agent stood: what is gone lies behind this."""
    critical: int
    standard: int
    explained: bool = False
    """Something of its class that it speaks of is really missing."""
    hides_critical: bool = False
    """It is a gap, and a critical event that it should have told of is missing."""

    @property
    def is_gone(self) -> bool:
        """Whether it is the notice for critical events."""
        return isinstance(self.note, Gone)

    @property
    def is_expiry(self) -> bool:
        """Whether it speaks of expired events, not of the cursor."""
        return not isinstance(self.note, Gone) or self.note.reason == "expired"

    @property
    def states_floors(self) -> bool:
        """Whether it says up to where events are gone."""
        return (self.critical, self.standard) != (NONE, NONE)

    def floor(self, critical: bool) -> int:
        """Up to where the class is gone."""
        return self.critical if critical else self.standard


@dataclass(slots=True)
class Standing:
    """One connection and how far it has led the agent."""

    number: int
    presented: str | None
    connect_ns: int
    connect_record: int
    start: int
    """Nothing at or before this may come."""
    next: int
    """The first owed event that it has not got to, as a place in the list of the owed."""
    reach: int
    loose: bool
    """Where it really began is not known before its first delivery."""
    excused_ns: int | None
    """What may have expired before this moment needs no telling."""
    knows: int = 0
    """The ordinal of the latest epoch that its client was told of; 0 if it does not say."""
    foreign: bool = False
    """Its cursor is of no epoch that was ever seen."""
    status: int = NONE
    opened_ns: int | None = None
    closed_ns: int | None = None
    told: NoticeSeen | None = None
    heard: bool = False
    deliveries: int = 0
    replayed: int = 0
    """Deliveries of what was published before it connected."""
    delivered: array[int] = field(default_factory=lambda: array("q"))
    """Positions delivered on it, rising, while it is open."""
    delivered_by: array[int] = field(default_factory=lambda: array("q"))
    """The record of each."""


@dataclass(slots=True, kw_only=True)
class Chain:
    """What one agent's log shows."""

    log: Log
    owed: int
    passed: list[Passed]
    """By position."""
    misplaced: list[Misplaced]
    notices: list[NoticeSeen]
    connections: list[Standing]
    by_number: dict[int, Standing]
    first_received: int
    last_received: int
    behind: list[int]
    """Events acknowledged before the faults were lifted that the agent neither received nor was told of."""
    fates: list[Kind | None] = field(default_factory=list)
    """What became of each of the passed, once `loss.py` has judged them; several checkers ask."""
    in_progress: bool
    """It was connected, or tried to be, after the faults were lifted."""
    caught_up_ns: int | None

    def connection(self, number: int) -> Standing:
        """The connection with this number in the agent's log."""
        return self.by_number[number]
