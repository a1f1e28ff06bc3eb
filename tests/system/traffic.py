"""Traffic while things break: a publisher that retries, and an agent that comes back, both keeping exact books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.system.harness import UnderTest, event, eventually
from tests.system.sse_reader import SseReader, StreamEnded

ROUND_S = 0.02
"""Between two publishes: enough traffic to be in the middle of something at any moment, light on two cores."""
TRY_S = 3.0
"""Longest wait for one request while servers are away."""


class Traffic:
    """One publisher and one agent against one or several replicas, taken in turn."""

    def __init__(self, *relays: UnderTest, agent: str = "ann") -> None:
        self._relays = relays
        self._agent = agent
        self._made = 0
        self._stopping = False
        self.published: list[str] = []
        """Ids in the order of their first acknowledgement."""
        self.refusals: list[str] = []
        """What publishes were answered until they were acknowledged."""
        self.delivered: list[str] = []
        self.place: str | None = "earliest"
        self.connections = 0
        self.closes: list[str] = []
        """Reasons for which the relay ended a stream."""

    async def publish(self) -> None:
        """Publish until told to stop; each event is tried again with its id until it is acknowledged."""
        turn = 0
        while not self._stopping:
            made = [event(f"t{self._made + index}", subject=self._agent) for index in range(1 + self._made % 3)]
            self._made += len(made)
            while not await self._try(self._relays[turn % len(self._relays)], made):
                turn += 1
                await asyncio.sleep(0.05)
            self.published += [one["id"] for one in made]
            await asyncio.sleep(ROUND_S)

    async def _try(self, relay: UnderTest, made: list[dict[str, object]]) -> bool:
        try:
            async with asyncio.timeout(TRY_S):
                response = await relay.post(made)
        except (httpx.TransportError, TimeoutError) as error:
            self.refusals.append(type(error).__name__)
            return False
        if response.status_code == 202:
            return True
        assert response.status_code == 503, response.text
        assert int(response.headers["Retry-After"]) >= 1
        self.refusals.append(response.json()["detail"])
        return False

    async def listen(self) -> None:
        """Stay connected, with the last id, until cancelled."""
        turn = 0
        while True:
            try:
                async with (
                    asyncio.timeout(None),
                    self._relays[turn % len(self._relays)].stream(self._agent, last_event_id=self.place) as stream,
                ):
                    if stream.response.status_code == 200:
                        self.connections += 1
                        await self._read(stream)
                    assert stream.response.status_code == 503, stream.response.text
            except (httpx.TransportError, StreamEnded, TimeoutError):
                pass
            turn += 1
            await asyncio.sleep(0.05)

    async def _read(self, stream: SseReader) -> None:
        while True:
            frame = await stream.frame(timeout_s=TRY_S)
            if frame.is_event:
                self.delivered.append(frame.data["id"])
            elif frame.event == "relay.close":
                self.closes.append(frame.data["reason"])
            self.place = frame.id or self.place

    async def more(self, count: int = 10) -> None:
        """Wait until so many more events are acknowledged."""
        wanted = len(self.published) + count
        await eventually(lambda: len(self.published) >= wanted, f"{wanted} acknowledged publishes", 40)

    async def caught_up(self) -> None:
        """Wait until the agent has everything that was acknowledged so far."""
        await eventually(lambda: set(self.published) <= set(self.delivered), "all that was acknowledged", 40)

    async def finish(self) -> None:
        """Stop publishing, wait for the rest, and check the books: all, once, in order."""
        self._stopping = True
        await self.caught_up()
        assert len(self.published) > 10
        assert len(set(self.delivered)) == len(self.delivered), "delivered twice"
        first = {one: index for index, one in enumerate(self.published)}
        order = [first[one] for one in self.delivered if one in first]
        assert order == sorted(order), "one publisher's events came out of order"


@asynccontextmanager
async def traffic(*relays: UnderTest) -> AsyncIterator[Traffic]:
    """Traffic for as long as the block lasts; a failure in it fails the test."""
    made = Traffic(*relays)
    tasks = [asyncio.create_task(made.publish()), asyncio.create_task(made.listen())]
    try:
        await made.more()
        yield made
        await made.finish()
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
