"""Auto-ack: the newest saved cursor, now and then, on stop, and never at the cost of the place."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from system.client import MemoryCursorStore
from tests.system.client.scripted import (
    FAST,
    PATIENCE_S,
    Exchange,
    ScriptedRelay,
    Watcher,
    bookmark,
    cursor,
    event,
    running,
    until,
)

ACKING = dataclasses.replace(FAST, ack_interval_s=0.01, ack_flush_timeout_s=PATIENCE_S)


async def test_the_newest_saved_cursor_is_acknowledged(relay: ScriptedRelay) -> None:
    """Acks rise and come to the last saved cursor; many events may share one."""
    async with running(relay, settings=ACKING) as run:
        await (await relay.request()).stream(*(event(seq) for seq in range(1, 51)))
        await until(lambda: run.seen.named("acked")[-1:] == [(cursor(50),)])
        assert relay.acks == sorted(relay.acks, key=lambda text: int(text.rpartition("-")[2]))
        assert len(relay.acks) == len(set(relay.acks)) <= 50
        assert run.seen.named("acked") == [(text,) for text in relay.acks]


async def test_an_interval_holds_acks_back_and_stop_sends_the_last(relay: ScriptedRelay) -> None:
    """After the first ack nothing is posted within the interval, until stop() posts what is due."""
    settings = dataclasses.replace(ACKING, ack_interval_s=3600.0)
    async with running(relay, settings=settings) as run:
        exchange = await relay.request()
        await exchange.stream(event(1))
        await until(lambda: run.seen.named("acked"))
        await exchange.send(event(2) + event(3))
        await until(lambda: len(run.seen.named("saved")) == 3)
        assert relay.acks == [cursor(1)]
        await run.stop()
        assert relay.acks == [cursor(1), cursor(3)]


async def test_bookmarks_alone_are_acknowledged_by_a_stop_or_much_later(relay: ScriptedRelay) -> None:
    """They come with every event of the mesh to every agent, and an ack of one spares nobody anything that matters."""
    async with running(relay, settings=ACKING) as run:
        exchange = await relay.request()
        await exchange.stream(event(1))
        await until(lambda: run.seen.named("acked") == [(cursor(1),)])
        await exchange.send(bookmark(5))
        await until(lambda: len(run.seen.named("saved")) == 2)
        await asyncio.sleep(10 * 0.01)
        assert relay.acks == [cursor(1)]
        await run.stop()
        assert relay.acks == [cursor(1), cursor(5)]


async def test_the_loaded_cursor_is_acknowledged_at_the_start(relay: ScriptedRelay) -> None:
    """A process that died between save and ack makes up for it, or its last task would be dispatched again."""
    async with running(relay, settings=ACKING, store=MemoryCursorStore(cursor(7))):
        await until(lambda: relay.acks == [cursor(7)])
        assert (await relay.request()).position == cursor(7)


async def test_what_is_being_handled_is_not_acknowledged(relay: ScriptedRelay) -> None:
    """No ack runs ahead of the handler."""
    async with running(relay, settings=ACKING) as run:
        exchange = await relay.request()
        await exchange.stream(event(1))
        await until(lambda: relay.acks == [cursor(1)])
        run.app.gate.clear()
        await exchange.send(event(2))
        await until(lambda: run.app.handled == ["e1", "e2"])
        run.client.stop()
        await asyncio.sleep(0.05)
        assert relay.acks == [cursor(1)]
        run.app.gate.set()
        await run.ended()
        assert relay.acks == [cursor(1), cursor(2)]


@pytest.mark.parametrize("status", [503, 429, 500])
async def test_a_failed_ack_is_repeated_and_costs_nothing(relay: ScriptedRelay, status: int) -> None:
    """While acks fail, events go on and the place moves; the ack is tried again until confirmed."""
    refused = 0

    async def refuse(exchange: Exchange) -> None:
        nonlocal refused
        refused += 1
        if refused == 3:
            relay.on_ack = None
        await exchange.problem(status, title="Planted")

    relay.on_ack = refuse
    async with running(relay, settings=ACKING) as run:
        await (await relay.request()).stream(event(1), event(2))
        await until(lambda: relay.acks == [cursor(2)])
        assert run.app.handled == ["e1", "e2"]
        assert len(run.seen.named("ack_failed")) == 3
        assert f"status {status}: Planted" in run.seen.named("ack_failed")[0][1]


@pytest.mark.parametrize("status", [400, 410])
async def test_an_ack_refused_for_good_is_dropped(relay: ScriptedRelay, status: int) -> None:
    """A cursor that the relay will never take is not posted again; the next one is."""

    async def refuse(exchange: Exchange) -> None:
        relay.on_ack = None
        await exchange.problem(status, title="Never")

    relay.on_ack = refuse
    async with running(relay, settings=ACKING) as run:
        exchange = await relay.request()
        await exchange.stream(event(1))
        await until(lambda: run.seen.named("ack_failed"))
        await exchange.send(event(2))
        await until(lambda: relay.acks == [cursor(2)])
        assert len(run.seen.named("ack_failed")) == 1


@pytest.mark.parametrize("status", [302, 400, 403, 404, 410])
async def test_an_ack_is_not_dropped_at_anybody_elses_word(relay: ScriptedRelay, status: int) -> None:
    """A proxy without a route answers once: the ack of an event that nothing follows was never posted again."""

    async def refuse(exchange: Exchange) -> None:
        relay.on_ack = None
        await exchange.answer(status, b"<html>no route</html>")

    relay.on_ack = refuse
    async with running(relay, settings=ACKING) as run:
        await (await relay.request()).stream(event(1))
        await until(lambda: relay.acks == [cursor(1)])
        assert len(run.seen.named("ack_failed")) == 1


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"acked": 7}'])
async def test_a_confirmation_that_cannot_be_read_is_none(relay: ScriptedRelay, body: bytes) -> None:
    """A 200 from somebody else's page does not count as an ack."""

    async def answer(exchange: Exchange) -> None:
        relay.on_ack = None
        await exchange.answer(200, body)

    relay.on_ack = answer
    async with running(relay, settings=ACKING) as run:
        await (await relay.request()).stream(event(1))
        await until(lambda: relay.acks == [cursor(1)])
        assert "unreadable answer" in run.seen.named("ack_failed")[0][1]


