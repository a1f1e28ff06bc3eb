"""What each agent is owed: the acknowledged events addressed to it or to all, by position, and how old they are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from reports.index import NONE, Index, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What one agent is owed, by position."""

    positions: list[int]
    events: list[int]
    published_before: list[int]
    """The latest first-publish time up to here: everything behind was published later than that or in between."""


def owed_to(index: Index, by_addressee: dict[int, list[tuple[int, int]]], log: Log) -> Owed:
    """The acknowledged events addressed to an agent or to all."""
    both = sorted(by_addressee.get(log.name, []) + by_addressee.get(index.all_agents, []))
    events = [event for _, event in both]
    times = index.events.first_publish_ns
    return Owed(
        positions=[position for position, _ in both],
        events=events,
        published_before=list(accumulate((times[event] for event in events), max)),
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
