"""How a simulated PostgreSQL is set, and how long its work takes."""

from __future__ import annotations

from dataclasses import dataclass

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
    finish_abandoned: bool = False
    """Whether a statement goes on, and commits, when its client is gone: the real server does not look at the socket
    while it works. If not, it is rolled back at once."""
