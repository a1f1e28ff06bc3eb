"""The stream begins anew while an application is being told that it did: it is told of that too, until it has heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from system.client import AgentClient, GoneNotice, MemoryCursorStore
from tests.system.client.scripted import FAST, Application, seeded_host, until
from tests.system.client.test_client_real_relay import swept
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event
from tests.system.test_epoch import begun, publish_until_taken, recreate

pytestmark = pytest.mark.stack


class Rebuilding(Application):
    """An application that fetches its state anew when it is told of a loss, which takes time, or fails."""

    def __init__(self, *, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.fetched = asyncio.Event()
        self.begun: list[str] = []
        """Why it began to fetch its state."""
        self.done: list[str] = []

    async def on_gone(self, notice: GoneNotice) -> None:
        """Raises LookupError while failures are left."""
        self.begun.append(notice.reason)
        if self.failures:
            self.failures -= 1
            raise LookupError("the state is away")
        await self.fetched.wait()
        self.done.append(notice.reason)


@asynccontextmanager
async def back_in_the_second_life(relay: InProcess, app: Rebuilding) -> AsyncIterator[None]:
    """An agent comes back with a cursor of the stream's first life, and runs until the end of the block."""
    old = await relay.publish(event("a1"), event("a2"))
    await relay.settled()
    await recreate(relay)
    await begun(relay, 2)

    async def token() -> str:
        return relay.token("ann", scope="stream")

    client = AgentClient(relay.url, "ann", token, app, MemoryCursorStore(old[1]), seeded_host(), settings=FAST)
    running = asyncio.create_task(client.run())
    await until(lambda: app.begun == ["wrong_epoch"])
    yield
    client.stop()
    await running


async def test_who_failed_to_hear_is_told_again(start_relay: StartRelay) -> None:
    """The handler raised once: the next connection showed the relay that it knew, and nobody ever told it."""
    app = Rebuilding(failures=1)
    app.fetched.set()
    relay = await start_relay(retry_min_ms=1, retry_max_ms=5)
    async with back_in_the_second_life(relay, app):
        await publish_until_taken(relay, "b1")
        await until(lambda: app.handled[-1:] == ["b1"])
    assert (app.begun, app.done) == (["wrong_epoch", "wrong_epoch"], ["wrong_epoch"])


async def test_what_expires_meanwhile_is_told(start_relay: StartRelay) -> None:
    """A critical event comes and expires while the agent fetches its state, which does not have it."""
    app = Rebuilding()
    relay = await start_relay(retry_min_ms=1, retry_max_ms=5)
    async with back_in_the_second_life(relay, app):
        await publish_until_taken(relay, "c1")
        await swept(relay, "c1")
        await publish_until_taken(relay, "c2")
        await relay.settled()
        app.fetched.set()
        await until(lambda: app.handled[-1:] == ["c2"])
    assert "c1" not in app.handled
    assert app.done == ["wrong_epoch", "expired"]


async def test_the_third_life_is_told(start_relay: StartRelay) -> None:
    """Floors and reason are those of the second, which was told: only the head says that it is another."""
    app = Rebuilding()
    relay = await start_relay(retry_min_ms=1, retry_max_ms=5)
    async with back_in_the_second_life(relay, app):
        await recreate(relay)
        await begun(relay, 3)
        await publish_until_taken(relay, "d1")
        await relay.settled()
        app.fetched.set()
        await until(lambda: app.handled[-1:] == ["d1"])
    assert app.done == ["wrong_epoch", "wrong_epoch"]
