"""A model that is broken on purpose is found by a scene that is named for it, and the real arm takes no notice."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
import pytest

from faults.stack import EmbeddedStack
from tests.sim.jetstream.arms import (
    ALONE,
    ASKED,
    AT_ONCE,
    PEACEFUL,
    THREES,
    play,
    play_three,
    simulated,
    simulated_three,
)
from tests.sim.jetstream.asked import ASKS, PING_S
from tests.sim.jetstream.broken import BREAKS, Break
from tests.sim.jetstream.ground import RealGround
from tests.sim.jetstream.trio import RealTrio

pytestmark = pytest.mark.stack
ENOUGH = 8
"""Ways to break it, at least."""
NOW_AND_THEN = ("an_older_disk",)
"""Played on servers that sync now and then."""


def seen_simulated(scene: str) -> Any:
    """What a scene sees of the model as it is; how it ends, if it does not get through."""
    try:
        if scene in THREES:
            return simulated_three(lambda trio: play_three(trio, scene))
        options = {"ping_s": PING_S} if scene in ASKED else {"sync_always": scene not in NOW_AND_THEN}
        return simulated(lambda ground: play(ground, scene), **options)
    except (AssertionError, TimeoutError, ValueError, nats.errors.Error) as error:
        return type(error).__name__


async def _seen_real(stack: EmbeddedStack, scene: str) -> list[Any]:
    if scene in PEACEFUL:
        return await play(RealGround(stack.nats), scene)
    sync = "interval" if scene in NOW_AND_THEN else "always"
    process = stack.add_nats(f"{scene}-broken", sync=sync, more=ASKS if scene in ASKED else "")
    await process.start()
    seen = await play(RealGround(process), scene)
    await stack.remove(process)
    return seen


async def _all_seen_real(stack: EmbeddedStack, scenes: list[str]) -> dict[str, list[Any]]:
    """What scenes see of real servers: a few at once, then those that disturb others, or are disturbed."""
    alone = [one for one in scenes if one in ALONE]
    threes = [one for one in scenes if one in THREES]
    together = [one for one in scenes if one not in {*alone, *threes}]
    room = asyncio.Semaphore(AT_ONCE)

    async def seen(scene: str) -> list[Any]:
        async with room:
            return await _seen_real(stack, scene)

    found = dict(zip(together, await asyncio.gather(*map(seen, together)), strict=True))
    for scene in alone:
        found[scene] = await seen(scene)
    trio = RealTrio(stack, "broken")
    await trio.start()
    for scene in threes:
        found[scene] = await play_three(trio, scene)
    await trio.stop()
    return found


@pytest.fixture(scope="module")
def seen_real(stack: EmbeddedStack) -> dict[str, list[Any]]:
    """What the scenes see of real servers, by their names, while the model is broken in every way at once."""
    with pytest.MonkeyPatch.context() as patch:
        for one in BREAKS.values():
            one.apply(patch)
        return asyncio.run(_all_seen_real(stack, [one.scene for one in BREAKS.values()]))


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_model_is_found_in_its_own_arm(what: str, seen_real: dict[str, list[Any]]) -> None:
    """The sound model is seen as the real server is, the broken one is not; the real arm is the same beside either."""
    broken: Break = BREAKS[what]
    sound = seen_simulated(broken.scene)
    with pytest.MonkeyPatch.context() as patch:
        broken.apply(patch)
        found = seen_simulated(broken.scene)
    assert sound == seen_real[broken.scene], f"{broken.scene}: the real arm, beside a broken model"
    assert found != seen_real[broken.scene], f"{broken.scene} did not notice that {what}"


def test_there_are_enough_ways() -> None:
    """The suite is shown to notice many kinds of faults, of one server and of three."""
    assert len(BREAKS) >= ENOUGH
    assert len({one.scene for one in BREAKS.values()}) == len(BREAKS), "each by a scene of its own"
    assert {one.scene for one in BREAKS.values()} & set(THREES)
