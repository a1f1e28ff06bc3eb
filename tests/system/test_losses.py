"""What leaves the stream before it is stored: told to everybody, by one epoch, and passed in silence by nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from system import hints
from system.batch import Batch
from system.database import DatabaseUnavailable
from system.places import Places
from system.tail import Tail
from system.transport.redis.feeder import Feeder
from system.writer import Writer
from tests.system.conftest import StartRelay
from tests.system.harness import STREAM, InProcess, all_transports, event, eventually, problem
from tests.system.test_epoch import begun, epochs

pytestmark = pytest.mark.stack


async def lost(relay: InProcess) -> list[tuple[int, int]]:
    """What pg-writer recorded as lost, first and last sequence."""
    query = (
        "SELECT pos & ((1::bigint << 48) - 1) AS first, last_pos & ((1::bigint << 48) - 1) AS last FROM dead_letters"
    )
    rows = await relay.rows(f"{query} WHERE reason = 'lost_in_stream' ORDER BY pos")
    return [(row["first"], row["last"]) for row in rows]


@all_transports
async def test_what_leaves_the_stream_before_it_is_stored_is_told_to_all(relay: InProcess) -> None:
    """G2: pg-writer fell behind and messages are gone that it never saw. Nobody knows whose they were, so a new epoch
    begins ahead of them: live sessions end, every cursor from before is a 410, and what is left is read again.

    They were recorded as lost, the watermark passed them, and their agents were never told.
    """
    (known,) = await relay.publish(event("a1"))
    await relay.settled()
    async with relay.stream(cursor="now") as live:
        await behind(relay, 3, 4, 6)
        assert (await live.rest())[-1].data["reason"] == "epoch"
    await begun(relay, 2)
    await relay.settled()
    assert (await epochs(relay))[1][1] == "messages_lost"
    assert await lost(relay) == [(3, 3), (4, 4), (6, 6)]
    assert await relay.metric("relay_writer_lost_total") == 3
    document = problem(await relay.get(f"/v1/agents/ann/events?cursor={known}", Accept="text/event-stream"), 410)
    assert document["reason"] == "wrong_epoch"
    # Redis may have been fed what Postgres never saw
    rows = await relay.rows("SELECT id FROM agent_events ORDER BY pos")
    assert [row["id"] for row in rows] == ["a1", "b0", "b3", "b5"]
    if relay.relay.settings.transport != "redis":
        async with relay.stream(cursor="earliest") as stream:
            assert await stream.events(4) == ["a1", "b0", "b3", "b5"]
    await relay.publish(event("c1"))
    await relay.settled()
    assert len(await epochs(relay)) == 2


@all_transports
async def test_a_writer_that_the_stream_has_left_behind_tells_all(start_relay: StartRelay) -> None:
    """The stream begins behind the watermark after an absence of all replicas: one record for all that is gone, one new
    epoch, nothing twice.
    """
    relay = await start_relay()
    (known,) = await relay.publish(event("a1"))
    await relay.settled()
    await relay.relay.drain()
    jetstream = (await relay.nats()).jetstream()
    for number in range(2, 7):
        await jetstream.publish("mesh.events.ann.task.assigned", json.dumps(event(f"a{number}")).encode())
    await jetstream.purge_stream(STREAM, seq=5)
    again = await start_relay(wait=False)
    await begun(again, 2)
    await again.settled()
    assert (await epochs(again))[1][1] == "messages_lost"
    assert await lost(again) == [(2, 4)]
    assert await again.metric("relay_writer_lost_total") == 3
    document = problem(await again.get(f"/v1/agents/ann/events?cursor={known}", Accept="text/event-stream"), 410)
    assert document["reason"] == "wrong_epoch"
    async with again.stream(cursor="earliest") as stream:
        assert await stream.events(3) == ["a1", "a5", "a6"]
    assert await again.rows("SELECT mark_ns FROM event_stream WHERE mark_ns IS NOT NULL")


async def behind(relay: InProcess, *lost: int, count: int = 6) -> None:
    """Take the lease from pg-writer, publish events b0, b1, ..., delete some by sequence, and hand the lease back."""
    await relay.rows(
        "UPDATE event_stream SET fence = fence + 1, holder = '', lease_until = now() + interval '1 day' RETURNING 1"
    )
    await relay.publish(*(event(f"b{number}") for number in range(count)))
    nc = await relay.nats()
    for seq in lost:
        await nc.jetstream().delete_msg(STREAM, seq)
    await relay.rows("UPDATE event_stream SET lease_until = '-infinity' RETURNING 1")
    await nc.publish(hints.LEASE_SUBJECT, b"")


async def stored(relay: InProcess, epoch: int, seq: int) -> None:
    """Wait until Postgres is in this epoch, and pg-writer has got so far."""

    async def there() -> bool:
        (row,) = await relay.rows("SELECT epoch, watermark & ((1::bigint << 48) - 1) AS seq FROM event_stream")
        return bool(row["epoch"] == epoch and row["seq"] == seq)

    await eventually(there, f"sequence {seq} in epoch {epoch}")


@pytest.mark.parametrize("transport", ["cursor", "redis"], indirect=True)
async def test_no_replay_leads_across_a_loss(relay: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session is in replay when the epoch begins, and the tail hears of it later: its next page holds what lies
    behind the loss. It ends instead, and its cursor is a 410.

    It was given that page, with cursors of the new epoch, and never heard of the loss (found by review).
    """
    (known,) = await relay.publish(event("a1"))
    await relay.settled()
    has_polled, has_read, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
    read, read_page, begin, feed_all = Tail._read, Places.read_page, Feeder._begin, Feeder._feed_all

    async def polled_late(self: Tail, after: Any) -> Any:
        await has_polled.wait()
        return await read(self, after)

    async def read_late(self: Places, *values: Any) -> Any:
        asked.set()
        await has_read.wait()
        return await read_page(self, *values)

    async def begun_late(self: Feeder, *values: Any) -> Any:
        await has_read.wait()
        return await begin(self, *values)

    async def fed_late(self: Feeder, *values: Any) -> Any:
        await has_read.wait()
        return await feed_all(self, *values)

    monkeypatch.setattr(Tail, "_read", polled_late)
    monkeypatch.setattr(Places, "read_page", read_late)
    await asyncio.sleep(0.3)
    async with asyncio.timeout(20), relay.stream(cursor=known) as session:
        if relay.relay.settings.transport == "redis":
            await session.named("relay.cursor")  # live; what is fed later has it read a page
        else:
            await asyncio.wait_for(asked.wait(), 5)
        monkeypatch.setattr(Feeder, "_begin", begun_late)
        monkeypatch.setattr(Feeder, "_feed_all", fed_late)
        await behind(relay, 3, 4, 6)
        await stored(relay, epoch=2, seq=7)
        has_read.set()
        frames = await session.rest()
    has_polled.set()
    assert [frame for frame in frames if frame.is_event] == []
    assert (frames[-1].event, frames[-1].data["reason"]) == ("relay.close", "epoch")
    document = problem(await relay.get(f"/v1/agents/ann/events?cursor={known}", Accept="text/event-stream"), 410)
    assert document["reason"] == "wrong_epoch"


