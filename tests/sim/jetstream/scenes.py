"""Scenes that any NATS server with JetStream must play alike: each is written once, and notes what a client sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

UNTIL_S = 10.0
"""How long a scene waits for what is bound to come."""
SHORT_S = 0.3
"""An ack's time, or a request's, that a scene waits for."""


class Stage:
    """One client on one server, a stream of its own, and what was seen so far."""

    def __init__(self, nc: Client, name: str) -> None:
        self.nc = nc
        self.js: JetStreamContext = nc.jetstream(timeout=2.0)
        self.stream = name.upper()
        self.subject = f"{name}.a"
        self._name = name
        self._consumers: list[str] = []
        self.seen: list[Any] = []

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
        with contextlib.suppress(nats.errors.Error):
            await self.js.delete_stream(self.stream)

    async def make_consumer(self, name: str = "c", **config: Any) -> None:
        """Create a durable pull consumer that wants each message acknowledged, unless told otherwise."""
        given: dict[str, Any] = {"ack_policy": AckPolicy.EXPLICIT, "ack_wait": 30.0} | config
        await self.js.add_consumer(self.stream, ConsumerConfig(durable_name=name, **given))
        self._consumers.append(name)

    async def fill(self, count: int, *, size: int = 1) -> None:
        """Publish so many messages, and wait until the consumers know of them.

        The real server tells its consumers after the PubAck: what the first deliveries say of how many are pending
        was one too few, once in many runs on a busy machine.
        """
        for number in range(count):
            await self.js.publish(self.subject, str(number).encode().rjust(size, b"."))
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
        await self.nc.request(message.reply, body, timeout=2.0)

    async def ask(self, subject: str, /, **body: Any) -> None:
        """Note JetStream's raw answer to a request, without what differs between two servers."""
        answer = await self.nc.request(f"$JS.API.{subject}", json.dumps(body).encode() if body else b"", timeout=2.0)
        if answer.headers or not answer.data:
            headers = _plain(answer.headers)
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
        """Pull, and note everything that comes within a time; answers the messages."""
        inbox = self.nc.new_inbox()
        heard: list[Msg] = []

        async def take(message: Msg) -> None:
            heard.append(message)

        subscription = await self.nc.subscribe(inbox, cb=take)
        await self.pull(inbox, name, **request)
        await asyncio.sleep(wait_s)
        await subscription.unsubscribe()
        for message in heard:
            self.note(message)
        return [message for message in heard if message.reply]

    def note(self, message: Msg) -> None:
        """Note a message or a status, as it was delivered."""
        if message.reply:
            words = message.reply.split(".")
            self.see("message", message.data[-20:], words[2:7], words[8:], _plain(message.headers))
        else:
            self.see("status", _plain(message.headers), message.data)


def _plain(headers: dict[str, Any] | None) -> dict[str, str]:
    """nats-py's headers as text: what is not ASCII it wraps in objects that equal nothing."""
    return {str(key): str(value) for key, value in (headers or {}).items()}


Scene: TypeAlias = Callable[[Stage], Awaitable[None]]


async def publishing(at: Stage) -> None:
    """PubAcks count up; the same id again is a duplicate of the first."""
    await at.make_stream()
    for number in ("1", "2", "1"):
        ack = await at.js.publish(at.subject, b"x", headers={"Nats-Msg-Id": number})
        at.see(ack.stream, ack.seq, bool(ack.duplicate))
    await at.state()


async def expectations(at: Stage) -> None:
    """Publishes that expect another stream, last sequence or last id are refused with their codes."""
    await at.make_stream()
    await at.js.publish(at.subject, b"x", headers={"Nats-Msg-Id": "one"})
    for headers in (
        {"Nats-Expected-Stream": "OTHER"},
        {"Nats-Expected-Last-Sequence": "7"},
        {"Nats-Expected-Last-Sequence": "1"},
        {"Nats-Expected-Last-Msg-Id": "two"},
    ):
        ack = await at.tries(at.js.publish(at.subject, b"y", headers=headers))
        at.see(headers, ack and ack.seq)
    await at.state()


