"""What a scene is played on: a client, a server, a stream of its own, and what was seen so far."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from tests.sim.jetstream.ground import Ground
from tests.sim.jetstream.wire import Wire

UNTIL_S = 10.0
"""How long a scene waits for what is bound to come."""
SHORT_S = 0.3
"""An ack's time, or a request's, that a scene waits for."""
LATE_S = 2.0
"""How late a request's end may be seen: whoever plays, or the server, may not be given its turn for a while."""


class Stage:
    """One client on one server, a stream of its own, and what was seen so far."""

    def __init__(self, nc: Client, name: str, ground: Ground | None = None) -> None:
        self.nc = nc
        self.js: JetStreamContext = nc.jetstream(timeout=UNTIL_S)
        self.stream = name.upper()
        self.subject = f"{name}.a"
        self._name = name
        self._consumers: list[str] = []
        self.seen: list[Any] = []
        self._ground = ground
        self._others: list[Client] = []
        self._wires: list[Wire] = []

    @property
    def ground(self) -> Ground:
        """The server itself, to be killed and started."""
        assert self._ground is not None, "expected a scene of those that are given a server of their own"
        return self._ground

    async def restart(self) -> None:
        """Kill the server, start it again, and be its client anew."""
        await self.ground.kill()
        await self.ground.start()
        await self.come_back()

    async def come_back(self) -> None:
        """Be the server's client anew."""
        await self.nc.close()
        self.nc = await connected(self.ground.url)
        self.js = self.nc.jetstream(timeout=UNTIL_S)

    async def lay_wire(self) -> Wire:
        """A wire to the server."""
        self._wires.append(await Wire(self.ground.url).lay(self.ground.beside))
        return self._wires[-1]

    async def join(self, url: str = "", **options: Any) -> Client:
        """One more client, which comes back by itself and fast, unless told otherwise; over a wire, by its address."""
        given: dict[str, Any] = {
            "allow_reconnect": True,
            "reconnect_time_wait": 0.05,
            "max_reconnect_attempts": -1,
        } | options
        self._others.append(await connected(url or self.ground.url, **given))
        return self._others[-1]

    def see(self, *what: Any) -> None:
        """Note something that must be the same everywhere."""
        self.seen.append(what)

    async def tries(self, what: Awaitable[Any]) -> Any:
        """Wait for an answer, or note the error that came instead."""
        try:
            return await what
        except nats.js.errors.APIError as error:
            self.see("error", type(error).__name__, error.code, error.err_code, error.description)
        except (nats.errors.Error, TimeoutError) as error:
            self.see("error", type(error).__name__)
        return None

    async def make_stream(self, **config: Any) -> None:
        """Create this scene's stream."""
        await self.js.add_stream(StreamConfig(name=self.stream, subjects=[f"{self._name}.>"], **config))

    async def clean(self) -> None:
        """Leave nothing behind for the next scene."""
        for client in self._others:
            await client.close()
        for wire in self._wires:
            await wire.close()
        with contextlib.suppress(nats.errors.Error):
            await self.js.delete_stream(self.stream)
        await self.nc.close()

    async def make_consumer(self, name: str = "c", **config: Any) -> None:
        """Create a durable pull consumer that wants each message acknowledged, unless told otherwise."""
        given: dict[str, Any] = {"ack_policy": AckPolicy.EXPLICIT, "ack_wait": 30.0} | config
        await self.js.add_consumer(self.stream, ConsumerConfig(durable_name=name, **given))
        self._consumers.append(name)

    async def fill(self, count: int, *, size: int = 1) -> None:
        """Publish so many messages, and wait until the consumers know of them."""
        for number in range(count):
            await self.js.publish(self.subject, str(number).encode().rjust(size, b"."))
        await self.known()

    async def known(self) -> None:
        """Wait until the consumers, which have no filter, know of everything.

        The real server tells its consumers after the PubAck: what the first deliveries say of how many are pending
        was one too few, once in many runs on a busy machine.
        """
        for name in self._consumers:
            while not await self._knows_all(name):  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.002)

    async def _knows_all(self, consumer: str) -> bool:
        """Whether a consumer counts everything that is stored behind what it has delivered, holes aside."""
        state = (await self.js.stream_info(self.stream)).state
        info = await self.js.consumer_info(self.stream, consumer)
        assert info.delivered is not None
        assert info.num_pending is not None
        holes = state.last_seq - state.first_seq + 1 - state.messages
        behind = state.last_seq - max(info.delivered.stream_seq, state.first_seq - 1)
        return bool(info.num_pending >= behind - holes)

    async def until(self, name: str = "c", **counts: int) -> None:
        """Wait until a consumer tells of such counts: the real server's learns of messages and requests a bit later."""
        async with asyncio.timeout(UNTIL_S):
            while True:
                info = await self.js.consumer_info(self.stream, name)
                if all(getattr(info, key) == count for key, count in counts.items()):
                    return
                await asyncio.sleep(0.002)

    async def done(self, message: Msg, body: bytes) -> None:
        """Say something of a delivery, and wait until the consumer has done it, and whatever was said before.

        The real server queues what is said of deliveries apart from requests: a flush does not wait for it.
        """
        await self.nc.request(message.reply, body, timeout=UNTIL_S)

    async def ask(self, subject: str, /, **body: Any) -> None:
        """Note JetStream's raw answer to a request, without what differs between two servers."""
        answer = await self.nc.request(
            f"$JS.API.{subject}", json.dumps(body).encode() if body else b"", timeout=UNTIL_S
        )
        if answer.headers or not answer.data:
            headers = plain(answer.headers)
            headers.pop("Nats-Time-Stamp", None)
            self.see("headers", headers, answer.data)
            return
        document = json.loads(answer.data)
        kept = ("type", "error", "success", "purged", "message", "streams", "did_create")
        found = {key: value for key, value in document.items() if key in kept}
        found.get("message", {}).pop("time", None)
        self.see(found)

    async def state(self) -> None:
        """Note what the stream says of itself."""
        state = (await self.js.stream_info(self.stream)).state
        self.see("stream", state.messages, state.bytes, state.first_seq, state.last_seq, state.consumer_count)

    async def consumer(self, name: str = "c") -> None:
        """Note what a consumer says of itself."""
        info = await self.js.consumer_info(self.stream, name)
        assert info.delivered is not None
        assert info.ack_floor is not None
        self.see("delivered", info.delivered.consumer_seq, info.delivered.stream_seq)
        self.see("floor", info.ack_floor.consumer_seq, info.ack_floor.stream_seq)
        self.see("counts", info.num_ack_pending, info.num_redelivered, info.num_waiting, info.num_pending)

    async def pull(self, inbox: str, name: str = "c", **request: Any) -> None:
        """Ask a consumer for messages, in the protocol's own words."""
        body = json.dumps(request).encode()
        await self.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{name}", body, reply=inbox)

    async def hear(self, wait_s: float, name: str = "c", **request: Any) -> list[Msg]:
        """Pull, and note everything that comes within a time and until the request is over; answers the messages."""
        inbox = self.nc.new_inbox()
        heard: list[Msg] = []

        async def take(message: Msg) -> None:
            heard.append(message)

        subscription = await self.nc.subscribe(inbox, cb=take)
        await self.pull(inbox, name, **request)
        loop = asyncio.get_running_loop()
        latest = loop.time() + max(wait_s, request.get("expires", 0) / 1e9) + LATE_S
        await asyncio.sleep(wait_s)
        while not _is_over(heard, request) and loop.time() < latest:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.002)
        await subscription.unsubscribe()
        for message in heard:
            self.note(message)
        return [message for message in heard if message.reply]

    def note(self, message: Msg) -> None:
        """Note a message or a status, as it was delivered."""
        if message.reply:
            words = message.reply.split(".")
            self.see("message", message.data[-20:], words[2:7], words[8:], plain(message.headers))
        else:
            self.see("status", plain(message.headers), message.data)


def plain(headers: dict[str, Any] | None) -> dict[str, str]:
    """nats-py's headers as text: what is not ASCII it wraps in objects that equal nothing."""
    return {str(key): str(value) for key, value in (headers or {}).items()}


def _is_over(heard: list[Msg], request: dict[str, Any]) -> bool:
    """Whether a request has ended with a word, or, if its bytes aren't limited, with its last message."""
    if any(not one.reply and (one.headers or {}).get("Status") != "100" for one in heard):
        return True
    return "max_bytes" not in request and sum(bool(one.reply) for one in heard) >= request.get("batch", 1)


Scene: TypeAlias = Callable[[Stage], Awaitable[None]]


async def connected(url: str | list[str], **options: Any) -> Client:
    """A client that tells nobody of errors and does not come back, unless told otherwise."""

    async def errored(_: Exception) -> None:
        """The scene itself sees what matters."""

    client: Client = await nats.connect(url, **({"allow_reconnect": False, "error_cb": errored} | options))
    return client
