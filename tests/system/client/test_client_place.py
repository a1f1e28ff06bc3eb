"""The client keeps its place: whatever breaks, an event may come twice to the handler but is never skipped."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from system.client import FileCursorStore, HandlerFailed, MemoryCursorStore, StoreCorrupt
from tests.system.client.scripted import (
    FAST,
    Application,
    ScriptedRelay,
    bookmark,
    cursor,
    event,
    running,
    until,
)


async def test_a_cut_in_mid_frame_loses_nothing(relay: ScriptedRelay) -> None:
    """After a reset in the middle of a frame the client resumes behind the last event it handled."""
    async with running(relay) as run:
        first = await relay.request()
        assert (first.target, first.position) == ("/v1/agents/alice/events", None)
        await first.stream(b"retry: 5\n\n", event(1), event(2), event(3)[:30])
        await until(lambda: run.app.handled == ["e1", "e2"])
        first.cut()
        second = await relay.request()
        assert second.position == cursor(2)
        await second.stream(event(3), event(4))
        await until(lambda: run.app.handled == ["e1", "e2", "e3", "e4"])
        await run.stop()
        assert run.seen.named("saved") == [(cursor(seq),) for seq in (1, 2, 3, 4)]
        assert run.seen.named("closed")[0][1].startswith("reset")
        assert run.seen.named("closed")[1:] == [(2, "stopped")]


async def test_an_end_in_good_order_is_resumed_too(relay: ScriptedRelay) -> None:
    """A FIN without relay.close is a cut like any other."""
    async with running(relay) as run:
        first = await relay.request()
        await first.stream(event(1))
        first.end()
        assert (await relay.request()).position == cursor(1)
        assert run.seen.named("closed") == [(1, "eof")]


async def test_a_crash_before_the_save_redelivers(relay: ScriptedRelay, tmp_path: Path) -> None:
    """An agent that dies while handling an event gets that event again in its next life."""
    path = tmp_path / "cursor"
    async with running(relay, store=FileCursorStore(path)) as run:
        first = await relay.request()
        await first.stream(event(1))
        await until(lambda: run.seen.named("saved") == [(cursor(1),)])
        run.app.gate.clear()
        await first.send(event(2))
        await until(lambda: run.app.handled == ["e1", "e2"])
        run.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run.ended()
    async with running(relay, store=FileCursorStore(path)) as run:
        second = await relay.request()
        assert second.position == cursor(1)
        await second.stream(event(2))
        await until(lambda: run.seen.named("saved") == [(cursor(2),)])
        assert run.app.handled == ["e2"]


async def test_stop_lets_the_event_in_hand_finish(relay: ScriptedRelay) -> None:
    """stop() during a handler waits for it and saves its event; what was not begun stays for the next run."""
    store = MemoryCursorStore()
    async with running(relay, store=store) as run:
        run.app.gate.clear()
        await (await relay.request()).stream(event(1), event(2))
        await until(lambda: run.app.handled == ["e1"])
        run.client.stop()
        run.client.stop()
        run.app.gate.set()
        await run.ended()
        assert (run.app.handled, store.cursor) == (["e1"], cursor(1))


async def test_stop_before_run_and_during_back_off(relay: ScriptedRelay) -> None:
    """stop() ends a run that waits for its next connection, and one that has not begun."""
    slow = dataclasses.replace(FAST, backoff_base_s=3600, backoff_max_s=3600)
    async with running(relay, settings=slow) as run:
        (await relay.request()).cut()
        await until(lambda: run.seen.named("waiting"))
        await run.stop()
    async with running(relay) as run:
        run.client.stop()
        await run.ended()
        assert run.seen.named("connected") == []


async def test_bookmarks_move_the_place_of_a_quiet_agent(relay: ScriptedRelay) -> None:
    """A bookmark is saved like an event; one that does not lie ahead is shown to the observer and changes nothing."""
    store = MemoryCursorStore()
    async with running(relay, store=store) as run:
        first = await relay.request()
        await first.stream(bookmark(7), bookmark(7), bookmark(4), event(8))
        await until(lambda: run.app.handled == ["e8"])
        first.cut()
        assert (await relay.request()).position == cursor(8)
        assert run.seen.named("saved") == [(cursor(7),), (cursor(8),)]
        assert [place for _, place in run.seen.named("bookmark")] == [cursor(7), cursor(7), cursor(4)]


async def test_duplicates_reach_the_observer_but_not_the_handler(relay: ScriptedRelay) -> None:
    """What lies at or before the client's cursor is not handled again, yet a judge sees that the relay sent it."""
    async with running(relay) as run:
        await (await relay.request()).stream(event(1), event(2), event(1), event(2), event(3))
        await until(lambda: len(run.seen.named("saved")) == 3)
        assert run.app.handled == ["e1", "e2", "e3"]
        assert [call[2] for call in run.seen.named("deliver")] == ["e1", "e2", "e1", "e2", "e3"]


