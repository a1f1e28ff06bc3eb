"""Fixtures of the relay's tests: relays on a database and a NATS of their own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
import structlog

from faults.stack import EmbeddedStack, NatsProcess
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
        """Start it, and wait until it is ready, and serves pages, unless told otherwise."""


@pytest.fixture
async def transport(request: pytest.FixtureRequest, stack: EmbeddedStack) -> AsyncIterator[dict[str, Any]]:
    """The settings of the transport that a test is parametrized with (indirectly), and what it needs, started."""
    name = getattr(request, "param", "cursor")
    if name != "redis":
        yield {"transport": name}
        return
    server = stack.add_redis(f"redis-{uuid.uuid4().hex[:8]}")
    await server.start()
    yield {"transport": name, "redis_url": server.url}
    await stack.remove(server)


@pytest.fixture
async def start_relay(
    fresh_database: str, fresh_nats: NatsProcess, transport: dict[str, Any]
) -> AsyncIterator[StartRelay]:
    """Start relays in this process on servers of this test's own; they are drained afterwards."""
    running: list[InProcess] = []

    async def start(*, wait: bool = True, **settings: Any) -> InProcess:
        relay = await InProcess.start(fresh_database, fresh_nats, **(transport | settings))
        running.append(relay)
        if wait:
            await relay.ready()
        if wait and relay.relay.settings.transport == "jetstream":
            await relay.swept()
        return relay

    yield start
    for relay in running:
        await relay.stop()


@pytest.fixture
async def relay(start_relay: StartRelay) -> InProcess:
    """A relay with quick settings, ready."""
    return await start_relay()
