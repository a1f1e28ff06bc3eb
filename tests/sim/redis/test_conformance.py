"""The simulated Redis against the real one: each scene is played on both, and everything seen must be equal."""

from __future__ import annotations

from typing import Any

import pytest

from faults.stack import EmbeddedStack, RedisProcess
from tests.sim.redis.arms import PEACEFUL, VIOLENT, play, settings_of, simulated
from tests.sim.redis.ground import RealGround, listening, real_for
from tests.sim.redis.wire import Wire

pytestmark = [pytest.mark.stack, pytest.mark.conformance]


def assert_alike(found: list[Any], expected: list[Any]) -> None:
    """Everything was seen alike, and something was seen."""
    assert expected, "a scene that sees nothing shows nothing"
    for place, (got, wanted) in enumerate(zip(found, expected, strict=False)):
        assert got == wanted, f"at {place}, after {expected[max(0, place - 3) : place]}"
    assert found == expected


@pytest.mark.parametrize("name", PEACEFUL)
async def test_both_servers_play_it_alike(name: str, real: RedisProcess) -> None:
    """Every scene ends with the same answers, errors and ends of connections on both servers."""
    wire = await Wire.lay(real.address)
    assert await wire.ask("FLUSHALL") == ("status", "OK")
    await wire.close()
    expected = await play(RealGround(real), name)
    assert_alike(simulated(lambda ground: play(ground, name)), expected)


@pytest.mark.parametrize("name", VIOLENT)
async def test_both_servers_die_and_come_back_alike(name: str, stack: EmbeddedStack) -> None:
    """Also through SIGKILL, SIGTERM, an older disk and a long start both servers are seen alike."""
    process = real_for(stack, name)
    process.start_nowait()
    await listening(process)
    expected = await play(RealGround(process), name)
    await stack.remove(process)
    assert_alike(simulated(lambda ground: play(ground, name), settings_of(name)), expected)
