"""The simulated NATS server against the real one: the same scenes, played by unmodified nats-py, seen alike."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from faults.stack import EmbeddedStack
from sim.host import Process
from sim.jetstream.disk import NatsDisk
from sim.jetstream.server import NatsServer
from tests.sim.jetstream import again, protocol, pulling, pushing, scenes, waiting
from tests.sim.jetstream.scenes import Scene, Stage
from tests.sim.worlds import SmallWorld

pytestmark = [pytest.mark.stack, pytest.mark.conformance]

LIMIT_S = 60.0
"""Of a scene, on either clock."""


def scenes_of(module: ModuleType) -> dict[str, Scene]:
    """The scenes of a module, in its order: its coroutine functions that take a stage and nothing else."""
    found = inspect.getmembers(module, inspect.iscoroutinefunction)
    own = [(name, one) for name, one in found if one.__module__ == module.__name__ and list(_parameters(one)) == ["at"]]
    return dict(sorted(own, key=lambda one: inspect.getsourcelines(one[1])[1]))


def _parameters(function: Callable[..., Any]) -> Any:
    return inspect.signature(function).parameters


SCENES = {
    name: scene
    for module in (scenes, pulling, waiting, again, pushing, protocol)
    for name, scene in scenes_of(module).items()
}


async def play(url: str, name: str) -> list[Any]:
    """Play a scene on a server; answers what was seen."""
    client = await connected(url)
    stage = Stage(client, name)
    try:
        async with asyncio.timeout(LIMIT_S):
            await SCENES[name](stage)
    finally:
        await stage.clean()
        await client.close()
    return stage.seen


async def connected(url: str) -> Client:
    """A client that tells nobody of errors and does not reconnect."""

    async def errored(_: Exception) -> None:
        """The scene itself sees what matters."""

    client: Client = await nats.connect(url, allow_reconnect=False, error_cb=errored)
    return client


def simulated(main: Callable[[str], Awaitable[Any]]) -> Any:
    """What a coroutine answers on a host of a simulated network, given the address of a simulated server on another."""
    world = SmallWorld()

    async def server(process: Process) -> None:
        nats_server = NatsServer(
            name="nats", now_ns=process.host.clock.wall_ns, rng=random.Random("server"), disk=NatsDisk()
        )
        await process.loop.create_server(nats_server.protocol, "0.0.0.0", 4222)
        nats_server.start()

    async def client(_: Process) -> Any:
        return await main("nats://b:4222")

    world.start(world.b, server)
    world.run(0.1)
    return world.result_of(client, 2 * LIMIT_S)


@pytest.mark.parametrize("name", SCENES)
async def test_both_servers_play_it_alike(name: str, stack: EmbeddedStack) -> None:
    """Every scene ends with the same answers, messages, statuses and errors on both servers."""
    expected = await play(stack.nats_url, name)
    assert expected, "a scene that sees nothing shows nothing"
    found = simulated(lambda url: play(url, name))
    for place, (got, wanted) in enumerate(zip(found, expected, strict=False)):
        assert got == wanted, f"at {place}, after {expected[max(0, place - 3) : place]}"
    assert found == expected
