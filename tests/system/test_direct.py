"""Direct subscriptions and pulling: what nats-py would deliver, at once, and every end of a consumer is noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from faults.stack import NatsProcess
from system.direct import Delivered, DirectClient, Status, read_status
from system.link import Connection, Over
from system.pull import BATCH_BYTES_MAX, PullEnded, PullReader

STREAM = "EVENTS"
CONSUMER = "puller"
LIMIT_S = 10.0

pytestmark = pytest.mark.stack


@pytest.fixture
async def client(fresh_nats: NatsProcess) -> AsyncIterator[DirectClient]:
    """A connected client with a stream and a durable consumer behind it."""
    client = DirectClient()
    await client.connect(fresh_nats.url, allow_reconnect=False)
    js = client.jetstream()
    await js.add_stream(name=STREAM, subjects=["events.>"])
    await js.add_consumer(STREAM, ConsumerConfig(durable_name=CONSUMER, ack_policy=AckPolicy.ALL))
    yield client
    await client.close()


def pulling(
    client: DirectClient, *, batch: int, prepare: Callable[[Delivered], Any] = lambda message: message.data
) -> PullReader[Any]:
    """A reader of the consumer; by default it hands on the messages' bytes."""
    connection = Connection(nc=client, js=client.jetstream(), over=Over(), heard=lambda: None)
    return PullReader(connection, STREAM, CONSUMER, prepare=prepare, batch=batch, expires_s=5.0)


async def publish(client: DirectClient, count: int, *, size: int = 0) -> list[bytes]:
    """Publish so many messages of at least this size, with headers as events have them."""
    js = client.jetstream()
    sent = [b"%*d" % (size, number) for number in range(count)]
    for number, data in enumerate(sent):
        await js.publish("events.x", data, headers={"Nats-Msg-Id": str(number)})
    return sent


