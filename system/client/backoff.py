"""How long to wait before the next attempt: full jitter over an exponential ceiling.

Full jitter (uniform from 0) spreads a reconnect storm best: M. Brooker, 'Exponential Backoff And Jitter', 2015.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

DOUBLINGS_MAX = 16
"""Enough to go from 1 ms to a minute; keeps the power from overflowing a float after years of outage."""


def backoff_s(rng: random.Random, *, attempt: int, base_s: float, max_s: float, told_s: float = 0.0) -> float:
    """Seconds to wait before attempt number `attempt` (0 is the first retry).

    Never earlier than the server told (`told_s`), and spread on top of it, so that those who were told the same
    do not come back together.
    """
    assert attempt >= 0, attempt
    ceiling_s = min(max_s, base_s * 2.0 ** min(attempt, DOUBLINGS_MAX))
    return told_s + rng.uniform(0.0, ceiling_s)


def retry_after_s(header: str | None, *, wall: Callable[[], float], max_s: float) -> float:
    """Seconds asked for by a Retry-After header (RFC 9110, 10.2.3), in seconds or as a date; 0 if none or unreadable.

    Bounded by `max_s`: a mistaken header must not park an agent for a day.
    """
    if header is None:
        return 0.0
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(max_s, float(text[:12]))
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max_s, max(0.0, date.timestamp() - wall()))