async def dedupe_window(at: Stage) -> None:
    """An id is new again once the window is over."""
    await at.make_stream(duplicate_window=SHORT_S)
    for wait_s in (0.0, SHORT_S * 3, 0.0):
        await asyncio.sleep(wait_s)
        ack = await at.js.publish(at.subject, b"x", headers={"Nats-Msg-Id": "same"})
        at.see(ack.seq, bool(ack.duplicate))


async def nobody_there(at: Stage) -> None:
    """A request that nobody hears is answered at once; so is a publish into no stream."""
    await at.tries(at.nc.request(f"{at.subject}.nobody", b"", timeout=2.0))
    await at.tries(at.js.publish(at.subject, b""))
    await at.tries(at.js.stream_info(at.stream))
    await at.tries(at.js.consumer_info(at.stream, "c"))
    await at.hear(SHORT_S, batch=1, expires=200_000_000)


async def headers_survive(at: Stage) -> None:
    """Headers come back as they were given, in a delivery and in a look-up."""
    await at.make_stream(allow_direct=True)
    await at.make_consumer()
    await at.js.publish(at.subject, b"x", headers={"Nats-Msg-Id": "h", "X-Colon": "a: b", "x-lower": "é"})
    await at.js.publish(at.subject, b"", headers={"Only": "headers"})
    await at.hear(SHORT_S, batch=2, expires=200_000_000)
    for seq in (1, 2):
        got = await at.js.get_msg(at.stream, seq)
        at.see(got.subject, got.seq, got.data, _plain(got.headers))
        await at.ask(f"DIRECT.GET.{at.stream}", seq=seq)


async def too_large(at: Stage) -> None:
    """The client refuses what the server has said is too much; the largest is taken."""
    await at.make_stream()
    at.see(at.nc.max_payload)
    await at.tries(at.js.publish(at.subject, b"x" * (at.nc.max_payload + 1)))
    ack = await at.js.publish(at.subject, b"x" * at.nc.max_payload)
    at.see(ack.seq)
    await at.state()


async def full_stream(at: Stage) -> None:
    """`discard: new` refuses beyond max_bytes, `old` drops from the front."""
    await at.make_stream(max_bytes=300, discard="new")
    for _ in range(5):
        await at.tries(at.js.publish(at.subject, b"x" * 50))
    await at.state()


async def rolling_stream(at: Stage) -> None:
    """`discard: old` drops from the front, pending messages too."""
    await at.make_stream(max_bytes=300, discard="old")
    await at.make_consumer(ack_wait=SHORT_S)
    await at.fill(2, size=50)
    await at.hear(SHORT_S / 3, batch=1, expires=50_000_000)
    await at.fill(4, size=50)
    await at.state()
    await at.consumer()
    await asyncio.sleep(SHORT_S)
    await at.hear(SHORT_S, batch=10, expires=200_000_000)


async def aged_stream(at: Stage) -> None:
    """What is older than max_age is gone, and the sequence goes on."""
    await at.make_stream(max_age=1.0, duplicate_window=1.0)
    await at.fill(3)
    await asyncio.sleep(2.2)
    await at.state()
    await at.tries(at.js.get_msg(at.stream, 2))
    await at.fill(1)
    await at.state()


async def streams(at: Stage) -> None:
    """A stream is made once; another configuration, an overlap or a missing replica has its code."""
    await at.make_stream(max_bytes=1_000_000)
    await at.make_stream(max_bytes=1_000_000)
    await at.tries(at.make_stream(max_bytes=2_000_000))
    await at.tries(at.js.add_stream(StreamConfig(name="OVERLAP", subjects=[at.subject])))
    await at.tries(at.js.add_stream(StreamConfig(name="THREE", subjects=["three"], num_replicas=3)))
    found = (await at.js.stream_info(at.stream)).config
    at.see(found.subjects, found.max_bytes, found.storage, found.retention, found.discard, found.duplicate_window)
    at.see(found.max_age, found.num_replicas, found.allow_direct, found.max_msgs, found.no_ack, found.max_consumers)
    await at.tries(at.js.update_stream(StreamConfig(name=at.stream, subjects=found.subjects, max_bytes=3_000_000)))
    at.see((await at.js.stream_info(at.stream)).config.max_bytes)
    at.see(await at.js.find_stream_name_by_subject(at.subject))
    await at.tries(at.js.find_stream_name_by_subject("nobodys.subject"))
    at.see(await at.js.delete_stream(at.stream))
    await at.tries(at.js.delete_stream(at.stream))


