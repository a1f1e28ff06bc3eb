"""redis-py, unmodified: it sees the same of both servers, and in the simulated world it does the same every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from faults.stack import EmbeddedStack
from sim.redis.settings import RedisSettings
from tests.sim.redis import clients
from tests.sim.redis.ground import LISTENS_S, Ground, RealGround, SimulatedGround, real_for
from tests.sim.redis.test_conformance import assert_alike
from tests.sim.worlds import SmallWorld

Work = Callable[[Ground, int], Awaitable[list[Any]]]
WORKS: dict[str, Work] = {"work": clients.work, "bare": clients.bare, "hung_up": clients.hung_up}
BOTH = [(name, protocol) for name in WORKS for protocol in (2, 3)]
SLOW = RedisSettings(sync_s=(0.0001, 0.004), load_s=(0.02, 0.1))


def simulated(work: Work, protocol: int) -> tuple[list[Any], str]:
    """What a program sees in a simulated world, and a digest of every segment that it caused, with its moment."""
    world = SmallWorld()
    ground = SimulatedGround(world, SLOW)
    ground.begin()
    world.run(10 * LISTENS_S)
    seen = world.result_of(lambda _: work(ground, protocol), 120.0)  # type: ignore[arg-type,return-value]
    digest = hashlib.sha256(repr(world.segments).encode()).hexdigest()
    assert len(world.segments) > 20
    return seen, digest


@pytest.mark.stack
@pytest.mark.conformance
@pytest.mark.parametrize(("name", "protocol"), BOTH)
async def test_redis_py_sees_the_same_of_both_servers(name: str, protocol: int, stack: EmbeddedStack) -> None:
    """Its answers, messages and errors are equal, also over the server's death, in either version of the protocol."""
    process = real_for(stack, f"client-{name}-{protocol}")
    await process.start()
    expected = await WORKS[name](RealGround(process), protocol)
    await stack.remove(process)
    assert_alike(simulated(WORKS[name], protocol)[0], expected)


PROGRAM = "from tests.sim.redis.test_client import *; print(*(simulated(WORKS[n], p)[1] for n, p in BOTH))"


@pytest.mark.sim
def test_redis_py_does_the_same_in_processes_that_hash_differently() -> None:
    """Every byte that travels, and when, is the same whatever sets and addresses a process has; seeds differ."""

    def digests(hash_seed: int, program: str = PROGRAM) -> list[str]:
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        return done.stdout.split()

    first = digests(1)
    assert len(first) == len(BOTH)
    assert digests(2) == first
    assert len(set(first)) == len(BOTH), "different programs have different traces"
