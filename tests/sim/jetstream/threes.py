"""Scenes of a stream on three servers: what clients see while some are gone, whoever leads, however long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from tests.sim.jetstream.stage import SHORT_S, Stage
from tests.sim.jetstream.trio import Trio

MS = 1_000_000
LONG_S = 45.0
"""How long a scene waits for three servers to agree again."""
UNKNOWN = {
    "NoStreamResponseError",
    "NoRespondersError",
    "ServiceUnavailableError",
    "TimeoutError",
    "FetchTimeoutError",
    "ConnectionClosedError",
    "409/10158",
    "409/None",
}
"""What may come of a request while some are gone; of a publish each means that its fate is unknown."""


class ThreeStage(Stage):
    """A stage on three servers."""

    def __init__(self, nc: Client, name: str, trio: Trio) -> None:
        super().__init__(nc, name)
        self.trio = trio
        self.errors: set[str] = set()
        """What came instead of answers."""

    async def open(self, **config: Any) -> None:
        """A stream on three servers, with a consumer."""
        await self.make_stream(num_replicas=3)
        await self.make_consumer(**({"ack_wait": 3.0} | config))

    async def once(self, what: Awaitable[Any]) -> Any:
        """One try; None, and a note of the error, if it fails."""
        try:
            return await what
        except nats.js.errors.APIError as error:
            self.errors.add(f"{error.code}/{error.err_code}" if error.code else type(error).__name__)
        except (nats.errors.Error, TimeoutError) as error:
            self.errors.add(type(error).__name__)
        return None

    async def put(self, message_id: str) -> int:
        """Publish until it is acknowledged; its sequence."""
        async with asyncio.timeout(LONG_S):
            while True:
                headers = {"Nats-Msg-Id": message_id}
                ack = await self.once(self.js.publish(self.subject, message_id.encode(), timeout=1.0, headers=headers))
                if ack is not None:
                    return int(ack.seq)
                await asyncio.sleep(0.1)

    async def take(self, count: int, name: str = "c") -> list[bytes]:
        """Fetch and acknowledge until so many different messages were seen, in the order of the first sight."""
        puller = await self.js.pull_subscribe_bind(name, stream=self.stream)
        got: dict[bytes, None] = {}
        async with asyncio.timeout(LONG_S):
            while len(got) < count:
                for one in await self.once(puller.fetch(count, timeout=1.0)) or []:
                    got[one.data] = None
                    await self.once(one.ack_sync(timeout=1.0))
        return list(got)

    async def settled(self) -> None:
        """Everybody is back, and the consumer has a leader."""
        await self.trio.revive(self.stream)
        async with asyncio.timeout(LONG_S):
            while await self.once(self.js.consumer_info(self.stream, "c")) is None:  # noqa: ASYNC110  no event
                await asyncio.sleep(0.05)

    async def noted(self) -> None:
        """Note what the consumer knows, without how often anything was delivered: an election may cost a delivery."""
        info = await self.js.consumer_info(self.stream, "c")
        assert info.delivered is not None
        assert info.ack_floor is not None
        self.see("known", info.delivered.stream_seq, info.ack_floor.stream_seq, info.num_ack_pending, info.num_pending)

    async def told(self) -> None:
        """What the stream holds, and whether every error was one that leaves a fate unknown."""
        state = (await self.js.stream_info(self.stream)).state
        count = state.messages
        self.see("stream", count, state.bytes, state.first_seq, state.last_seq)
        self.see([(await self.js.get_msg(self.stream, seq + 1)).data for seq in range(count)])
        self.see("odd errors", sorted(self.errors - UNKNOWN))


ThreeScene: TypeAlias = Callable[[ThreeStage], Awaitable[None]]


async def replicated(at: ThreeStage) -> None:
    """In peace three servers answer as one does."""
    await at.open()
    for number in ("1", "2", "1"):
        ack = await at.js.publish(at.subject, b"x", headers={"Nats-Msg-Id": number})
        at.see(ack.seq, bool(ack.duplicate))
    await at.known()
    got = await at.hear(SHORT_S, batch=2, expires=5_000 * MS)
    await got[0].ack_sync(timeout=LONG_S)
    await at.until(num_ack_pending=1)
    await at.consumer()
    info = await at.js.stream_info(at.stream)
    at.see(info.config.num_replicas, info.state.messages, info.state.consumer_count)


async def ends_overtake(at: ThreeStage) -> None:
    """Three servers agree on a delivery before it is sent, not on a 409; what won't wait ends in a 408 behind it."""
    await at.open()
    await at.fill(5)
    await at.hear(SHORT_S, batch=9, expires=1_000 * MS, max_bytes=140)
    await at.hear(SHORT_S, batch=1, expires=1_000 * MS, max_bytes=12_000)
    await at.hear(SHORT_S, batch=9, no_wait=True)
    await at.hear(SHORT_S, batch=9, no_wait=True)


