"""What a simulated world leaves: the trace of everything that was sent, and what it came to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.environment import Environment

OnSegment = Callable[[int, int, str, str, bytes], None]
"""Told of every segment: sent and arrived when, in ns, from which host to which, what."""
OnLog = Callable[[Mapping[str, Any]], object]
"""Told of every line that a replica logs, while it is being logged: its fields."""


class WorldFailed(AssertionError):
    """The simulated world did not come up, or a part of it ended by a bug; no verdict can be drawn."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a world came to, beside its history."""

    trace_sha256: str
    simulated_s: float
    steps: int
    events: int
    deliveries: int
    waiting_for: tuple[str, ...]
    relay_exits: tuple[str, ...]
    client_failures: tuple[str, ...]
    heard: frozenset[str]
    """Which of the marks in the relays' logs were seen."""
    counters: dict[str, int]
    """`redelivered` and `redispatched` by the relays' own metrics, of all their lives; `pending` at the last look."""
    marks: tuple[str, ...] = ()
    """All marks that the run hit, once its history has been read."""
    covered: dict[str, int] = field(default_factory=dict)
    """How often faults took effect, by `kind|target|phase`, once its history has been read."""


@dataclass(slots=True)
class Trace:
    """The SHA-256 of everything that went over the network, and when."""

    environment: Environment
    listener: OnSegment | None = None
    digest: Any = field(default_factory=hashlib.sha256)
    _ways: dict[tuple[str, str], bytes] = field(init=False, default_factory=dict)
    """Between two hosts, as the digest has it."""

    def segment(self, sent_ns: int, source: str, target: str, data: bytes) -> None:
        """Bytes have arrived."""
        if self.listener is not None:
            self.listener(sent_ns, self.environment.now_ns, source, target, data)
        way = self._ways.get((source, target))
        if way is None:
            way = self._ways[source, target] = f"{source}>{target}".encode()
        self.digest.update(b"%d %b %d\n%b" % (self.environment.now_ns, way, len(data), data))
