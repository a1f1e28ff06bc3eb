"""Scenes of what gets lost on the way: answers, acks, and whole connections."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage
from tests.sim.jetstream.wire import Wire

MS = 1_000_000


async def over_a_wire(at: Stage, **options: Any) -> tuple[Wire, Client]:
    """A wire, and a client at its end."""
    wire = await at.lay_wire()
    return wire, await at.join(wire.url, **options)


async def a_lost_pub_ack(at: Stage) -> None:
    """A publish whose PubAck is lost times out, and its second try is told where the first is."""
    await at.make_stream()
    wire, client = await over_a_wire(at)
    js = client.jetstream()
    await js.publish(at.subject, b"before")
    wire.loses = lambda frame: b'"seq"' in frame
    await at.tries(js.publish(at.subject, b"x", timeout=SHORT_S, headers={"Nats-Msg-Id": "m"}))
    await at.tries(js.publish(at.subject, b"y", timeout=SHORT_S))
    wire.loses = lambda _: False
    for body in (b"x", b"y"):
        ack = await js.publish(at.subject, body, headers={"Nats-Msg-Id": "m"} if body == b"x" else None)
        at.see(ack.seq, bool(ack.duplicate))
    await at.state()


async def a_lost_answer_to_an_ack(at: Stage) -> None:
    """An ack whose answer is lost has counted; the second one is answered all the same."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(2)
    wire, client = await over_a_wire(at)
    puller = await client.jetstream().pull_subscribe_bind("c", stream=at.stream)
    (got,) = await puller.fetch(1, timeout=1.0)
    wire.loses = lambda frame: frame.startswith(b"MSG _INBOX")
    await at.tries(client.request(got.reply, b"", timeout=SHORT_S))
    wire.loses = lambda _: False
    await at.until(num_ack_pending=0)
    await at.consumer()
    answer = await client.request(got.reply, b"", timeout=1.0)
    at.see(answer.data, answer.headers)
    await at.consumer()


async def a_lost_delivery(at: Stage) -> None:
    """A message that gets lost on the way to who pulled it comes again after its time."""
    await at.make_stream()
    await at.make_consumer(ack_wait=1.0)
    await at.fill(2)
    wire, client = await over_a_wire(at)
    puller = await client.jetstream().pull_subscribe_bind("c", stream=at.stream)
    wire.loses = lambda frame: frame.startswith(f"MSG {at.subject} ".encode())
    await at.tries(puller.fetch(1, timeout=1.0))
    wire.loses = lambda _: False
    await asyncio.sleep(1.0)
    for _ in range(2):
        (got,) = await puller.fetch(1, timeout=1.0)
        at.see(got.data, got.metadata.num_delivered, got.metadata.sequence.stream, got.metadata.sequence.consumer)
    await at.consumer()


async def published_before_the_cut(at: Stage) -> None:
    """What was sent into a dying connection is lost: it times out, and its second try is the first that arrives."""
    await at.make_stream()
    wire, client = await over_a_wire(at)
    js = client.jetstream()
    wire.is_deaf = True
    publishing = asyncio.ensure_future(js.publish(at.subject, b"x", timeout=1.0, headers={"Nats-Msg-Id": "m"}))
    await asyncio.sleep(SHORT_S / 3)
    wire.cut()
    wire.is_deaf = False
    await at.tries(publishing)
    at.see(client.is_connected, client.stats["reconnects"])
    ack = await js.publish(at.subject, b"x", headers={"Nats-Msg-Id": "m"})
    at.see(ack.seq, bool(ack.duplicate))
    await at.state()


async def pulled_before_the_cut(at: Stage) -> None:
    """A pull request outlives its connection: a client that comes back listens to the same inbox, and is served."""
    await at.make_stream()
    await at.make_consumer()
    wire, client = await over_a_wire(at)
    puller = await client.jetstream().pull_subscribe_bind("c", stream=at.stream)
    fetching = asyncio.ensure_future(puller.fetch(1, timeout=5.0))
    await at.until(num_waiting=1)
    wire.cut()
    async with asyncio.timeout(UNTIL_S):
        while not client.stats["reconnects"] or not client.is_connected:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.002)
    await client.flush()
    await at.fill(1)
    (got,) = await fetching
    at.see(got.data, got.metadata.sequence.stream)
    await at.consumer()


