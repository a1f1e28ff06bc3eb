"""What every source of a replica shares that reads the stream itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from system.database import Database
from system.host import Host
from system.link import NatsLink
from system.metrics import Metrics
from system.places import Places
from system.settings import Settings
from system.tail import Tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a replica that a source uses."""

    settings: Settings
    database: Database
    link: NatsLink
    host: Host
    metrics: Metrics
    places: Places
    tail: Tail
    gate: asyncio.Semaphore
    """Bounds the pages that are read at the same time."""
