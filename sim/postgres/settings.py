"""How a simulated PostgreSQL is set, and how long its work takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sim.errors import NotModelled

Range = tuple[float, float]
"""Seconds, from and to; each use draws its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """Settings of one server; durations are drawn evenly from their ranges."""

    user: str = "meshrelay"
    password: str | None = None
    """Asked for in cleartext; None trusts everybody."""
    max_connections: int = 100
    fsync: bool = True
    full_page_writes: bool = True
    synchronous_commit: bool = True
    statement_s: Range = (0.000_1, 0.001)
    """Before a statement takes its snapshot, and between the parts of one that writes."""
    commit_s: Range = (0.000_5, 0.005)
    """From the commit record until it is durable, when the commit waits for that."""
    wake_s: Range = (0.0, 0.000_2)
    """From the end of a transaction until those go on that waited for it."""
    recovery_s: Range = (0.05, 0.5)
    """From the start of the process until it takes connections; until then they are refused with 57P03."""
    wal_writer_s: Range = (0.2, 0.6)
    """Until an asynchronous commit is durable: one to three times wal_writer_delay."""
    writeback_s: Range = (5.0, 35.0)
    """Until the kernel writes by itself what was never fsynced."""
    deadlock_timeout_s: float = 1.0


_DURATION = re.compile(r"([0-9]+) *(ms|s|min|)\Z")
_UNITS_S = {"": 0.001, "ms": 0.001, "s": 1.0, "min": 60.0}


def duration_s(text: str) -> float:
    """A setting of time in seconds; without a unit it is in milliseconds. Raises NotModelled."""
    found = _DURATION.match(text)
    if found is None:
        raise NotModelled(f"expected a duration as `250`, `250ms`, `2s` or `1min`, got {text!r}")
    return int(found[1]) * _UNITS_S[found[2]]
