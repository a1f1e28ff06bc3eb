"""Where everything is in Redis: the names of keys, and positions as ids of stream entries.

All keys of a stream share one hash tag, so that a cluster keeps them on one node: transactions need that.
"""

from __future__ import annotations

from system.cursor import SEQ_MAX, Position, ordinal_of, pack, seq_of
from system.event import RetentionClass

FIELDS = "watermark", "mark_ns", "tag"
"""Of the hash `feed`: up to where the streams are filled, JetStream's time of that message, its epoch's tag."""
_LETTERS = {RetentionClass.CRITICAL: "c", RetentionClass.STANDARD: "s"}


class Keys:
    """The keys of one JetStream stream's feed."""

    def __init__(self, stream: str) -> None:
        self.prefix = f"{{mesh:{stream}}}:"
        self.feed = f"{self.prefix}feed"
        self.fence = f"{self.prefix}fence"
        """The highest fence that ever fed or trimmed, apart from `feed`: who trims need not watch what is fed."""
        self.ages = f"{self.prefix}ages"
        """Sorted set: a watermark by the time at which it was reached, in ms of Redis's clock."""
        self.news = f"{self.prefix}news"
        """The channel on which each feed is told: `<watermark before> <after> <agent> <agent> …`."""

    def events(self, agent: str, kept_class: RetentionClass) -> str:
        """The stream of an agent's events of a class."""
        return f"{self.prefix}agent:{agent}:{_LETTERS[kept_class]}"

    def floors(self, kept_class: RetentionClass) -> str:
        """Hash: the highest trimmed position, by agent."""
        return f"{self.prefix}floors:{_LETTERS[kept_class]}"

    def oldest(self, kept_class: RetentionClass) -> str:
        """Sorted set: agents by when their stream's oldest entry was fed, in ms; only those whose stream has any."""
        return f"{self.prefix}oldest:{_LETTERS[kept_class]}"

    def event_id(self, event_id: str) -> str:
        """An event's position by its id, for as long as a repeat of it must be recognised."""
        return f"{self.prefix}id:{event_id}"


def entry_id(position: Position) -> str:
    """A position as the id of a stream entry: `<epoch ordinal>-<stream sequence>`, in the same order."""
    return f"{ordinal_of(position)}-{seq_of(position)}"


def next_id(position: Position) -> str:
    """The first id above a position."""
    return entry_id(Position(position + 1)) if seq_of(position) < SEQ_MAX else f"{ordinal_of(position) + 1}-0"


def position_of(entry: bytes) -> Position:
    """The position of a stream entry by its id."""
    ordinal, _, seq = entry.partition(b"-")
    return pack(int(ordinal), int(seq))
