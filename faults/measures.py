"""Faults on links with their measures drawn: strong enough for a probe of a second or two to show them."""

from __future__ import annotations

import random
from typing import Any

from faults.vocabulary import (
    Bandwidth,
    Cut,
    Direction,
    Down,
    Latency,
    LimitData,
    Link,
    LinkFault,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)

LINK_KINDS = ("cut", "down", "latency", "bandwidth", "timeout", "reset_peer", "slicer", "slow_close", "limit_data")
"""Those that are drawn here: all that Toxiproxy can do."""


def link_fault(
    rng: random.Random, kind: str, direction: Direction, *, link: Link, at_ms: int, for_ms: int
) -> LinkFault:
    """A fault of a kind, with no id yet."""
    at_s, for_s = at_ms / 1000, for_ms / 1000
    place: dict[str, Any] = {"id": "", "link": link, "direction": direction, "at_s": at_s, "for_s": for_s}
    match kind:
        case "latency":
            latency_ms = rng.randint(100, 400)
            return Latency(**place, latency_ms=latency_ms, jitter_ms=rng.randint(0, latency_ms // 4))
        case "bandwidth":
            return Bandwidth(**place, rate_kb_s=rng.randint(5, 40))
        case "timeout":
            return Timeout(**place, timeout_ms=rng.choice((0, 500, 1_500)))
        case "reset_peer":
            return ResetPeer(**place, timeout_ms=rng.choice((0, 100)))
        case "slicer":
            size = rng.randint(40, 200)
            return Slicer(
                **place,
                average_size_bytes=size,
                size_variation_bytes=rng.randint(0, size // 4),
                delay_us=rng.randint(1_000, 4_000),
            )
        case "slow_close":
            return SlowClose(**place, delay_ms=rng.randint(200, 800))
        case "limit_data":
            return LimitData(**place, limit_bytes=rng.randint(1_000, 8_000))
        case "cut":
            return Cut(**place)
        case _:
            assert kind == "down", kind
            return Down(**place)