async def test_a_handler_that_raises_gets_the_event_again(relay: ScriptedRelay) -> None:
    """A failed event is asked for anew from the saved place, until the handler takes it."""
    app = Application()
    app.failing = {"e2": 2}
    async with running(relay, app=app) as run:
        for _ in range(3):
            exchange = await relay.request()
            frames = [event(seq) for seq in (1, 2, 3) if exchange.position in (None, cursor(seq - 1)) or seq == 3]
            await exchange.stream(*frames)
        await until(lambda: run.app.handled == ["e1", "e2", "e3"])
        assert exchange.position == cursor(1)
        assert [why.partition(":")[0] for _, why in run.seen.named("closed")] == ["handler", "handler"]


async def test_a_poison_event_ends_the_run_and_is_not_passed_over(relay: ScriptedRelay) -> None:
    """After `handler_attempts_max` failures run() raises with the event's id; the saved place is before it."""
    app, store = Application(), MemoryCursorStore(cursor(1))
    app.failing = {"e2": 99}
    async with running(relay, app=app, store=store, settings=dataclasses.replace(FAST, handler_attempts_max=3)) as run:
        for _ in range(3):
            await (await relay.request()).stream(bookmark(1), event(2), event(3))
        with pytest.raises(HandlerFailed, match=r"event e2 .*LookupError.* 3 times") as raised:
            await run.ended()
        assert (raised.value.event_id, raised.value.cursor) == ("e2", cursor(2))
        assert isinstance(raised.value.__cause__, LookupError)
        assert (app.handled, store.cursor) == ([], cursor(1))


async def test_a_slow_handler_is_felt_by_the_relay(relay: ScriptedRelay) -> None:
    """While an event is handled the socket is not read: the relay can send only what the kernel buffers hold."""
    async with running(relay) as run:
        run.app.gate.clear()
        exchange = await relay.request()
        await exchange.stream(event(1))
        await until(lambda: run.app.handled == ["e1"])
        exchange.writer.transport.set_write_buffer_limits(high=0)
        filler = b":" + b"x" * 65536 + b"\n"
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await exchange.send(filler)
                sent += len(filler)

        flooding = asyncio.create_task(flood())
        before = -1
        while before != sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert not flooding.done()
        assert sent < 64 * 1024 * 1024
        run.app.gate.set()
        await until(lambda: sent > before, "the flood to go on once the handler is done")
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_a_store_that_cannot_be_read_or_written_stops_the_run(relay: ScriptedRelay, tmp_path: Path) -> None:
    """A corrupt store is refused before any connection; a failing save ends the run with the place unmoved."""
    path = tmp_path / "cursor"
    path.write_text("abc234-10")
    async with running(relay, store=FileCursorStore(path)) as run:
        with pytest.raises(StoreCorrupt, match="a newline"):
            await run.ended()
        assert run.seen.calls == []
    async with running(relay, store=FileCursorStore(tmp_path / "missing" / "cursor")) as run:
        await (await relay.request()).stream(event(1))
        with pytest.raises(FileNotFoundError):
            await run.ended()
        assert (run.app.handled, run.client.place) == (["e1"], None)
        assert run.seen.named("closed")[0][1].startswith("failed: FileNotFoundError")
