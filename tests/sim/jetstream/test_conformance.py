"""The simulated NATS server against the real one: the same scenes, played by unmodified nats-py, seen alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest

from faults.stack import EmbeddedStack
from tests.sim.jetstream.ahead import Ahead
from tests.sim.jetstream.arms import (
    ALONE,
    ASKED,
    AT_ONCE,
    PEACEFUL,
    THREES,
    VIOLENT,
    play,
    play_three,
    simulated,
    simulated_three,
)
from tests.sim.jetstream.asked import ASKS, PING_S
from tests.sim.jetstream.ground import RealGround
from tests.sim.jetstream.trio import RealTrio

pytestmark = [pytest.mark.stack, pytest.mark.conformance]

BOTH_WAYS = ("acknowledged_messages_survive", "ids_of_what_is_gone", "acks_are_forgotten", "deliveries_survive")
"""What a SIGKILL leaves is the same whether the disk is synced always or now and then."""
NOW_AND_THEN = ("an_older_disk",)
"""Nothing is lost of a disk that is synced always."""
Life: TypeAlias = tuple[str, str]
LIVES: list[Life] = [
    (name, sync)
    for name in VIOLENT
    for sync in ("always", "interval")
    if name in BOTH_WAYS or (sync == "interval") == (name in NOW_AND_THEN)
]
TRIOS = 3


def assert_alike(found: list[Any], expected: list[Any]) -> None:
    """Everything was seen alike, and something was seen."""
    assert expected, "a scene that sees nothing shows nothing"
    for place, (got, wanted) in enumerate(zip(found, expected, strict=False)):
        assert got == wanted, f"at {place}, after {expected[max(0, place - 3) : place]}"
    assert found == expected


@pytest.fixture(scope="module")
def peaceful() -> Ahead:
    """Scenes that share a real server."""
    return Ahead(PEACEFUL, at_once=AT_ONCE, alone=ALONE)


@pytest.fixture(scope="module")
def lives() -> Ahead:
    """Scenes with a real server each."""
    return Ahead(LIVES, at_once=AT_ONCE)


@pytest.fixture(scope="module")
def threes() -> Ahead:
    """Scenes with three real servers each."""
    return Ahead(THREES, at_once=TRIOS)


@pytest.mark.parametrize("name", PEACEFUL)
async def test_both_servers_play_it_alike(name: str, stack: EmbeddedStack, peaceful: Ahead) -> None:
    """Every scene ends with the same answers, messages, statuses and errors on both servers."""

    async def on_real(one: str, _: int) -> list[Any]:
        return await play(RealGround(stack.nats), one)

    expected = await peaceful.seen(name, on_real)
    assert_alike(simulated(lambda ground: play(ground, name)), expected)


@pytest.mark.parametrize(("name", "sync"), LIVES)
async def test_both_servers_die_and_come_back_alike(name: str, sync: str, stack: EmbeddedStack, lives: Ahead) -> None:
    """Also through SIGKILL, an older disk and broken connections both servers are seen alike."""

    async def on_real(one: Life, _: int) -> list[Any]:
        process = stack.add_nats("-".join(one), sync=one[1])
        await process.start()
        seen = await play(RealGround(process), one[0])
        await stack.remove(process)
        return seen

    expected = await lives.seen((name, sync), on_real)
    assert_alike(simulated(lambda ground: play(ground, name), sync_always=sync == "always"), expected)


@pytest.mark.parametrize("name", ASKED)
async def test_both_servers_ask_their_clients_alike(name: str, stack: EmbeddedStack) -> None:
    """Clients are asked for a sign of life when they give none, and are taken for dead alike."""
    process = stack.add_nats(name, more=ASKS)
    await process.start()
    expected = await play(RealGround(process), name)
    await stack.remove(process)
    assert_alike(simulated(lambda ground: play(ground, name), ping_s=PING_S), expected)


@pytest.fixture(scope="module")
def real_trios(stack: EmbeddedStack) -> Iterator[list[RealTrio]]:
    """Real servers by threes; a scene leaves all of its three alive."""
    trios = [RealTrio(stack, f"trio{number}") for number in range(TRIOS)]

    async def start() -> None:
        await asyncio.gather(*(one.start() for one in trios))

    async def stop() -> None:
        await asyncio.gather(*(one.stop() for one in trios))

    asyncio.run(start())
    yield trios
    asyncio.run(stop())


@pytest.mark.parametrize("name", THREES)
async def test_three_servers_play_it_alike(name: str, real_trios: list[RealTrio], threes: Ahead) -> None:
    """Clients of three servers see the same of both, whoever leads, while some are killed and come back."""

    async def on_real(one: str, place: int) -> list[Any]:
        return await play_three(real_trios[place], one)

    expected = await threes.seen(name, on_real)
    assert_alike(simulated_three(lambda trio: play_three(trio, name)), expected)
