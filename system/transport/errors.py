"""What a transport can raise beyond what Postgres and NATS do; apart, so that nobody imports a client for it."""

from __future__ import annotations


class RedisUnavailable(Exception):
    """Redis did not answer as a healthy server would; whether a write took effect is unknown."""