async def test_no_page_leads_across_a_loss(relay: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is read after an epoch began, for a cursor from before, is refused; asked again, it is a 410."""
    (known,) = await relay.publish(event("a1"))
    await relay.settled()
    has_read, asked = asyncio.Event(), asyncio.Event()
    read_page = Places.read_page

    async def read_late(self: Places, *values: Any) -> Any:
        asked.set()
        await has_read.wait()
        return await read_page(self, *values)

    monkeypatch.setattr(Places, "read_page", read_late)
    async with asyncio.timeout(20):
        answer = asyncio.create_task(relay.get(f"/v1/agents/ann/events?cursor={known}"))
        await asked.wait()
        await behind(relay, 3, 4, 6)
        await stored(relay, epoch=2, seq=7)
        has_read.set()
        problem(await answer, 503)
    assert problem(await relay.get(f"/v1/agents/ann/events?cursor={known}"), 410)["reason"] == "wrong_epoch"


async def test_a_write_that_fails_tells_of_a_loss_once(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres takes the epoch and not the events, for seconds: one epoch, one count, and everything is stored at last.

    Each attempt began an epoch, two a second (found by review).
    """
    relay = await start_relay()
    await relay.publish(event("a1"))
    await relay.settled()
    execute, failed = Writer._execute, 0

    async def full(self: Writer, place: Any, batch: Batch) -> Any:
        nonlocal failed
        if batch.events and failed < 4:
            failed += 1
            raise DatabaseUnavailable("DiskFullError: could not extend file")
        return await execute(self, place, batch)

    monkeypatch.setattr(Writer, "_execute", full)
    await behind(relay, 3, 4, 6)
    await stored(relay, epoch=2, seq=7)
    assert failed == 4
    assert await relay.metric("relay_writer_lost_total") == 3
    assert await lost(relay) == [(3, 3), (4, 4), (6, 6)]


async def test_a_loss_that_grows_before_it_is_recorded_is_told_again(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch began, its record failed, and the stream dropped more meanwhile: of that more another epoch tells.

    By the first sequence alone the longer range was taken for the one that had been told.
    """
    relay = await start_relay()
    await relay.publish(event("a1"))
    await relay.settled()
    await relay.relay.drain()
    jetstream = (await relay.nats()).jetstream()
    for number in range(2, 9):
        await jetstream.publish("mesh.events.ann.task.assigned", json.dumps(event(f"a{number}")).encode())
    await jetstream.purge_stream(STREAM, seq=5)
    execute, has_failed, is_purged = Writer._execute, asyncio.Event(), asyncio.Event()

    async def fails_first(self: Writer, place: Any, batch: Batch) -> Any:
        if not is_purged.is_set():
            has_failed.set()
            await is_purged.wait()
            raise DatabaseUnavailable("the connection was reset")
        return await execute(self, place, batch)

    monkeypatch.setattr(Writer, "_execute", fails_first)
    again = await start_relay(wait=False)
    await has_failed.wait()
    await jetstream.purge_stream(STREAM, seq=7)
    is_purged.set()
    await stored(again, epoch=3, seq=8)
    assert await lost(again) == [(2, 6)]
    assert await again.metric("relay_writer_lost_total") == 5


async def test_one_epoch_tells_of_all_that_is_gone(start_relay: StartRelay) -> None:
    """Holes lie in every batch, as what expires leaves them: one epoch, not one for each batch (found by review)."""
    relay = await start_relay(writer_batch=5)
    await relay.publish(event("a1"))
    await relay.settled()
    await behind(relay, *range(3, 40, 3), count=40)
    await stored(relay, epoch=2, seq=41)
    assert [first for first, _ in await lost(relay)] == [*range(3, 40, 3)]
    assert await relay.metric("relay_writer_lost_total") == 13


async def test_what_is_missing_when_a_stream_is_read_again_is_no_loss(start_relay: StartRelay) -> None:
    """A stream that lost its tail is read again from its start; what was stored and has left it since was not lost.

    It was told as lost, an epoch for each batch (found by review).
    """
    relay = await start_relay(writer_batch=5)
    await relay.publish(*(event(f"s{number}") for number in range(30)))
    await relay.settled()
    jetstream = (await relay.nats()).jetstream()
    for seq in range(3, 29, 3):
        await jetstream.delete_msg(STREAM, seq)
    await relay.rows("UPDATE event_stream SET mark_ns = mark_ns - 1000000000, fence = fence + 1 RETURNING 1")
    await relay.publish(event("x"))
    await stored(relay, epoch=2, seq=31)
    assert [reason for _, reason in await epochs(relay)] == ["first", "stream_rewritten"]
    assert await relay.metric("relay_writer_lost_total") == 0
