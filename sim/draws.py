"""What plans of every family draw alike: sizes small enough to be reached, publishers, types and names."""

from __future__ import annotations

import random
from typing import Any

from faults.plan import Publisher, RelayLimits, TypeWeight

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
