"""What a process gets from the machine it runs on: wall clock, entropy and ids.

Everything in `system/` takes these from here and the monotonic clock from its event loop, so that a simulated
host can hand in its own; nothing in the relay reads a clock or draws entropy in any other way.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The clock, entropy and ids of one process."""

    wall: Callable[[], float]
    """Seconds since the Unix epoch, as this host believes; may step and drift."""
    rng: random.Random
    """Jitter only; never a secret."""
    new_id: Callable[[], str]
    """A fresh unique token of [0-9a-f], 32 characters."""

    @classmethod
    def real(cls) -> Host:
        """The machine that this process runs on."""
        return cls(wall=time.time, rng=random.SystemRandom(), new_id=lambda: uuid.uuid4().hex)
