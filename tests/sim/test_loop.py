"""The simulated event loop's timers: on time, in order, and without a trace once they are over."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from sim.environment import S
from sim.errors import StandsStill
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.sim


def test_a_far_timer_among_many_near_ones_waits_once() -> None:
    """A loop with a timer of a day planned its wake-up anew after each nearer one, and what it had planned before
    stayed in the queue until its day came: memory grew with simulated time, 15,000 entries a day. Hours show it too.
    """
    world = SmallWorld()

    async def main(_: Any) -> float:
        loop = asyncio.get_running_loop()
        far: asyncio.Future[float] = loop.create_future()
        loop.call_later(7_200.0, lambda: far.set_result(loop.time()))
        return await far

    process = world.start(world.a, main)
    for second in range(1_000):
        # as what arrives over the network would set one
        world.environment.at(second * S, lambda: process.loop.call_later(0.5, int))
    world.run(1_000.0)
    assert len(world.environment._queue) < 10
    world.run(7_300.0)
    assert world.problems == []
    assert world.results["a"] == pytest.approx(7_200.0, abs=1e-6)


def test_timers_fire_in_the_order_of_their_times_whatever_was_planned_before() -> None:
    """Near ones that are set later come first, cancelled ones never, also after a pause."""
    world = SmallWorld()
    fired: list[tuple[str, float]] = []

    async def main(_: Any) -> None:
        loop = asyncio.get_running_loop()

        def note(name: str) -> None:
            fired.append((name, loop.time()))

        for name, delay_s in (("far", 30.0), ("near", 3.0), ("between", 10.0), ("never", 5.0), ("nearest", 1.0)):
            handle = loop.call_later(delay_s, note, name)
            if name == "never":
                handle.cancel()
        await asyncio.sleep(100.0)

    process = world.start(world.a, main)
    world.run(2.0)
    process.pause()
    world.run(10.0)
    process.resume()
    world.run(50.0)
    assert [name for name, _ in fired] == ["nearest", "near", "between", "far"]
    assert [round(at_s) for _, at_s in fired] == [1, 12, 12, 30]
    assert world.environment.now_ns == 62 * S


@pytest.mark.parametrize("way", ["turns", "timers"])
def test_a_world_that_stands_still_says_so(way: str) -> None:
    """A heartbeat loop that waited for a moment which had come ran for ever without an end: real time passes by
    itself, simulated time does not.
    """
    world = SmallWorld()

    async def main(_: Any) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + 5.0
        await asyncio.sleep(10.0)
        while True:
            if way == "turns":
                await asyncio.sleep(0)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due_s):
                        await loop.create_future()

    world.start(world.a, main)
    with pytest.raises(StandsStill, match=r"were at 10\.0"):
        world.run(20.0)
