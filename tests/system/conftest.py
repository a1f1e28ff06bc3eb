"""Fixtures of the relay's tests: relays on a database and a NATS of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
import structlog

from faults.stack import NatsProcess
from tests.system.harness import InProcess

# structlog's default shows the variables of every frame: pages, with the servers' passwords among them
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
    ]
)


class StartRelay(Protocol):
    """Starts a relay with these settings; several in one test share their servers."""

    async def __call__(self, *, wait: bool = True, **settings: Any) -> InProcess:
        """Start it, and wait until it is ready unless told otherwise."""


@pytest.fixture
def transport() -> str:
    """Where relays read from, unless a test says otherwise: `both_transports` runs it over either."""
    return "cursor"


@pytest.fixture
async def start_relay(fresh_database: str, fresh_nats: NatsProcess, transport: str) -> AsyncIterator[StartRelay]:
    """Start relays in this process on servers of this test's own; they are drained afterwards."""
    running: list[InProcess] = []

    async def start(*, wait: bool = True, **settings: Any) -> InProcess:
        relay = await InProcess.start(fresh_database, fresh_nats, **{"transport": transport} | settings)
        running.append(relay)
        return await relay.ready() if wait else relay

    yield start
    for relay in running:
        await relay.stop()


@pytest.fixture
async def relay(start_relay: StartRelay) -> InProcess:
    """A relay with quick settings, ready."""
    return await start_relay()