async def test_a_direct_subscription_gets_what_an_ordinary_one_gets(client: DirectClient) -> None:
    """Subject, reply and bytes are the same, with and without headers, in the same order."""
    direct: list[Delivered] = []
    ordinary: list[Any] = []
    complete = asyncio.Event()

    async def keep(message: Any) -> None:
        ordinary.append(message)
        if len(ordinary) == 20:
            complete.set()

    subscription = await client.subscribe_direct("plain.>", direct.append)
    await client.subscribe("plain.>", cb=keep)
    for number in range(20):
        headers = {"Name": "value"} if number % 2 else None
        await client.publish(f"plain.{number}", b"x" * number * 5_000, reply=f"to.{number}", headers=headers)
    await client.flush()
    async with asyncio.timeout(LIMIT_S):
        while len(ordinary) < 20:  # noqa: ASYNC110  the callback is nats-py's own
            await asyncio.sleep(0.01)
    assert [(one.subject, one.reply, one.data) for one in direct] == [
        (one.subject, one.reply, one.data) for one in ordinary
    ]
    assert all(one.status is None for one in direct)
    await client.unsubscribe_direct(subscription)
    await client.publish("plain.after", b"")
    await client.flush()
    assert len(direct) == 20


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"NATS/1.0 404\r\n\r\n", Status("404", "", {})),
        (b"NATS/1.0 404 No Messages\r\n\r\n", Status("404", "No Messages", {})),
        (
            b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 7\r\nNats-Pending-Bytes: 0\r\n\r\n",
            Status("408", "Request Timeout", {"Nats-Pending-Messages": "7", "Nats-Pending-Bytes": "0"}),
        ),
        (b"NATS/1.0\r\nNats-Msg-Id: 404\r\n\r\n", None),
        (b"NATS/1.0\r\nStatus: 404\r\n\r\n", None),
        (b"NATS/1.0 four\r\n\r\n", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_a_status_is_told_from_a_messages_headers(headers: bytes, status: Status | None) -> None:
    """Only a code in the version line is the server's own word."""
    assert read_status(headers) == status


async def test_batches_hold_every_message_in_order(client: DirectClient) -> None:
    """Whatever a batch's size, all messages come once, in the stream's order, none above that size."""
    sent = await publish(client, 25)
    got: list[bytes] = []
    async with pulling(client, batch=4) as reader:
        while len(got) < len(sent):
            batch = await reader.next_batch(timeout_s=LIMIT_S)
            assert 1 <= len(batch) <= 4
            got += batch
    assert got == sent


async def test_no_more_is_asked_for_than_two_batches(client: DirectClient) -> None:
    """G7: what can come while nobody takes is bounded, however much the stream has."""
    await publish(client, 40)
    arrived: list[bytes] = []
    async with pulling(client, batch=5, prepare=lambda message: arrived.append(message.data)) as reader:
        await reader.next_batch(timeout_s=LIMIT_S)
        for _ in range(20):
            await client.flush()
    assert 5 <= len(arrived) <= 15


async def test_no_more_bytes_come_than_two_requests_allow(client: DirectClient) -> None:
    """G7: a stream of large events fills the memory of two requests, not of two batches; and all of it comes."""
    sent = await publish(client, 60, size=900_000)
    arrived: list[int] = []

    def prepare(message: Delivered) -> bytes:
        arrived.append(len(message.data))
        return message.data

    async with pulling(client, batch=100, prepare=prepare) as reader:
        got = await reader.next_batch(timeout_s=LIMIT_S)
        for _ in range(20):
            await client.flush()
        assert sum(arrived) <= 2 * BATCH_BYTES_MAX < sum(map(len, sent))
        while len(got) < len(sent):
            batch = await reader.next_batch(timeout_s=LIMIT_S)
            assert batch
            got += batch
    assert got == sent


async def test_an_empty_stream_is_an_empty_batch(client: DirectClient) -> None:
    """Nothing to read is no failure, and what comes later is still read."""
    async with pulling(client, batch=5) as reader:
        assert await reader.next_batch(timeout_s=0.05) == []
        sent = await publish(client, 1)
        assert await reader.next_batch(timeout_s=LIMIT_S) == sent


async def test_a_deleted_consumer_ends_the_reading(client: DirectClient) -> None:
    """The server's word that the consumer is gone reaches whoever waits."""
    async with pulling(client, batch=5) as reader:
        waiting = asyncio.create_task(reader.next_batch(timeout_s=LIMIT_S))
        await asyncio.sleep(0.05)
        await client.jetstream().delete_consumer(STREAM, CONSUMER)
        with pytest.raises(PullEnded, match="409 Consumer Deleted"):
            await waiting


async def test_a_missing_consumer_ends_the_reading(client: DirectClient) -> None:
    """Asking for what is not there is answered, not waited for."""
    await client.jetstream().delete_consumer(STREAM, CONSUMER)
    async with pulling(client, batch=5) as reader:
        with pytest.raises(PullEnded, match="503"):
            await reader.next_batch(timeout_s=LIMIT_S)


async def test_a_connection_that_is_over_ends_the_reading(
    client: DirectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for messages is told at once that none will come on this connection.

    It was found out by the end of a wait: pg-writer went on up to 21 s after NATS was there again.
    """
    monkeypatch.setattr("system.pull.FIRST_LIFE_S", LIMIT_S)
    connection = Connection(nc=client, js=client.jetstream(), over=Over(), heard=lambda: None)
    reader = PullReader(connection, STREAM, CONSUMER, prepare=lambda one: one.data, batch=5, expires_s=LIMIT_S)
    async with reader, asyncio.timeout(LIMIT_S / 2):
        waiting = asyncio.create_task(reader.next_batch(timeout_s=LIMIT_S))
        await asyncio.sleep(0.05)
        connection.over.set()
        with pytest.raises(PullEnded, match="the connection is over"):
            await waiting
        with pytest.raises(PullEnded, match="the connection is over"):
            await reader.next_batch(timeout_s=LIMIT_S)


async def test_a_fault_in_preparing_ends_the_reading_and_not_the_connection(client: DirectClient) -> None:
    """A bug is told to whoever reads, with the message that it met; nats-py's read loop lives on."""

    def fail(message: Delivered) -> bytes:
        raise ValueError("odd")

    await publish(client, 1)
    async with pulling(client, batch=5, prepare=fail) as reader:
        with pytest.raises(PullEnded, match=r"\$JS\.ACK\.EVENTS\.puller.*odd"):
            await reader.next_batch(timeout_s=LIMIT_S)
    async with asyncio.timeout(LIMIT_S):
        await client.flush()
        assert (await client.jetstream().stream_info(STREAM)).state.messages == 1


class Deaf:
    """A connection's client whose server answers only what the test has it say."""

    max_payload = 1 << 20

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.say: Callable[[Delivered], None]

    def new_inbox(self) -> str:
        """Any."""
        return "_INBOX.x"

    async def subscribe_direct(self, _: str, take: Callable[[Delivered], None]) -> object:
        """Keep what takes the answers."""
        self.say = take
        return object()

    async def unsubscribe_direct(self, _: object) -> None:
        """Nothing to do."""

    async def publish(self, _: str, body: bytes, reply: str) -> None:
        """Note the request."""
        self.asked.append(json.loads(body))


async def test_a_lost_request_is_asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was just started forgot the first request in one outage of three, and events waited for the life of
    a request that nobody had: 45 s. So the first lives are short, grow while requests end as they should, and one
    request at a time is enough while nothing comes.
    """
    monkeypatch.setattr("system.pull.FIRST_LIFE_S", 0.5)
    nc = Deaf()
    connection = Connection(nc=cast(Any, nc), js=cast(Any, None), over=Over(), heard=lambda: None)
    reader = PullReader(connection, STREAM, CONSUMER, prepare=lambda one: one.data, batch=10, expires_s=3.0)
    async with reader:
        for _ in range(2):
            assert await reader.next_batch(timeout_s=60.0) == []
        lives = [asked["expires"] / 1e9 for asked in nc.asked]
        assert lives == [0.5] * 3, "asked again after each, for a short while"
        timed_out = Delivered("", "", b"", Status("408", "Request Timeout", {"Nats-Pending-Messages": "10"}))
        for _ in range(4):
            reading = asyncio.ensure_future(reader.next_batch(timeout_s=60.0))
            await asyncio.sleep(0.01)
            nc.say(timed_out)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        reading = asyncio.ensure_future(reader.next_batch(timeout_s=60.0))
        await asyncio.sleep(0.01)
        assert nc.asked[-1]["expires"] / 1e9 == 3.0
        count = len(nc.asked)
        nc.say(Delivered("events.x", "$JS.ACK.x", b"there", None))
        assert await reading == [b"there"]
        assert len(nc.asked) == count + 1, "another request, now that something comes"
