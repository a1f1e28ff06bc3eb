"""The simulated NATS server against the real one: the same random programs, step by step, and the states they leave."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from faults.stack import EmbeddedStack, NatsProcess
from tests.sim.jetstream.arms import simulated
from tests.sim.jetstream.ground import Ground, RealGround
from tests.sim.jetstream.programs import PROGRAMS, Player, Step
from tests.sim.jetstream.stage import Stage, connected

pytestmark = [pytest.mark.stack, pytest.mark.conformance]

MOST = int(os.environ.get("NATS_PROGRAMS", "0"))
"""Programs a test; raise it to look longer, at other programs each time."""
FEW = 14


@pytest.fixture(scope="module")
def killed(stack: EmbeddedStack) -> Iterator[NatsProcess]:
    """A real server that programs kill; it runs between them."""
    process = stack.add_nats("programs")
    asyncio.run(process.start())
    yield process
    asyncio.run(stack.remove(process))


async def played(ground: Ground, name: str, program: list[Step], expected: list[Any] | None = None) -> list[Any]:
    """What a program sees on a server."""
    stage = Stage(await connected(ground.url), name, ground)
    player = Player(stage)
    try:
        await player.open()
        return await player.play(program, expected)
    finally:
        await stage.clean()


def test_programs_have_equal_outcomes(killed: NatsProcess) -> None:
    """Every answer, delivery, status and error of random programs, and every state between, is the real server's."""
    numbers, taken = count(), Counter[str]()

    @settings(
        max_examples=MOST or FEW,
        derandomize=not MOST,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(program=PROGRAMS)
    def compare(program: list[Step]) -> None:
        name = f"program{next(numbers)}"
        found = simulated(lambda ground: played(ground, name, program))
        expected = asyncio.run(played(RealGround(killed), name, program, found))
        for place, (got, wanted) in enumerate(zip(found, expected, strict=False)):
            assert got == wanted, f"at step {place}, after {expected[max(0, place - 3) : place]}"
        assert len(expected) == len(program)
        taken.update(type(step).__name__ for step in program)

    compare()
    assert set(taken) == {"Put", "Pull", "Answer", "Remove", "Limit", "Narrow", "Kill"}, "a step was never taken"
