"""What every source of a replica shares that reads the stream itself, and who looks after them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

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


class Followed(Protocol):
    """What whoever looks after sources asks of one."""

    def end_reading(self, why: str) -> None:
        """Have a reader that waits notice that its connection is over."""


class Registry(Protocol):
    """Who looks after all sources of a replica."""

    async def wait_fit(self) -> None:
        """Wait until the stream may be read. Raises NotReady."""

    def begun(self, source: Followed) -> None:
        """A source follows the stream from now on."""

    def ended(self, source: Followed, reading: asyncio.Task[None]) -> None:
        """It does no more; its task was cancelled, and wants an owner until it has ended."""

    def moved(self) -> None:
        """Sessions may be told of a later place."""

    def discard(self, name: str) -> None:
        """Have a consumer deleted, some time."""