async def a_leader_is_killed(at: ThreeStage) -> None:
    """What was acknowledged is there under the next leader, in its order, with its ids; then it goes on."""
    await at.open()
    for number in range(20):
        await at.put(f"before {number}")
    await at.trio.kill_leader(at.stream)
    for number in range(5):
        at.see(await at.put(f"after {number}"))
    at.see([await at.put(f"before {number}") for number in (0, 7, 19)])
    at.see(await at.take(25))
    await at.settled()
    await at.told()


async def published_through_an_election(at: ThreeStage) -> None:
    """Whoever tries again until it is acknowledged finds each id once, in order, also across an election."""
    await at.open()

    async def publish() -> None:
        for number in range(60):
            at.see(await at.put(str(number)))
            await asyncio.sleep(0.01)

    publishing = asyncio.ensure_future(publish())
    await asyncio.sleep(0.2)
    await at.trio.kill_leader(at.stream)
    await publishing
    await at.settled()
    await at.told()


async def acknowledged_before_the_election(at: ThreeStage) -> None:
    """An ack that was answered is known to the next leader; what was not acknowledged comes again."""
    await at.open(ack_wait=5.0)
    for number in range(4):
        await at.put(str(number))
    await at.until(num_pending=4)
    puller = await at.js.pull_subscribe_bind("c", stream=at.stream)
    got = await puller.fetch(4, timeout=2.0)
    for one in got[:3]:
        await one.ack_sync(timeout=LONG_S)
    await at.trio.kill_leader(at.stream)
    await at.settled()
    await at.noted()
    at.see(await at.take(1))
    await at.until(num_ack_pending=0)
    await at.noted()


async def a_follower_is_missed_by_nobody(at: ThreeStage) -> None:
    """Without one server publishes and pulls go on; back again it has everything, also to lead."""
    await at.open()
    at.see([await at.put(f"before {number}") for number in range(3)])
    await at.trio.kill_follower(at.stream)
    at.see([await at.put(f"without {number}") for number in range(5)])
    at.see(await at.take(8))
    await at.settled()
    await at.trio.kill_leader(at.stream)
    at.see(await at.put("after"))
    at.see(await at.take(1))
    await at.settled()
    await at.told()


async def no_majority(at: ThreeStage) -> None:
    """Without a majority nothing is acknowledged nor delivered; what was tried is stored once they are back, once."""
    await at.open()
    at.see(await at.put("before"))
    await at.trio.kill_majority(at.stream)
    at.nc = await at.trio.join()
    at.js = at.nc.jetstream(timeout=2.0)
    for _ in range(2):
        ack = await at.once(at.js.publish(at.subject, b"hung", timeout=1.0, headers={"Nats-Msg-Id": "hung"}))
        at.see(ack)
    state = (await at.js.stream_info(at.stream)).state
    at.see(state.messages, state.last_seq)
    await at.settled()
    at.see(await at.put("hung"), await at.put("before"), await at.put("later"))
    at.see(await at.take(3))
    await at.told()


async def all_are_killed(at: ThreeStage) -> None:
    """What was acknowledged survives the death of all three."""
    await at.open()
    at.see([await at.put(str(number)) for number in range(10)])
    at.see(await at.take(4))
    await at.trio.kill_all()
    await at.settled()
    await at.noted()
    at.see([await at.put(str(number)) for number in (0, 9, 10)])
    at.see(await at.take(7))
    await at.told()


async def waiting_through_an_election(at: ThreeStage) -> None:
    """A fetch that waits while its leader dies ends, and the next one that is tried gets what was published since."""
    await at.open()
    puller = await at.js.pull_subscribe_bind("c", stream=at.stream)
    fetching = asyncio.ensure_future(at.once(puller.fetch(5, timeout=3.0)))
    await at.until(num_waiting=1)
    await at.trio.kill_leader(at.stream)
    at.see(await at.put("later"))
    await fetching
    at.see(await at.take(1))
    await at.settled()
    await at.told()


async def ordered_through_an_election(at: ThreeStage) -> None:
    """An ordered consumer of a stream whose leader dies goes on, with nothing left out and nothing twice."""
    await at.open()
    got: list[bytes] = []
    subscription = await at.js.subscribe(at.subject, ordered_consumer=True, idle_heartbeat=0.5)
    for number in range(3):
        await at.put(str(number))
        got.append((await subscription.next_msg(timeout=LONG_S)).data)
    await at.trio.kill_leader(at.stream)
    for number in range(3, 6):
        await at.put(str(number))
    async with asyncio.timeout(LONG_S):
        while len(got) < 6:
            got.append((await subscription.next_msg(timeout=LONG_S)).data)
    at.see(got)
    await subscription.unsubscribe()
    await at.settled()
    await at.told()
