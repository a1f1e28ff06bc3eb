"""What the relay tells beside events: gaps, losses and closings, as statuses and in the stream."""

from __future__ import annotations

import asyncio

import pytest

from system.client import MemoryCursorStore, RelayRefused
from tests.system.client.scripted import (
    RESYNC,
    Application,
    ScriptedRelay,
    bookmark,
    closing,
    control,
    cursor,
    event,
    lost,
    running,
    until,
)

GAP = control(
    "gap", reason="expired", **{"class": "standard"}, cursor=cursor(3), floors={"standard": cursor(7)}, head="h"
)


async def test_a_410_is_told_and_resynced(relay: ScriptedRelay) -> None:
    """The application hears of the loss before anything else; then the relay's address is followed without a cursor."""
    store = MemoryCursorStore(cursor(3))
    async with running(relay, store=store) as run:
        await (await relay.request()).gone()
        resync = await relay.request()
        assert [notice.reason for notice in run.app.gones] == ["expired"]
        assert run.app.gones[0].floors.critical == cursor(5)
        assert (resync.target, resync.position) == (RESYNC, None)
        await resync.stream(lost(), event(8))
        await until(lambda: run.app.handled == ["e8"])
        resync.cut()
        assert (await relay.request()).position == cursor(8)
        assert len(run.app.gones) == 1
        assert run.seen.named("gone") == [(1, cursor(3), "status"), (2, cursor(3), "event")]
        assert run.seen.named("connecting")[:2] == [(1, cursor(3), False), (2, cursor(5), True)]
        assert run.seen.named("connected")[0] == (1, 410, "expired")


async def test_a_cut_between_410_and_first_event_follows_the_address_again(relay: ScriptedRelay) -> None:
    """Until a cursor is saved behind the loss, the resync address stays in force, and the store keeps the old place."""
    store = MemoryCursorStore(cursor(3))
    async with running(relay, store=store) as run:
        await (await relay.request()).gone()
        (await relay.request()).cut()
        again = await relay.request()
        assert (again.target, again.position, store.cursor) == (RESYNC, None, cursor(3))
        await again.stream(bookmark(9))
        await until(lambda: store.cursor == cursor(9))
        assert len(run.app.gones) == 1


async def test_a_long_resync_address_is_followed(relay: ScriptedRelay) -> None:
    """It repeats the types that were asked for, however many: the agent ended with its first loss, and was not told."""
    resync = f"{RESYNC}&types={','.join(f'task.kind_{number:050}' for number in range(100))}"
    async with running(relay) as run:
        await (await relay.request()).gone("expired", resync=resync)
        assert (await relay.request()).target == resync
        assert len(run.app.gones) == 1


async def test_nothing_is_asked_for_while_the_application_resyncs(relay: ScriptedRelay) -> None:
    """on_gone is awaited: the next request comes only after it has returned."""
    order: list[str] = []

    class Resyncing(Application):
        async def on_gone(self, notice: object) -> None:
            await asyncio.sleep(0.05)
            order.append("told")

    async with running(relay, app=Resyncing(), store=MemoryCursorStore(cursor(3))):
        await (await relay.request()).gone("ahead", resync="/v1/agents/alice/events?cursor=earliest")
        await relay.request()
        order.append("asked")
        assert order == ["told", "asked"]


async def test_a_failing_on_gone_hears_of_the_loss_again(relay: ScriptedRelay) -> None:
    """If on_gone raises, the client presents its old place once more and the loss is told anew."""
    app = Application()
    app.failing = {"gone": 1}
    async with running(relay, app=app, store=MemoryCursorStore(cursor(3))):
        await (await relay.request()).gone()
        second = await relay.request()
        assert second.position == cursor(3)
        await second.gone()
        assert (await relay.request()).target == RESYNC
        assert len(app.gones) == 1


