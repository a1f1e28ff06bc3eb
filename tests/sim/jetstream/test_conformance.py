"""The simulated NATS server against the real one: the same scenes, played by unmodified nats-py, seen alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from faults.stack import EmbeddedStack
from tests.sim.jetstream.arms import PEACEFUL, THREES, VIOLENT, play, play_three, simulated, simulated_three
from tests.sim.jetstream.ground import RealGround
from tests.sim.jetstream.trio import RealTrio

pytestmark = [pytest.mark.stack, pytest.mark.conformance]

BOTH_WAYS = ("acknowledged_messages_survive", "ids_of_what_is_gone", "acks_are_forgotten", "deliveries_survive")
"""What a SIGKILL leaves is the same whether the disk is synced always or now and then."""
NOW_AND_THEN = ("an_older_disk",)
"""Nothing is lost of a disk that is synced always."""
LIVES = [
    (name, sync)
    for name in VIOLENT
    for sync in ("always", "interval")
    if name in BOTH_WAYS or (sync == "interval") == (name in NOW_AND_THEN)
]


def assert_alike(found: list[Any], expected: list[Any]) -> None:
    """Everything was seen alike, and something was seen."""
    assert expected, "a scene that sees nothing shows nothing"
    for place, (got, wanted) in enumerate(zip(found, expected, strict=False)):
        assert got == wanted, f"at {place}, after {expected[max(0, place - 3) : place]}"
    assert found == expected


@pytest.mark.parametrize("name", PEACEFUL)
async def test_both_servers_play_it_alike(name: str, stack: EmbeddedStack) -> None:
    """Every scene ends with the same answers, messages, statuses and errors on both servers."""
    expected = await play(RealGround(stack.nats), name)
    assert_alike(simulated(lambda ground: play(ground, name)), expected)


@pytest.mark.parametrize(("name", "sync"), LIVES)
async def test_both_servers_die_and_come_back_alike(name: str, sync: str, stack: EmbeddedStack) -> None:
    """Also through SIGKILL, an older disk and broken connections both servers are seen alike."""
    process = stack.add_nats(f"{name}-{sync}", sync=sync)
    await process.start()
    expected = await play(RealGround(process), name)
    await stack.remove(process)
    assert_alike(simulated(lambda ground: play(ground, name), sync_always=sync == "always"), expected)


@pytest.fixture(scope="module")
def real_trio(stack: EmbeddedStack) -> Iterator[RealTrio]:
    """Three real servers for all scenes of three; a scene leaves all three alive."""
    trio = RealTrio(stack, "trio")
    asyncio.run(trio.start())
    yield trio
    asyncio.run(trio.stop())


@pytest.mark.parametrize("name", THREES)
async def test_three_servers_play_it_alike(name: str, real_trio: RealTrio) -> None:
    """Clients of three servers see the same of both, whoever leads, while some are killed and come back."""
    expected = await play_three(real_trio, name)
    assert_alike(simulated_three(lambda trio: play_three(trio, name)), expected)
