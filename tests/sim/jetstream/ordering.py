"""Scenes of nats-py's ordered consumers: what they notice, what they don't, and how they begin anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from tests.sim.jetstream.stage import UNTIL_S, Stage
from tests.sim.jetstream.wires import over_a_wire

BEAT_S = 0.5


class Reader:
    """An ordered consumer's callback: notes the sequences of what came."""

    def __init__(self) -> None:
        self.got: list[tuple[int, int]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def take(self, message: Msg) -> None:
        """One message."""
        self.got.append((message.metadata.sequence.stream, message.metadata.sequence.consumer))
        await self.go.wait()

    async def has(self, count: int) -> None:
        """Wait for so many."""
        async with asyncio.timeout(UNTIL_S):
            while len(self.got) < count:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.002)


async def reading(at: Stage, client: Client, **options: Any) -> Reader:
    """An ordered consumer of the scene's subject."""
    reader = Reader()
    given: dict[str, Any] = {"idle_heartbeat": BEAT_S} | options
    await client.jetstream().subscribe(at.subject, cb=reader.take, ordered_consumer=True, **given)
    return reader


def first(pattern: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """The first frame that fits, and no other."""
    found: list[bytes] = []

    def doomed(frame: bytes) -> bool:
        if found or not pattern(frame):
            return False
        found.append(frame)
        return True

    return doomed


async def a_gap(at: Stage) -> None:
    """A lost message is noticed at the next one: the consumer is made anew, and the old one stays for a while."""
    await at.make_stream()
    wire, client = await over_a_wire(at)
    reader = await reading(at, client)
    await at.fill(1)
    await reader.has(1)
    wire.loses = first(lambda frame: frame.startswith(f"MSG {at.subject} ".encode()))
    await at.fill(3)
    await reader.has(4)
    at.see(reader.got)
    await at.state()


async def a_lost_tail(at: Stage) -> None:
    """A lost last message is noticed by the next sign of life, which tells of it."""
    await at.make_stream()
    wire, client = await over_a_wire(at)
    reader = await reading(at, client)
    await at.fill(2)
    await reader.has(2)
    wire.loses = first(lambda frame: frame.startswith(f"MSG {at.subject} ".encode()))
    await at.fill(1)
    await reader.has(3)
    at.see(reader.got)


async def only_new_and_silent(at: Stage) -> None:
    """One for new messages only that begins anew before its first message replays everything."""
    await at.make_stream()
    await at.fill(3)
    wire, client = await over_a_wire(at)
    reader = await reading(at, client, deliver_policy=DeliverPolicy.NEW)
    wire.loses = first(lambda frame: b"Idle Heartbeat" in frame)
    at.see(reader.got)
    (name,) = [one.name for one in await at.js.consumers_info(at.stream)]
    await at.js.delete_consumer(at.stream, name)
    await reader.has(3)
    at.see(reader.got)


async def a_slow_reader(at: Stage) -> None:
    """What a client drops for want of room is lost in silence: nothing is delivered again."""
    await at.make_stream()
    told: list[str] = []

    async def tell(error: Exception) -> None:
        told.append(type(error).__name__)

    client = await at.join(error_cb=tell)
    reader = await reading(at, client, pending_msgs_limit=5)
    reader.go.clear()
    await at.fill(1)
    await reader.has(1)
    await at.fill(9)
    async with asyncio.timeout(UNTIL_S):
        while len(told) < 4:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.002)
    reader.go.set()
    await reader.has(6)
    await asyncio.sleep(BEAT_S * 2)
    at.see(reader.got, told)
    await at.fill(1)
    await reader.has(7)
    at.see(reader.got[6:])


async def what_the_stream_lost(at: Stage) -> None:
    """Messages that the stream no longer has are a gap in its sequence that an ordered consumer does not see."""
    await at.make_stream(max_msgs=4, discard="old")
    await at.fill(6)
    await at.js.delete_msg(at.stream, 4)
    reader = await reading(at, await at.join())
    await reader.has(3)
    await asyncio.sleep(BEAT_S)
    at.see(reader.got)


async def under_flow_control(at: Stage) -> None:
    """nats-py answers flow control by itself: many large messages come through, in order, each once."""
    await at.make_stream()
    await at.fill(24, size=300_000)
    client = await at.join()
    reader = await reading(at, client, idle_heartbeat=2.0)
    await reader.has(24)
    at.see(reader.got)
