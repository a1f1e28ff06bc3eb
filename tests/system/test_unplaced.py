"""Sessions whose replica's tail knows no place yet, or a later one than Postgres: they wait, and hardly ask."""

from __future__ import annotations

import asyncio

import pytest

from system.cursor import Position
from system.hub import Hub
from system.places import Places
from system.session import Page
from tests.system.conftest import StartRelay
from tests.system.harness import event, eventually, held_tail

pytestmark = pytest.mark.stack


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Position]:
    """After which positions pages were read, so far."""
    after_each: list[Position] = []
    read_page = Places.read_page

    async def counted(self: Places, agent: str, after: Position, rows_max: int) -> Page:
        after_each.append(after)
        return await read_page(self, agent, after, rows_max)

    monkeypatch.setattr(Places, "read_page", counted)
    return after_each


async def test_before_the_tail_has_read_a_session_waits(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, reads: list[Position]
) -> None:
    """All that is stored is replayed; then the session waits for the tail's first reading, with heartbeats, and asks
    Postgres nothing. It asked as fast as Postgres answered.
    """
    leader = await start_relay()
    await leader.publish(event("e1"))
    await leader.settled()
    other = await start_relay(wait=False, heartbeat_s=0.1, tail_poll_s=0.2)
    gate = held_tail(other.relay, monkeypatch)
    other.relay._hub.start, other.relay._hub.head = None, Position(0)  # whatever it has read by now
    reads.clear()
    async with other.stream(cursor="earliest") as stream:
        assert await stream.events(1) == ["e1"]
        for _ in range(5):
            await stream.until(lambda frame: frame.comment is not None)
        assert len(reads) == 1
        gate.set()
        await stream.named("relay.cursor")
        await leader.publish(event("e2"))
        assert await stream.events(1) == ["e2"]


async def test_where_postgres_went_back_a_session_looks_now_and_then(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, reads: list[Position]
) -> None:
    """Postgres lost commits by a failover, and the hub's window begins beyond its watermark: until pg-writer is there
    again a session looks at the pace of the tail's poll. It looked as fast as Postgres answered.
    """
    relay = await start_relay(tail_poll_s=0.2)
    await relay.publish(event("e1"))
    await relay.settled()
    await eventually(lambda: relay.relay._hub.head & 1, "the tail to be there")
    hub: Hub = relay.relay._hub
    hub.reset(Position(hub.head + 3))
    async with relay.stream(cursor="earliest") as stream:
        assert await stream.events(1) == ["e1"]
        reads.clear()
        await asyncio.sleep(1.0)
        assert 2 <= len(reads) <= 6
        await relay.publish(*(event(f"e{number}") for number in range(2, 6)))
        assert await stream.events(4) == ["e2", "e3", "e4", "e5"]
