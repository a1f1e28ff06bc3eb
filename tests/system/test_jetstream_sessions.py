"""Transport jetstream: each session reads the stream itself, and gets the same as from the table."""

from __future__ import annotations

import pytest

from tests.system.conftest import StartRelay
from tests.system.harness import event

pytestmark = pytest.mark.parametrize("transport", ["jetstream"])


async def test_replay_then_live(start_relay: StartRelay) -> None:
    """What was published before comes by replay, what comes after live, and a cursor goes on where it was given."""
    relay = await start_relay()
    first = [event() for _ in range(5)]
    await relay.publish(*first, event(subject="bob"))
    async with relay.stream() as stream:
        assert await stream.events(5) == [one["id"] for one in first]
        more = event()
        await relay.publish(event(subject="bob"), more)
        assert await stream.events(1) == [more["id"]]
        last = event(subject="_all")
        await relay.publish(last)
        assert await stream.events(1) == [last["id"]]
    async with relay.stream(last_event_id=stream.cursors[2]) as again:
        assert await again.events(4) == [*(one["id"] for one in first[3:]), more["id"], last["id"]]
