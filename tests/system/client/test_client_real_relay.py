"""The client against the relay itself, on real NATS and Postgres: what the scripted relay assumes is so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from system.client import AgentClient, FileCursorStore, MemoryCursorStore, Outcome, PageReader, Publisher
from system.client.store import CursorStore
from tests.system.client.scripted import FAST, PATIENCE_S, Application, Watcher, seeded_host, until
from tests.system.conftest import StartRelay
from tests.system.harness import InProcess, event, eventually

pytestmark = pytest.mark.stack

LIVELY = replace(FAST, ack_interval_s=0.05, ack_flush_timeout_s=PATIENCE_S)


class Life:
    """One life of the agent `ann`."""

    def __init__(self, relay: InProcess, store: CursorStore, **options: Any) -> None:
        self.app = Application()
        self.seen = Watcher()

        async def token() -> str:
            return relay.token("ann", scope="stream", ttl_s=options.get("token_ttl_s", 600))

        self.client = AgentClient(
            relay.url, "ann", token, self.app, store, seeded_host(), settings=LIVELY, observer=self.seen,
            types=options.get("types", ()),
        )  # fmt: skip

    async def handled(self, *ids: str) -> None:
        """Wait until exactly these events have been handled, in this order."""
        await until(lambda: len(self.app.handled) >= len(ids), f"{ids} to be handled")
        assert self.app.handled == list(ids)


@asynccontextmanager
async def life(relay: InProcess, store: CursorStore, **options: Any) -> AsyncIterator[Life]:
    """A life for the length of the block, stopped in good order."""
    made = Life(relay, store, **options)
    task = asyncio.create_task(made.client.run())
    try:
        yield made
        made.client.stop()
        async with asyncio.timeout(PATIENCE_S):
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_lives_follow_each_other_without_loss(start_relay: StartRelay, tmp_path: Any) -> None:
    """Over a restart of the agent every event is handled once, in order, and the last one is acknowledged."""
    relay = await start_relay()
    store = FileCursorStore(tmp_path / "cursor")
    await relay.publish(event("r1"), event("r2", type="note.added"))
    async with life(relay, store) as first:
        await first.handled("r1", "r2")
        await relay.publish(event("r3", subject="_all"))
        await first.handled("r1", "r2", "r3")
    (_, last) = await relay.publish(event("x", subject="bob"), event("r4"))
    async with life(relay, store) as second:
        await second.handled("r4")
    assert second.seen.named("acked")[-1] == (last,)


async def test_what_expired_is_told_exactly(start_relay: StartRelay) -> None:
    """Standard events gone: a gap. Critical ones gone: a 410, told once, and the rest is delivered behind it."""
    sweeping = await start_relay()
    store = MemoryCursorStore((await sweeping.publish(event("first", type="note.added")))[0])
    await sweeping.publish(event("n1", type="note.added"))
    await swept(sweeping, "first", "n1")
    fresh = await start_relay()  # the other still has the expired event in its window, and delivers it
    await fresh.publish(event("c1"))
    async with life(fresh, store) as gap:
        await gap.handled("c1")
        assert (len(gap.app.gaps), gap.app.gones) == (1, [])
    await fresh.publish(event("c2"))
    await swept(fresh, "c2")
    await fresh.publish(event("c3"))
    async with life(fresh, store) as gone:
        await until(lambda: "c3" in gone.app.handled)
        assert [notice.reason for notice in gone.app.gones] == ["expired"]
        assert [call[1:] for call in gone.seen.named("connected")] == [(410, "expired"), (200, None)]


async def swept(relay: InProcess, *ids: str) -> None:
    """Make these events a month old, and wait until the sweeper has deleted them."""
    await relay.settled()
    names = ", ".join(f"'{event_id}'" for event_id in ids)
    await relay.rows(f"UPDATE agent_events SET persisted_at = now() - interval '30 days' WHERE id IN ({names})")

    async def are_gone() -> bool:
        return not await relay.rows(f"SELECT 1 FROM agent_events WHERE id IN ({names})")

    await eventually(are_gone, f"{names} to be swept")


@pytest.mark.parametrize(("foreign", "reason"), [("zzzzzz-1", "wrong_epoch"), (None, "ahead")])
async def test_a_foreign_cursor_starts_over(start_relay: StartRelay, foreign: str | None, reason: str) -> None:
    """A cursor that is no place in this stream is told with its reason, and everything retained is delivered."""
    relay = await start_relay()
    (cursor,) = await relay.publish(event("f1"))
    store = MemoryCursorStore(foreign or f"{cursor.partition('-')[0]}-900000")
    async with life(relay, store) as agent:
        await agent.handled("f1")
        assert [notice.reason for notice in agent.app.gones] == [reason]
    assert store.cursor is not None
    assert store.cursor.partition("-")[0] == cursor.partition("-")[0]


async def test_a_token_that_expires_in_the_stream_costs_nothing(start_relay: StartRelay) -> None:
    """A stream that ends with its token goes on behind its place, with a fresh one."""
    relay = await start_relay(retry_min_ms=1, retry_max_ms=5)
    async with life(relay, MemoryCursorStore(), token_ttl_s=2) as agent:
        await relay.publish(event("t1"))
        await agent.handled("t1")
        await until(lambda: any(why == "token_expired" for _, why in agent.seen.named("closed")))
        await relay.publish(event("t2"))
        await agent.handled("t1", "t2")
        assert {call[1] for call in agent.seen.named("connected")} == {200}


async def test_types_are_filtered_also_after_a_loss(start_relay: StartRelay) -> None:
    """An agent that asked for some types gets no others, also at the resync address."""
    relay = await start_relay()
    (cursor,) = await relay.publish(event("y1"))
    await relay.publish(event("y2", type="note.added"), event("y3"))
    ahead = MemoryCursorStore(f"{cursor.partition('-')[0]}-900000")
    async with life(relay, ahead, types=("task.assigned",)) as agent:
        await agent.handled("y1", "y3")
        assert [notice.reason for notice in agent.app.gones] == ["ahead"]


async def test_pages_hold_everything_retained(start_relay: StartRelay) -> None:
    """Page after page gives the same events as the stream, in order."""
    relay = await start_relay()
    await relay.publish(*(event(f"p{number}") for number in range(7)))
    await relay.settled()
    reader = PageReader(
        relay.url, "ann", relay.token("ann", scope="stream"), seeded_host(), page_events_max=3, settings=LIVELY
    )
    async with reader:
        pages = [page async for page in reader.read(start="earliest")]
    assert [one.id for page in pages for one in page.events] == [f"p{number}" for number in range(7)]
    assert [len(page.events) for page in pages[:2]] == [3, 3]


async def test_publishing_twice_stores_once(start_relay: StartRelay) -> None:
    """The second attempt with an id is acknowledged as a duplicate at the same cursor; other content is refused."""
    relay = await start_relay()
    async with Publisher(relay.url, relay.token("p", scope="publish"), seeded_host()) as publisher:
        made = event("d1")
        first = await publisher.publish_until_known(made, give_up_after_s=PATIENCE_S)
        again = await publisher.publish_until_known(made, give_up_after_s=PATIENCE_S)
        other = await publisher.publish_until_known(made | {"data": "other"}, give_up_after_s=PATIENCE_S)
    assert (first.outcome, first.duplicate) == (Outcome.ACKED, False)
    assert (again.outcome, again.duplicate, again.cursor) == (Outcome.ACKED, True, first.cursor)
    assert (other.outcome, other.status) == (Outcome.REFUSED, 409)
