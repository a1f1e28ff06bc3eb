"""What is counted while a history is indexed, and what it shows of each epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

from reports.events import NONE


@dataclass(slots=True)
class EpochSeen:
    """What the history shows of one stream epoch."""

    tag: str
    first_ns: int
    position_max: int = 0
    last_publish_ns: int = NONE
    """When the last event that it took was sent: the epoch was current then."""
    last_bookmark_ns: int = NONE
    """When a bookmark of it came last in live: the epoch was current then."""


@dataclass(slots=True)
class Counts:
    """Records seen, by kind, and what is counted nowhere else."""

    records: int = 0
    publish_attempts: int = 0
    published: dict[str, int] = field(default_factory=lambda: {"acked": 0, "refused": 0, "unknown": 0})
    duplicates_answered: int = 0
    deliveries: int = 0
    sent: int = 0
    """Events that relays say they sent, without a record for each."""
    saved: int = 0
    last_ns: int = 0
