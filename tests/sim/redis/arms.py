"""The two arms of the suite: a scene by its name, played on the real server and on the simulated one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from sim.redis.settings import RedisSettings
from tests.sim.redis import listening, lives, scenes, streaming, transactions, wires
from tests.sim.redis.given import LOADS_S, SETTINGS
from tests.sim.redis.ground import LISTENS_S, Ground, SimulatedGround
from tests.sim.redis.stage import Scene, Stage
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
            if not name.startswith("_")
            and one.__module__ == module.__name__
            and list(inspect.signature(one).parameters) == ["at"]
        ]
        found |= dict(sorted(own, key=lambda one: inspect.getsourcelines(one[1])[1]))
    return found


PEACEFUL = scenes_of(scenes, streaming, transactions, listening, wires)
"""Scenes that may share a server, one after the other."""
VIOLENT = scenes_of(lives)
"""Scenes that end their server."""
SCENES = PEACEFUL | VIOLENT


async def play(ground: Ground, name: str) -> list[Any]:
    """Play a scene on a server; answers what was seen."""
    stage = Stage(ground)
    try:
        async with asyncio.timeout(LIMIT_S):
            await SCENES[name](stage)
    finally:
        await stage.clean()
    return stage.seen


def simulated(main: Callable[[Ground], Awaitable[Any]], settings: RedisSettings | None = None) -> Any:
    """What a coroutine answers on a host of a simulated network, given a simulated server on another."""
    world = SmallWorld()
    ground = SimulatedGround(world, settings or RedisSettings())
    ground.begin()
    world.run(10 * LISTENS_S)
    return world.result_of(lambda _: main(ground), 2 * LIMIT_S)  # type: ignore[arg-type,return-value]


def settings_of(name: str) -> RedisSettings:
    """A scene's settings, for the model."""
    given: dict[str, Any] = SETTINGS.get(name, {})
    return RedisSettings(
        appendonly=given.get("appendonly", "yes") == "yes",
        appendfsync=given.get("appendfsync", "always"),
        password=given.get("requirepass", ""),
        load_s=LOADS_S if "key_load_delay" in given else (0.0, 0.0),
    )
