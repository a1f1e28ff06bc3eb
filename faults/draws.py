"""What drawn plans of every family have alike: sizes small enough to be reached, publishers, types and names."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from faults.plan import Pinned, Publisher, RelayLimits, Retention, TypeWeight

TYPES = (
    TypeWeight(type="task.assigned", weight=3),
    TypeWeight(type="task.created", weight=1),
    TypeWeight(type="task.mentioned", weight=1),
    TypeWeight(type="agent.status", weight=3),
    TypeWeight(type="note.added", weight=2),
)
CRITICAL, STANDARD = "task.mentioned", "agent.status"
NAMES = ("a", "ab", "b", "agent-4", "agent-5", "agent-6")
"""One begins like another: what matches by prefix would leak."""


def drawn_limits(rng: random.Random) -> RelayLimits:
    """The relay's sizes, small or its defaults."""
    return RelayLimits(
        page_rows=rng.choice((1, 2, 5, None)),
        tail_rows=rng.choice((2, 10, None)),
        writer_batch=rng.choice((1, 4, None)),
        hub_window_events=rng.choice((1, 5, 50, None)),
        slow_client_bytes=rng.choice((1_024, 8_192, None)),
        redispatch_max=rng.choice((0, 1, 3)),
    )


def drawn_publishers(rng: random.Random) -> tuple[Publisher, ...]:
    """One to three publishers, over HTTP or straight into NATS."""
    vias: tuple[Any, ...] = rng.choice((("http",), ("nats",), ("http", "nats"), ("http", "http", "nats")))
    return tuple(
        Publisher(name=f"{via}-{number}", via=via, batch_max=rng.choice((1, 5, 20)))
        for number, via in enumerate(vias, start=1)
    )


def missed(
    rng: random.Random,
    agent: str,
    sleep_s: tuple[float, float],
    retention: Retention,
    *,
    edges_s: Sequence[float],
    after_s: float,
) -> Iterator[Pinned]:
    """What there is to be missed in a sleep: of both classes, soon after its start and around the edges of retention
    seen from its end, off by one of `edges_s` either way.
    """
    asleep_s, wakes_s = sleep_s
    for kind, kept_s in ((CRITICAL, retention.critical_s), (STANDARD, retention.standard_s)):
        yield Pinned(at_s=round(asleep_s + after_s, 3), agent=agent, type=kind)
        edge_s = round(wakes_s - kept_s + rng.choice(edges_s) * rng.choice((-1, 1)), 3)
        if asleep_s < edge_s < wakes_s:
            yield Pinned(at_s=edge_s, agent=agent, type=kind)
