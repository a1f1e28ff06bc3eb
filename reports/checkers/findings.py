"""Findings: what a checker holds against a history, and where in it the evidence stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

KEPT_PER_KIND_MAX = 1_000
"""A run that loses everything has a finding for each event; the thousandth of a kind tells no more than the first."""


class Guarantee(StrEnum):
    """What the relay promises, as far as a history can show it."""

    G1 = "G1"
    G2 = "G2"
    G3 = "G3"
    G4 = "G4"
    G5 = "G5"
    G6 = "G6"
    G8 = "G8"


class Kind(StrEnum):
    """The classes of findings; each breaks one guarantee."""

    LOST_PREFIX = "lost-prefix"
    """Acknowledged, within retention, never received; the agent received later events but none before it."""
    LOST_MIDDLE = "lost-middle"
    """As above, between events that the agent received."""
    LOST_TAIL = "lost-tail"
    """As above, after everything that the agent received."""
    LOST_EARLY = "lost-early"
    """The agent was told that it is gone, but it was younger than its retention then."""
    SAVED_UNHANDLED = "saved-unhandled"
    """The agent's cursor was saved past an event before its application was done with it: a crash would lose it."""

    SILENT_GAP = "silent-gap"
    """Gone beyond retention, and the agent was led past it without a word."""
    WRONG_NOTICE_CLASS = "wrong-notice-class"
    """A critical event is gone and only a gap was told."""
    FALSE_410 = "false-410"
    """The agent was told of a loss, and nothing critical addressed to it is gone, or its cursor was good."""
    FALSE_GAP = "false-gap"
    """The agent was told of a gap, and nothing standard addressed to it is gone."""
    CURSOR_ACCEPTED = "cursor-accepted"
    """A cursor of another epoch, or ahead of the stream, was served instead of answered with a 410."""

    OUT_OF_ORDER = "out-of-order"
    """Delivered after something that lies behind it."""
    CURSOR_SHARED = "cursor-shared"
    """Two events under one cursor: they have no order."""

    DUPLICATE = "duplicate"
    """Delivered twice on one connection."""
    DUPLICATE_STORAGE = "duplicate-storage"
    """One event id under two cursors."""
    REPLAYED = "replayed-at-or-before-cursor"
    """Delivered although the connection began at or behind it."""

    SAVED_FORGOTTEN = "saved-forgotten"
    """A client began anew before the cursor that it had saved: what it has handled comes again."""
    SURPLUS = "surplus"
    """A relay counts more events sent on a connection than its range holds: something twice, or nobody's."""

    FOREIGN = "foreign"
    """Delivered to an agent that it isn't addressed to."""
    PHANTOM = "phantom"
    """Delivered, and never published, or refused at every attempt."""
    UNASKED = "unasked"
    """Delivered to a client that asks for other types only."""
    CHANGED = "changed"
    """Handed to the application with other words than were published."""
    PAST_TOKEN = "past-token"
    """Published after the end of the token that its connection was opened with, and delivered on it."""

    NOT_CONVERGED = "not-converged"
    """Faults were lifted and the run never saw everybody caught up."""
    CONVERGED_LATE = "converged-late"
    """Caught up, but not within the stated bound."""
    NOT_CAUGHT_UP = "not-caught-up"
    """An agent that was connecting after the faults has not got what was acknowledged before they were lifted."""
    WRITER_PENDING = "writer-pending"
    """pg-writer still had messages waiting when the run ended."""

    NOT_REMINDED = "not-reminded"
    """An assignment that nobody acknowledged was not dispatched again, though nothing was in the way."""

    LOST_UNSYNCED = "lost-unsynced"
    """Acknowledged events are lost to a power loss, because NATS acknowledged before it synced."""


GUARANTEE_OF: dict[Kind, Guarantee] = {
    Kind.LOST_PREFIX: Guarantee.G1,
    Kind.LOST_MIDDLE: Guarantee.G1,
    Kind.LOST_TAIL: Guarantee.G1,
    Kind.LOST_EARLY: Guarantee.G1,
    Kind.SAVED_UNHANDLED: Guarantee.G1,
    Kind.SILENT_GAP: Guarantee.G2,
    Kind.WRONG_NOTICE_CLASS: Guarantee.G2,
    Kind.FALSE_410: Guarantee.G2,
    Kind.FALSE_GAP: Guarantee.G2,
    Kind.CURSOR_ACCEPTED: Guarantee.G2,
    Kind.OUT_OF_ORDER: Guarantee.G3,
    Kind.CURSOR_SHARED: Guarantee.G3,
    Kind.DUPLICATE: Guarantee.G4,
    Kind.DUPLICATE_STORAGE: Guarantee.G4,
    Kind.REPLAYED: Guarantee.G4,
    Kind.SAVED_FORGOTTEN: Guarantee.G4,
    Kind.SURPLUS: Guarantee.G4,
    Kind.FOREIGN: Guarantee.G5,
    Kind.PHANTOM: Guarantee.G5,
    Kind.UNASKED: Guarantee.G5,
    Kind.CHANGED: Guarantee.G5,
    Kind.PAST_TOKEN: Guarantee.G5,
    Kind.NOT_CONVERGED: Guarantee.G6,
    Kind.CONVERGED_LATE: Guarantee.G6,
    Kind.NOT_CAUGHT_UP: Guarantee.G6,
    Kind.WRITER_PENDING: Guarantee.G6,
    Kind.NOT_REMINDED: Guarantee.G6,
    Kind.LOST_UNSYNCED: Guarantee.G8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the history shows and the guarantee forbids."""

    kind: Kind
    agent: str | None
    event_id: str | None
    cursor: str | None
    t_ns: int
    """When it became a fact."""
    detail: str
    """One sentence: expected, got."""
    evidence: tuple[int, ...]
    """Indexes of the records that show it, in the order in which to read them."""

    @property
    def guarantee(self) -> Guarantee:
        """What it breaks."""
        return GUARANTEE_OF[self.kind]


SIZES = frozenset({"agents", "events acknowledged", "owed to agents"})
"""Trials that only say how large a history is: without any other, nothing was put to the test."""


@dataclass(slots=True)
class Judged:
    """What one checker examined and found."""

    guarantee: Guarantee
    trials: dict[str, int]
    """How much was examined, by what; all zero means that the guarantee was not put to the test."""
    counts: Counter[Kind] = field(default_factory=Counter)
    """All findings, also those beyond what is kept."""
    kept: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it unless there are enough of its kind."""
        assert finding.guarantee is self.guarantee, (finding.kind, self.guarantee)
        self.counts[finding.kind] += 1
        if self.counts[finding.kind] <= KEPT_PER_KIND_MAX:
            self.kept.append(finding)

    @property
    def is_tried(self) -> bool:
        """Whether the guarantee was put to the test."""
        return any(count for name, count in self.trials.items() if name not in SIZES)

    def __iter__(self) -> Iterator[Finding]:
        """The findings kept."""
        return iter(self.kept)
