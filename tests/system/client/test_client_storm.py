"""The client in a storm: cuts at any byte, refusals, failing handlers; and nothing is left behind when it ends."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from typing import Any

import pytest

from system.client import Delivery, GapNotice, GoneNotice, MemoryCursorStore, PageReader
from tests.system.client.scripted import (
    FAST,
    Application,
    Exchange,
    ScriptedRelay,
    bookmark,
    closing,
    cursor,
    event,
    running,
    seeded_host,
    until,
)
from tests.system.client.test_pages import page

EVENTS = 60


class Flaky(Application):
    """Fails now and then, but not so often in one place that the run would end."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._failed = 0

    async def on_event(self, delivery: Delivery) -> None:
        if self._failed < 2 and self._rng.random() < 0.1:
            self._failed += 1
            raise LookupError("planted")
        self._failed = 0
        self.handled.append(delivery.id)
        if self._rng.random() < 0.2:
            await asyncio.sleep(0)

    async def on_gap(self, notice: GapNotice) -> None:
        raise AssertionError(notice)

    async def on_gone(self, notice: GoneNotice) -> None:
        raise AssertionError(notice)


async def serve(exchange: Exchange, rng: random.Random) -> None:
    """One connection: perhaps a refusal, else everything behind the position until something breaks."""
    trouble = rng.choice(["503", "401", "cut", "cut", "cut", "end", "close", "none"])
    if trouble in ("503", "401"):
        await exchange.problem(int(trouble), title="Planted")
        return
    behind = 0 if exchange.position is None else int(exchange.position.rpartition("-")[2])
    frames = b"retry: 3\n\n" + bookmark(behind)
    for seq in range(behind + 1, EVENTS + 1):
        frames += event(seq) + b":\n" * rng.randrange(3)
    if trouble == "close":
        frames = frames[: rng.randrange(len(frames))].rpartition(b"\n\n")[0] + b"\n\n" + closing("drain")
    elif trouble != "none":
        frames = frames[: rng.randrange(len(frames) + 1)]
    await exchange.stream()
    try:
        while frames:
            size = rng.choice([1, 7, 100, 10_000])
            await exchange.send(frames[:size])
            frames = frames[size:]
            await asyncio.sleep(0)
    except ConnectionError:
        pass  # the client hung up first, because its handler failed
    if trouble == "cut":
        exchange.cut()
    elif trouble == "end":
        exchange.end()


@pytest.mark.parametrize("seed", range(6))
async def test_a_storm_neither_skips_nor_reorders(relay: ScriptedRelay, seed: int) -> None:
    """Whatever breaks and wherever, the handler completes every event once, in order, within one process' life."""
    rng = random.Random(seed)
    app = Flaky(rng)

    async def relay_side() -> None:
        while True:
            await serve(await relay.request(), rng)

    async with running(relay, app=app, token=lambda: _token(rng)) as run:
        serving = asyncio.create_task(relay_side())
        try:
            await until(lambda: run.client.place is not None and run.client.place.seq == EVENTS, "every event")
            await run.stop()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        assert app.handled == [f"e{seq}" for seq in range(1, EVENTS + 1)]
        assert [text for (text,) in run.seen.named("saved")] == [cursor(seq) for seq in range(EVENTS + 1)]


async def _token(rng: random.Random) -> str:
    return f"t{rng.getrandbits(16)}"


async def test_nothing_is_left_behind(relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every kind of ending there is no task, thread or half-run generator that the client began."""
    orphans: list[str] = []
    hooks = sys.get_asyncgen_hooks()

    def orphaned(generator: Any) -> None:
        orphans.append(generator.__qualname__)
        assert hooks.finalizer is not None
        hooks.finalizer(generator)

    threads = threading.active_count()
    sys.set_asyncgen_hooks(finalizer=orphaned)
    try:
        app = Application()
        app.failing = {"e2": 1}
        async with running(relay, app=app) as run:
            await (await relay.request()).stream(event(1), event(2), event(3))  # closed with events unread
            await (await relay.request()).stream(event(2), closing("drain"), event(9))
            (await relay.request()).cut()
            await (await relay.request()).problem(503)
            await (await relay.request()).answer(500, b"x" * 200_000)  # cut off at the limit
            last = await relay.request()
            await last.stream(event(3), b"id: half")
            await until(lambda: app.handled == ["e1", "e2", "e3"])
            await run.stop()
        async with running(relay, store=MemoryCursorStore(cursor(3)), settings=FAST) as run:
            await (await relay.request()).stream(event(4))
            await until(lambda: run.app.handled == ["e4"])  # cancelled while reading, by the end of the block
        async with PageReader(relay.base_url, "alice", "good", seeded_host()) as reader:
            reading = asyncio.ensure_future(anext(reader.read()))
            await (await relay.request()).answer(200, page(1))
            assert (await reading).next == cursor(1)
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "acks"] == []
        assert threading.active_count() == threads
        assert [name for name in orphans if name != "PageReader.read"] == []
    finally:
        sys.set_asyncgen_hooks(finalizer=hooks.finalizer)
