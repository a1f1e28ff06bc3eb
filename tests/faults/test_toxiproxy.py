"""Toxiproxy and the probes against real servers: each fault shows its effect, on each link, in each direction."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from faults.dialects import SIZE_BYTES_MAX, dialect_of
from faults.playable import Toxic, toxic_of
from faults.probe import Ending, Experiment, Seen, look
from faults.proof import experiment_for, judge, passes
from faults.stack import EmbeddedStack, ReservedPort
from faults.toxiproxy import Counted, Route, Toxiproxy, ToxiproxyFailed
from faults.vocabulary import (
    Bandwidth,
    Cut,
    Direction,
    Down,
    Latency,
    LimitData,
    Link,
    LinkFault,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)
from tests.faults.conftest import health_server, route_to

pytestmark = pytest.mark.stack

LINKS = [Link.RELAY_NATS, Link.RELAY_POSTGRES, Link.RELAY_REDIS, Link.AGENT_RELAY]
TRIES = 10
"""Looks for a toxic, one of which must prove it."""
WAYS = [Direction.BOTH, Direction.UPSTREAM, Direction.DOWNSTREAM]
KINDS: list[tuple[type[LinkFault], dict[str, int]]] = [
    (Cut, {}),
    (Latency, {"latency_ms": 100, "jitter_ms": 20}),
    (Bandwidth, {"rate_kb_s": 10}),
    (Timeout, {"timeout_ms": 0}),
    (Timeout, {"timeout_ms": 300}),
    (ResetPeer, {"timeout_ms": 50}),
    (Slicer, {"average_size_bytes": 64, "size_variation_bytes": 10, "delay_us": 5_000}),
    (SlowClose, {"delay_ms": 200}),
    (LimitData, {"limit_bytes": 700}),
]


@asynccontextmanager
async def _route(stack: EmbeddedStack, link: Link) -> AsyncIterator[tuple[Toxiproxy, Route]]:
    assert stack.toxiproxy is not None
    toxiproxy = Toxiproxy(stack.toxiproxy.address)
    async with health_server() as http, _redis(stack, link) as redis:
        server = {
            Link.RELAY_POSTGRES: stack.postgres.address,
            Link.RELAY_REDIS: redis,
            Link.AGENT_RELAY: http,
        }.get(link, stack.nats.address)
        async with route_to(toxiproxy, link.value, server) as route:
            yield toxiproxy, route


@asynccontextmanager
async def _redis(stack: EmbeddedStack, link: Link) -> AsyncIterator[tuple[str, int]]:
    """A Redis where the link leads to one, else NATS."""
    if link is not Link.RELAY_REDIS:
        yield stack.nats.address
        return
    process = stack.add_redis(f"redis-{uuid.uuid4().hex[:8]}")
    await process.start()
    yield process.address
    await stack.remove(process)


def _fault(kind: type[LinkFault], link: Link, direction: Direction, **details: Any) -> LinkFault:
    return kind(id="f", link=link, direction=direction, at_s=0.0, for_s=5.0, **details)


async def _seen_effective(route: Route, fault: LinkFault) -> bool:
    dialect, experiment = dialect_of(fault.link), experiment_for(fault)
    probe, control = await asyncio.gather(
        look(route.listen, dialect, experiment), look(route.upstream, dialect, experiment)
    )
    return judge(fault, probe, control).effective


async def _proved(route: Route, fault: LinkFault) -> bool:
    """Looked for more than once, as a player does: where the control is slow by itself a look proves nothing."""
    for _ in range(TRIES):
        if await _seen_effective(route, fault):
            return True
    return False


@pytest.mark.parametrize("direction", WAYS)
@pytest.mark.parametrize("link", LINKS)
async def test_each_toxic_shows_and_is_gone_once_lifted(
    toxic_stack: EmbeddedStack, link: Link, direction: Direction
) -> None:
    """On each link and way, each toxic is proved while it is on, not proved before, and lets all pass afterwards."""
    async with _route(toxic_stack, link) as (toxiproxy, route):
        kinds = [*KINDS, (Down, {})] if direction is Direction.BOTH else KINDS
        for kind, details in kinds:
            fault = _fault(kind, link, direction, **details)
            toxic = toxic_of(fault)
            assert toxic is not None
            if experiment_for(fault).wait_s < 1.5:  # the slow ones cost the time twice, and prove no more
                assert not await _seen_effective(route, fault), f"{fault} was proved although it was not on"
            await toxiproxy.begin(route, "f", toxic, fault.directions)
            assert await _proved(route, fault), f"{fault} was not proved"
            await toxiproxy.end(route, "f", toxic, fault.directions)
            after = await look(route.listen, dialect_of(link), Experiment(size_bytes=1, wait_s=2.0))
            assert passes(after), f"{fault} was not lifted: {after}"


async def test_a_cut_holds_bytes_and_a_timeout_drops_them(toxic_stack: EmbeddedStack) -> None:
    """What was sent into a cut arrives when it is lifted; what was sent into a timeout never does."""
    answered: dict[type[LinkFault], float | None] = {}
    for kind, details in ((Cut, {}), (Timeout, {"timeout_ms": 0})):
        async with _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route):
            fault = _fault(kind, Link.RELAY_NATS, Direction.BOTH, **details)
            toxic = toxic_of(fault)
            assert toxic is not None
            await toxiproxy.begin(route, "f", toxic, fault.directions)
            wait = Experiment(size_bytes=2_000, wait_s=3.0)
            probe = asyncio.create_task(look(route.listen, dialect_of(Link.RELAY_NATS), wait))
            await asyncio.sleep(0.3)
            await toxiproxy.end(route, "f", toxic, fault.directions)
            answered[kind] = (await probe).answered_ms
    held_ms = answered[Cut]
    assert held_ms is not None
    assert held_ms >= 290
    assert answered[Timeout] is None


async def test_a_cut_is_lifted_at_once_also_when_its_receivers_are_gone(toxic_stack: EmbeddedStack) -> None:
    """What is held for a client that has left is let go, not waited for piece by piece (5 s each in Toxiproxy)."""
    async with _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route):
        reader, writer = await asyncio.open_connection(*route.listen)
        writer.write(b"CONNECT {}\r\nSUB held 1\r\nPING\r\n")
        await reader.readuntil(b"PONG\r\n")
        fault = _fault(Cut, Link.RELAY_NATS, Direction.BOTH)
        toxic = toxic_of(fault)
        assert toxic is not None
        await toxiproxy.begin(route, "f", toxic, fault.directions)
        _, publisher = await asyncio.open_connection(*route.upstream)
        publisher.write(b"CONNECT {}\r\n")
        for _ in range(8):
            publisher.write(b"PUB held 3\r\nabc\r\n")
            await publisher.drain()
            await asyncio.sleep(0.05)  # so that each is a piece of its own
        writer.transport.abort()
        publisher.close()
        async with asyncio.timeout(3.0):
            await toxiproxy.end(route, "f", toxic, fault.directions)
        assert await toxiproxy.toxics(route) == {}


@pytest.mark.parametrize("link", LINKS)
async def test_dialects(toxic_stack: EmbeddedStack, link: Link) -> None:
    """Each server answers a probe with at least the size asked for, both ways, and ends it when asked to."""
    async with _route(toxic_stack, link) as (_, route):
        for size in (1, 700, SIZE_BYTES_MAX):
            seen = await look(
                route.upstream, dialect_of(link), Experiment(size_bytes=size, ending=Ending.SERVER, wait_s=2.0)
            )
            assert seen.answered_ms is not None
            assert seen.ended == "eof"
            assert min(seen.sent_bytes, seen.received_bytes) >= size
        half = await look(route.upstream, dialect_of(link), Experiment(size_bytes=1, ending=Ending.CLIENT, wait_s=2.0))
        assert half.ended == "eof"


async def test_refused_connections_are_seen_as_such(toxic_stack: EmbeddedStack) -> None:
    """A port on which nothing listens is told apart from silence and from a reset."""
    port = ReservedPort()
    seen = await look(("127.0.0.1", port.number), dialect_of(Link.RELAY_NATS), Experiment(size_bytes=1, wait_s=1.0))
    port.release()
    assert seen.ended == "refused"
    assert seen.connected_ms is None


async def _moved(toxiproxy: Toxiproxy, route: Route) -> tuple[Seen, dict[Direction, int]]:
    """What one connection that the server ends saw, and by how much the counters of received bytes rose."""
    before = await toxiproxy.counted(route)
    ended = Experiment(size_bytes=4_000, ending=Ending.SERVER, wait_s=2.0)
    seen = await look(route.listen, dialect_of(Link.RELAY_NATS), ended)
    for _ in range(250):
        after = await toxiproxy.counted(route)
        if after[Direction.DOWNSTREAM].received > before[Direction.DOWNSTREAM].received:
            break
        await asyncio.sleep(0.02)
    return seen, {way: after[way].received - before[way].received for way in before}


async def test_counters_tell_of_ended_connections(toxic_stack: EmbeddedStack) -> None:
    """Toxiproxy counts the bytes of the way whose sender ended it; the other way, cut by that, whole or not at all."""
    async with _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route):
        seen, moved = await _moved(toxiproxy, route)
    assert moved[Direction.DOWNSTREAM] == seen.received_bytes
    assert moved[Direction.UPSTREAM] in (0, seen.sent_bytes)


async def test_counters_are_those_of_this_proxy(toxic_stack: EmbeddedStack) -> None:
    """A proxy named like an earlier one begins at zero and counts its own bytes.

    Counters outlive their proxy, and were once looked up by its name alone: the count of whichever proxy of that
    name had the greatest address was taken for this one's, and now and then a fault's traffic read 0 bytes.
    """
    for _ in range(4):
        async with _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route):
            assert await toxiproxy.counted(route) == {Direction.UPSTREAM: Counted(), Direction.DOWNSTREAM: Counted()}
            seen, moved = await _moved(toxiproxy, route)
        assert moved[Direction.DOWNSTREAM] == seen.received_bytes


async def test_what_toxiproxy_refuses_is_an_error(toxic_stack: EmbeddedStack) -> None:
    """An unknown toxic, one that is there already, one that is not there: each is told, none passes unnoticed."""
    async with _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route):
        ways = (Direction.UPSTREAM,)
        with pytest.raises(ToxiproxyFailed, match="invalid toxic type"):
            await toxiproxy.begin(route, "f", Toxic(type="gremlin", attributes={}), ways)
        latency = Toxic(type="latency", attributes={"latency": 100, "jitter": 0})
        await toxiproxy.begin(route, "f", latency, ways)
        with pytest.raises(ToxiproxyFailed, match="toxic already exists"):
            await toxiproxy.begin(route, "f", latency, ways)
        await toxiproxy.end(route, "f", latency, ways)
        with pytest.raises(ToxiproxyFailed, match="toxic not found"):
            await toxiproxy.end(route, "f", latency, ways)
        with pytest.raises(ToxiproxyFailed, match="proxy already exists"):
            await toxiproxy.create(route.name, listen=route.listen, upstream=route.upstream)


async def test_attributes_that_toxiproxy_ignores_are_an_error(toxic_stack: EmbeddedStack) -> None:
    """Toxiproxy takes attributes that it does not know without a word; reading back finds that they did not take."""
    async with _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route):
        with pytest.raises(ToxiproxyFailed, match="expected toxics"):
            await toxiproxy.begin(route, "f", Toxic(type="latency", attributes={"delay": 5}), (Direction.UPSTREAM,))
        await toxiproxy.heal([route])


async def test_an_occupied_port_is_an_error(toxic_stack: EmbeddedStack) -> None:
    """A proxy whose port is taken is not made, and the error status, which the library lets pass, is told."""
    async with _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route):
        with pytest.raises(ToxiproxyFailed, match="expected"):
            await toxiproxy.create("second", listen=route.upstream, upstream=route.upstream)


async def test_healing_removes_everything(toxic_stack: EmbeddedStack) -> None:
    """After heal a proxy that was down, or had toxics, lets all pass."""
    async with _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route):
        await toxiproxy.begin(route, "a", Toxic(type="timeout", attributes={"timeout": 0}), (Direction.UPSTREAM,))
        await toxiproxy.begin(route, "b", Toxic(type="down", attributes={}), ())
        await toxiproxy.heal([route])
        assert await toxiproxy.toxics(route) == {}
        assert passes(await look(route.listen, dialect_of(Link.RELAY_NATS), Experiment(size_bytes=1, wait_s=2.0)))


async def test_healing_leaves_others_alone(toxic_stack: EmbeddedStack) -> None:
    """A proxy of the same server that is not named keeps its toxics: it may be somebody else's."""
    async with (
        _route(toxic_stack, Link.RELAY_NATS) as (toxiproxy, route),
        route_to(toxiproxy, "foreign", route.upstream) as foreign,
    ):
        await toxiproxy.begin(foreign, "a", Toxic(type="timeout", attributes={"timeout": 0}), (Direction.UPSTREAM,))
        await toxiproxy.begin(
            route, "b", Toxic(type="latency", attributes={"latency": 9, "jitter": 0}), (Direction.UPSTREAM,)
        )
        await toxiproxy.heal([route])
        assert await toxiproxy.toxics(route) == {}
        assert set(await toxiproxy.toxics(foreign)) == {"a.upstream"}


async def test_a_dead_toxiproxy_is_an_error() -> None:
    """Calls to a server that is not there fail at once, with the reason."""
    port = ReservedPort()
    toxiproxy = Toxiproxy(("127.0.0.1", port.number))
    with pytest.raises(ToxiproxyFailed, match="refused"):
        await toxiproxy.create("x", listen=("127.0.0.1", 1), upstream=("127.0.0.1", 2))
    port.release()


async def test_one_toxiproxy_per_process(toxic_stack: EmbeddedStack) -> None:
    """A second one takes over the library's global address; using the first then is an error, not a mix-up."""
    assert toxic_stack.toxiproxy is not None
    first = Toxiproxy(("127.0.0.1", 1))
    Toxiproxy(toxic_stack.toxiproxy.address)
    with pytest.raises(ToxiproxyFailed, match="another Toxiproxy was attached"):
        await first.heal([])
