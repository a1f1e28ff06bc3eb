"""The transports by name."""

from __future__ import annotations

import enum


class TransportName(enum.StrEnum):
    """Where the relay's sessions read from: the ADR's options."""

    CURSOR = "cursor"
    """Option C: Postgres."""
    JETSTREAM = "jetstream"
    """Option A: a JetStream consumer each."""
    REDIS = "redis"
    """Option B: Redis Streams."""