async def test_another_epoch_starts_over_without_the_old_filter(relay: ScriptedRelay) -> None:
    """After `ahead`, lower cursors of the same epoch are news: nothing of the restored stream is taken for old."""
    async with running(relay, store=MemoryCursorStore(cursor(900))) as run:
        await (await relay.request()).gone("ahead", resync="/v1/agents/alice/events?cursor=earliest")
        exchange = await relay.request()
        assert exchange.target == "/v1/agents/alice/events?cursor=earliest"
        await exchange.stream(event(4), event(5))
        await until(lambda: run.app.handled == ["e4", "e5"])


async def test_a_loss_in_the_stream_closes_and_is_followed(relay: ScriptedRelay) -> None:
    """relay.gone in mid-stream: told once, then the address in it is followed when the relay closes."""
    async with running(relay) as run:
        first = await relay.request()
        await first.stream(event(1), lost())
        first.end()
        resync = await relay.request()
        assert (resync.target, resync.position) == (RESYNC, None)
        assert [notice.via for notice in run.app.gones] == ["event"]
        assert run.seen.named("gone") == [(1, cursor(1), "event")]


async def test_a_loss_in_the_stream_may_be_followed_by_events(relay: ScriptedRelay) -> None:
    """With on_gone=skip the relay goes on after the notice, and so does the client, on the same connection."""
    async with running(relay) as run:
        first = await relay.request()
        await first.stream(event(1), lost(), event(8))
        await until(lambda: run.app.handled == ["e1", "e8"])
        first.cut()
        assert (await relay.request()).position == cursor(8)


async def test_a_gap_is_told_ahead_of_the_replay(relay: ScriptedRelay) -> None:
    """relay.gap is told before the events behind it, and moves no cursor."""
    store = MemoryCursorStore(cursor(3))
    async with running(relay, store=store) as run:
        first = await relay.request()
        await first.stream(GAP)
        await until(lambda: run.app.gaps)
        assert (run.app.handled, store.cursor) == ([], cursor(3))
        await first.send(event(8))
        await until(lambda: run.app.handled == ["e8"])
        assert run.app.gaps[0].floors.standard == cursor(7)
        assert run.seen.named("gap") == [(1, cursor(3))]


@pytest.mark.parametrize("reason", ["drain", "slow", "lagging", "superseded", "capacity"])
async def test_a_closing_relay_is_left_and_asked_again(relay: ScriptedRelay, reason: str) -> None:
    """After relay.close the client hangs up itself, waits no less than told, and resumes from its place."""
    async with running(relay) as run:
        first = await relay.request()
        await first.stream(event(1), closing(reason, retry_ms=30))
        await first.wait_hung_up()
        assert (await relay.request()).position == cursor(1)
        assert run.seen.named("closed") == [(1, reason)]
        (delay_s, why) = run.seen.named("waiting")[0]
        assert (why, 0.03 <= delay_s <= 0.05) == (reason, True)


async def test_what_a_newer_relay_says_is_passed_over(relay: ScriptedRelay) -> None:
    """Unknown relay.* frames and unknown members of known ones cost nothing and move nothing."""
    async with running(relay) as run:
        first = await relay.request()
        await first.stream(
            event(1), b"id: abc234-90\n" + control("novelty", x=1), control("gap", wondrous=True), event(2)
        )
        await until(lambda: run.app.handled == ["e1", "e2"])
        assert len(run.app.gaps) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>gone</html>", b'{"status":410}', b'{"reason":"expired","resync":"//evil/x"}']
)
async def test_a_410_that_is_not_the_relays_stops(relay: ScriptedRelay, body: bytes) -> None:
    """A 410 without a usable document ends the run: nobody may guess where to go on, or carry the token elsewhere."""
    async with running(relay, store=MemoryCursorStore(cursor(3))) as run:
        await (await relay.request()).answer(410, body)
        with pytest.raises(RelayRefused, match="got 410") as raised:
            await run.ended()
        assert (raised.value.status, run.app.gones) == (410, [])