async def raw_answers(at: Stage) -> None:
    """The API's answers, type and error as they stand on the wire."""
    await at.ask(f"STREAM.INFO.{at.stream}")
    await at.ask(f"STREAM.CREATE.{at.stream}", name=at.stream, subjects=[at.subject])
    await at.ask(f"STREAM.CREATE.{at.stream}", name=at.stream, subjects=[at.subject])
    await at.ask(f"CONSUMER.INFO.{at.stream}.c")
    await at.ask(f"CONSUMER.DELETE.{at.stream}.c")
    await at.ask(f"STREAM.PURGE.{at.stream}")
    await at.ask(f"STREAM.MSG.GET.{at.stream}", seq=1)
    await at.ask(f"STREAM.MSG.DELETE.{at.stream}", seq=1)
    await at.ask("STREAM.NAMES", subject=at.subject)
    await at.ask(f"STREAM.DELETE.{at.stream}")
    await at.ask(f"STREAM.DELETE.{at.stream}")
    await at.ask(f"STREAM.PURGE.{at.stream}")
    await at.ask(f"STREAM.MSG.GET.{at.stream}", seq=1)


async def look_ups(at: Stage) -> None:
    """Messages by sequence and by subject, there and missing, over the API and directly."""
    await at.make_stream(allow_direct=True)
    await at.fill(3)
    await at.js.publish(f"{at.subject}.b", b"other")
    for body in ({"seq": 2}, {"seq": 99}, {"last_by_subj": at.subject}, {"seq": 2, "next_by_subj": f"{at.subject}.b"}):
        await at.ask(f"STREAM.MSG.GET.{at.stream}", **body)
        await at.ask(f"DIRECT.GET.{at.stream}", **body)
    await at.ask(f"DIRECT.GET.{at.stream}.{at.subject}")
    await at.ask(f"DIRECT.GET.{at.stream}.{at.subject}.none")
    await at.tries(at.js.get_msg(at.stream, 99))
    await at.tries(at.js.get_msg(at.stream, 99, direct=True))
    await at.tries(at.nc.request("$JS.API.DIRECT.GET.NOSTREAM", b'{"seq":1}', timeout=1.0))


async def deleted_messages(at: Stage) -> None:
    """A deleted message leaves a hole in the middle, none at an end, and never comes to a consumer."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(5)
    await at.hear(SHORT_S / 2, batch=1, expires=100_000_000)
    for seq in (3, 5, 1):
        at.see(await at.js.delete_msg(at.stream, seq))
        await at.state()
    await at.tries(at.js.delete_msg(at.stream, 3))
    await at.tries(at.js.get_msg(at.stream, 3))
    await at.consumer()
    await at.fill(1)
    await at.hear(SHORT_S, batch=10, expires=200_000_000)
    await at.consumer()


async def purging(at: Stage) -> None:
    """A purge keeps the sequence; up to a sequence, or all but some, it keeps the rest."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(6)
    at.see(await at.js.purge_stream(at.stream, seq=3))
    await at.state()
    at.see(await at.js.purge_stream(at.stream, keep=2))
    await at.state()
    await at.consumer()
    at.see(await at.js.purge_stream(at.stream))
    await at.state()
    await at.fill(1)
    await at.state()
    await at.hear(SHORT_S, batch=5, expires=200_000_000)
    await at.consumer()
