"""The two arms of the suite: a scene by its name, played on the real server and on the simulated one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from tests.sim.jetstream import (
    again,
    asked,
    limits,
    lives,
    ordering,
    protocol,
    pulling,
    pushing,
    reading,
    scenes,
    shortlived,
    telling,
    threes,
    waiting,
    wires,
)
from tests.sim.jetstream.ground import LISTENS_S, Ground, SimulatedGround
from tests.sim.jetstream.stage import Scene, Stage, connected
from tests.sim.jetstream.threes import ThreeScene, ThreeStage
from tests.sim.jetstream.trio import SimulatedTrio, Trio
from tests.sim.worlds import SmallWorld

LIMIT_S = 60.0
"""Of a scene, on either clock."""


def scenes_of(*modules: ModuleType) -> dict[str, Scene]:
    """The scenes of modules, in their order: coroutine functions that take a stage and nothing else."""
    found: dict[str, Scene] = {}
    for module in modules:
        own = [
            (name, one)
            for name, one in inspect.getmembers(module, inspect.iscoroutinefunction)
            if one.__module__ == module.__name__ and list(inspect.signature(one).parameters) == ["at"]
        ]
        found |= dict(sorted(own, key=lambda one: inspect.getsourcelines(one[1])[1]))
    return found


PEACEFUL = scenes_of(
    scenes, pulling, waiting, again, pushing, protocol, limits, telling, wires, ordering, shortlived, reading
)
"""Scenes that may share a server."""
AT_ONCE = 4
"""Scenes on real servers, so that they are not late for want of a processor."""
ALONE = (
    *("wildcards", "introduced_twice", "answers_like_acks"),  # listen to each other's subjects
    *("the_account", "streams"),  # count, or look for, what others have
    *("too_large", "flow_controlled", "flow_controlled_in_a_long_inbox", "an_old_answer", "under_flow_control"),  # long
)
"""Scenes that share a server but disturb others, or are disturbed."""
VIOLENT = scenes_of(lives)
"""Scenes that kill their server."""
ASKED = scenes_of(asked)
"""Scenes with a server that asks its clients often."""
SCENES = PEACEFUL | VIOLENT | ASKED
THREES: dict[str, ThreeScene] = scenes_of(threes)  # type: ignore[assignment]
"""Scenes of three servers."""


async def play(ground: Ground, name: str) -> list[Any]:
    """Play a scene on a server; answers what was seen."""
    stage = Stage(await connected(ground.url), name, ground)
    try:
        async with asyncio.timeout(LIMIT_S):
            await SCENES[name](stage)
    finally:
        await stage.clean()
    return stage.seen


def simulated(main: Callable[[Ground], Awaitable[Any]], **server: Any) -> Any:
    """What a coroutine answers on a host of a simulated network, given a simulated server on another."""
    world = SmallWorld()
    ground = SimulatedGround(world, **server)
    ground.begin()
    world.run(10 * LISTENS_S)
    return world.result_of(lambda _: main(ground), 2 * LIMIT_S)  # type: ignore[arg-type,return-value]


async def play_three(trio: Trio, name: str) -> list[Any]:
    """Play a scene on three servers; answers what was seen."""
    stage = ThreeStage(await trio.join(), name, trio)
    try:
        async with asyncio.timeout(2 * LIMIT_S):
            await THREES[name](stage)
    finally:
        await trio.revive(stage.stream)
        await stage.clean()
    return stage.seen


def simulated_three(main: Callable[[Trio], Awaitable[Any]]) -> Any:
    """What a coroutine answers on a host of a simulated network, given the model of three servers on another."""
    world = SmallWorld()
    trio = SimulatedTrio(world)
    trio.begin()
    world.run(10 * LISTENS_S)
    return world.result_of(lambda _: main(trio), 4 * LIMIT_S)  # type: ignore[arg-type,return-value]
