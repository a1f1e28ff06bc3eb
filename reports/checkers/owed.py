"""What each agent is owed: the acknowledged events addressed to it or to all, by position, and how old they are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, compress

from reports.history import Connect
from reports.index import NONE, Index, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What one agent is owed, by position."""

    positions: list[int]
    events: list[int]
    published_before: list[int]
    """The latest first-publish time up to here: everything behind was published later than that or in between."""
    unasked: tuple[int, ...] = ()
    """Events addressed to it that a client does not ask for: they may be told to be gone, and are never given."""


class OwedOf:
    """What each agent is owed, made once an agent: its clients, of which an export has one a connection, share it."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._by_addressee = by_addressee(index)
        self._made: dict[int, Owed] = {}

    def __call__(self, log: Log) -> Owed:
        """The acknowledged events addressed to a client's agent or to all."""
        owed = self._made.get(log.name)
        if owed is None:
            owed = self._made[log.name] = self._make(log.name)
        return owed

    def _make(self, name: int) -> Owed:
        both = sorted(self._by_addressee.get(name, []) + self._by_addressee.get(self._index.all_agents, []))
        events = [event for _, event in both]
        times = self._index.events.first_publish_ns
        return Owed(
            positions=[position for position, _ in both],
            events=events,
            published_before=list(accumulate((times[event] for event in events), max)),
        )


def asked_for(index: Index, log: Log, owed: Owed) -> Owed:
    """What a client is owed of it: of the types that it asks for on all of its connections."""
    asked = [set(note.types) for note in log.notes if isinstance(note, Connect) and note.types]
    if not asked:
        return owed
    wanted = set.intersection(*asked)
    is_wanted = [index.types[index.events.type[event]] in wanted for event in owed.events]
    return Owed(
        positions=list(compress(owed.positions, is_wanted)),
        events=list(compress(owed.events, is_wanted)),
        published_before=list(compress(owed.published_before, is_wanted)),
        unasked=tuple(event for event, wanted in zip(owed.events, is_wanted, strict=True) if not wanted),
    )


def by_addressee(index: Index) -> dict[int, list[tuple[int, int]]]:
    """Every acknowledged event as (position, event), by addressee."""
    found: dict[int, list[tuple[int, int]]] = {}
    events = index.events
    for row, acked_ns in enumerate(events.acked_ns):
        if acked_ns != NONE:
            found.setdefault(events.addressee[row], []).append((events.position[row], row))
    return found


def is_young(index: Index, event: int, t_ns: int) -> bool:
    """Whether an event was within its retention at a time, without doubt.

    Its age counts from a persistence that the history does not show; it can't have been before the event was sent.
    """
    return t_ns - index.events.first_publish_ns[event] < index.retention_ns(event) - index.run.slack_ns
