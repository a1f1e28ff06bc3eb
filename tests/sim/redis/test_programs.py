"""The simulated Redis against the real one: the same random programs, step by step, and what is there in the end."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import pytest

from faults.stack import RedisProcess
from tests import nightly
from tests.sim.redis import programs
from tests.sim.redis.arms import simulated
from tests.sim.redis.ground import Ground, RealGround
from tests.sim.redis.programs import Step
from tests.sim.redis.stage import Stage
from tests.sim.redis.test_conformance import assert_alike

pytestmark = [pytest.mark.stack, pytest.mark.conformance]

PROGRAMS = nightly.count(40, 2_000)
STEPS = 120


async def played(ground: Ground, steps: list[Step]) -> list[Any]:
    """What a program sees on a server."""
    at = Stage(ground)
    try:
        return await programs.play(at, steps)
    finally:
        await at.clean()


@pytest.mark.parametrize("part", range(4))
def test_programs_have_equal_outcomes(part: int, real: RedisProcess) -> None:
    """Every answer to random programs of three clients, through kills and restarts, is the real server's."""
    taken = set()
    for number in range(part, PROGRAMS, 4):
        steps = programs.program(random.Random(number), STEPS)
        expected = asyncio.run(played(RealGround(real), steps))
        found = simulated(partial(played, steps=steps))
        try:
            assert_alike(found, expected)
        except AssertionError as error:
            raise AssertionError(f"program {number}: {error}") from None
        taken |= {words[0] for _, words in steps}
    assert {"KILL", "EXEC", "WATCH", "XADD", "XTRIM", "ZADD", "SET"} <= taken, "a command was never taken"
