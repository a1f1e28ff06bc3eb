"""A model that is broken on purpose is found by a scene that is named for it, and the real arm takes no notice."""

from __future__ import annotations

from typing import Any

import pytest

from faults.stack import EmbeddedStack
from sim.errors import NotModelled
from tests.sim.redis.arms import play, settings_of, simulated
from tests.sim.redis.broken import BREAKS, Break
from tests.sim.redis.ground import RealGround, listening, real_for

pytestmark = pytest.mark.stack
ENOUGH = 10
"""Ways to break it, at least."""


def seen_simulated(scene: str) -> Any:
    """What a scene sees of the model as it is; how it ends, if it does not get through."""
    try:
        return simulated(lambda ground: play(ground, scene), settings_of(scene))
    except (AssertionError, TimeoutError, ValueError, NotModelled, KeyError) as error:
        return type(error).__name__


async def seen_real(stack: EmbeddedStack, scene: str, name: str) -> list[Any]:
    """What a scene sees of a real server of its own."""
    process = real_for(stack, scene, name)
    process.start_nowait()
    await listening(process)
    seen = await play(RealGround(process), scene)
    await stack.remove(process)
    return seen


@pytest.mark.parametrize("what", BREAKS)
async def test_a_broken_model_is_found_in_its_own_arm(what: str, stack: EmbeddedStack) -> None:
    """The sound model is seen as the real server is, the broken one is not; the real arm is the same beside either."""
    broken: Break = BREAKS[what]
    sound = seen_simulated(broken.scene)
    with pytest.MonkeyPatch.context() as patch:
        broken.apply(patch)
        found = seen_simulated(broken.scene)
        expected = await seen_real(stack, broken.scene, what.replace(" ", "-"))
    assert sound == expected, f"{broken.scene}: the real arm, beside a broken model"
    assert found != expected, f"{broken.scene} did not notice that {what}"


def test_there_are_enough_ways() -> None:
    """The suite is shown to notice many kinds of faults."""
    assert len(BREAKS) >= ENOUGH
    assert len({one.scene for one in BREAKS.values()}) >= ENOUGH