async def a_late_pong(at: Stage) -> None:
    """A PONG that comes when its flush has timed out kills the client's reading, which still calls itself connected."""
    wire, client = await over_a_wire(at)
    subscription = await client.subscribe("late")
    await client.flush()
    wire.loses = lambda frame: frame == b"PONG\r\n"
    await at.tries(client.flush(1))  # type: ignore[no-untyped-call, unused-ignore]
    wire.loses = lambda _: False
    wire.say(b"PONG\r\n")
    await asyncio.sleep(SHORT_S / 3)
    await at.nc.publish("late", b"x")
    await at.tries(subscription.next_msg(timeout=SHORT_S))
    at.see(client.is_connected)


async def a_raising_error_callback(at: Stage) -> None:
    """An error_cb that raises kills the client's reading."""

    async def raising(error: Exception) -> None:
        raise ValueError(error)

    _, client = await over_a_wire(at, error_cb=raising)
    subscription = await client.subscribe("errs", pending_msgs_limit=1)
    await client.flush()
    for _ in range(5):
        await at.nc.publish("errs", b"x")
        await at.nc.flush()
        await asyncio.sleep(0.02)
    assert client._reading_task is not None
    await asyncio.wait([client._reading_task], timeout=UNTIL_S)
    at.see(subscription.pending_msgs, client.is_connected)
    await at.nc.publish("errs", b"x")
    await subscription.next_msg(timeout=SHORT_S)
    await at.tries(subscription.next_msg(timeout=SHORT_S))


async def words_of_the_server(at: Stage) -> None:
    """A stale connection is made anew, a violated permission is told, and any other error closes the client."""
    for line in (b"Stale Connection", b'Permissions Violation for Publish to "x"', b"Unknown Something"):
        told: list[str] = []

        async def tell(error: Exception, told: list[str] = told) -> None:
            told.append(type(error).__name__)

        wire, client = await over_a_wire(at, error_cb=tell)
        wire.say(b"-ERR '" + line + b"'\r\n")
        await asyncio.sleep(SHORT_S * 5)
        at.see(line, client.is_connected, client.is_closed, client.stats["reconnects"], told)


async def a_pong_that_is_not_first(at: Stage) -> None:
    """With another line before its first PONG a client never counts as connected, and keeps what it is to publish."""
    wire = await at.lay_wire()
    wire.before_pong = b"PING\r\n"
    client = await at.join(wire.url)
    heard = await at.nc.subscribe("kept")
    await at.nc.flush()
    await client.publish("kept", b"x")
    await at.tries(heard.next_msg(timeout=SHORT_S))
    at.see(client.is_connected, client.is_connecting, client.pending_data_size > 0)


async def a_reply_that_is_an_ack(at: Stage) -> None:
    """Who wants its answers where acks go is told of a violation, and stays connected."""
    told: list[str] = []

    async def tell(error: Exception) -> None:
        told.append(str(error))

    client = await at.join(error_cb=tell)
    await client.publish("somewhere", b"x", reply="$JS.ACK.a.b")
    await client.flush()
    await asyncio.sleep(SHORT_S / 3)
    at.see(told, client.is_connected, client.is_closed)


async def a_pull_with_little_room(at: Stage) -> None:
    """What a client drops for want of room comes again, until everything was seen."""
    await at.make_stream()
    await at.make_consumer(ack_wait=1.0)
    await at.fill(6)
    client = await at.join()
    puller = await client.jetstream().pull_subscribe_bind("c", stream=at.stream, pending_msgs_limit=2)
    seen: set[bytes] = set()
    async with asyncio.timeout(UNTIL_S * 2):
        while len(seen) < 6:
            try:
                got: list[Msg] = await puller.fetch(6, timeout=0.5)
            except TimeoutError:
                continue
            for one in got:
                await one.ack_sync(timeout=UNTIL_S)
                seen.add(one.data)
    at.see(sorted(seen))
    await at.state()
    info = await at.js.consumer_info(at.stream, "c")
    at.see(info.num_ack_pending, info.num_pending, info.ack_floor and info.ack_floor.stream_seq)