async def test_a_silent_ack_does_not_hold_up_stop_for_ever(relay: ScriptedRelay) -> None:
    """The last ack has `ack_flush_timeout_s`; then run() returns and says that it went unconfirmed."""
    waiting: list[Exchange] = []

    async def ignore(exchange: Exchange) -> None:
        waiting.append(exchange)

    relay.on_ack = ignore
    async with running(relay, settings=dataclasses.replace(ACKING, ack_flush_timeout_s=0.05)) as run:
        await (await relay.request()).stream(event(1))
        await until(lambda: waiting)
        assert json.loads(waiting[0].body) == {"cursor": cursor(1)}
        await run.stop()
        assert run.seen.named("ack_failed") == [(cursor(1), "no answer within 0.05 s")]


async def test_cancellation_posts_no_last_ack(relay: ScriptedRelay) -> None:
    """Cancelling run() ends it without further requests."""
    settings = dataclasses.replace(ACKING, ack_interval_s=3600.0)
    async with running(relay, settings=settings) as run:
        exchange = await relay.request()
        await exchange.stream(event(1))
        await until(lambda: run.seen.named("acked"))
        await exchange.send(event(2))
        await until(lambda: len(run.seen.named("saved")) == 2)
        run.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run.ended()
        assert relay.acks == [cursor(1)]
        assert run.seen.named("closed") == [(1, "cancelled")]


async def test_an_observer_that_fails_on_acks_ends_the_run(relay: ScriptedRelay) -> None:
    """An error in the ack task does not stay hidden: the run ends at once, although its stream is quiet."""

    class Broken(Watcher):
        def acked(self, cursor: str) -> None:
            raise LookupError("planted")

    async with running(relay, settings=ACKING, seen=Broken()) as run:
        await (await relay.request()).stream(event(1))
        with pytest.raises(LookupError, match="planted"):
            await run.ended()
        assert relay.acks == [cursor(1)]
