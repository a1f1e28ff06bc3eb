"""Scenes of push consumers: who listens, signs of life, flow control, where they begin, and when they are forgotten."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage

MS = 1_000_000
BIG = 300_000
"""Bytes of a message of which a few fill flow control's first window of 2 MiB."""


async def pushed(at: Stage, inbox: str, **config: Any) -> str:
    """Make a push consumer without acks; answers its name."""
    given = {"deliver_subject": inbox, "ack_policy": "none", "deliver_policy": "all", "mem_storage": True} | config
    request = {"stream_name": at.stream, "config": given}
    answer = await at.nc.request(f"$JS.API.CONSUMER.CREATE.{at.stream}", json.dumps(request).encode(), timeout=UNTIL_S)
    document = json.loads(answer.data)
    at.see("made", document.get("error"), document.get("delivered"), document.get("num_pending"))
    return str(document.get("name", ""))


async def heard(at: Stage, inbox: str, for_s: float) -> list[Msg]:
    """Everything that comes to an inbox in a time."""
    got: list[Msg] = []

    async def take(message: Msg) -> None:
        got.append(message)

    subscription = await at.nc.subscribe(inbox, cb=take)
    await asyncio.sleep(for_s)
    await subscription.unsubscribe()
    return got


def said(message: Msg) -> Any:
    """A message, or a status, without names and times."""
    if not message.reply.startswith("$JS.ACK."):
        headers = {name: value for name, value in (message.headers or {}).items() if name != "Nats-Consumer-Stalled"}
        return "status", headers, message.reply.startswith("$JS.FC.")
    _, _, _, _, deliveries, stream_seq, consumer_seq, _, pending = message.reply.split(".")
    return message.subject, len(message.data), deliveries, stream_seq, consumer_seq, pending


async def held_until_heard(at: Stage) -> None:
    """What is there waits until somebody listens; then comes what is published, at once."""
    await at.make_stream()
    await at.fill(3)
    inbox = at.nc.new_inbox()
    name = await pushed(at, inbox)
    await asyncio.sleep(SHORT_S / 3)
    await at.consumer(name)
    hearing = asyncio.ensure_future(heard(at, inbox, SHORT_S * 6))
    await asyncio.sleep(SHORT_S * 3)
    await at.fill(1)
    for message in await hearing:
        at.see(said(message))
    await at.consumer(name)


async def signs_of_life(at: Stage) -> None:
    """A consumer with nothing to send says so, with the last sequences that it sent."""
    await at.make_stream()
    await at.fill(2)
    inbox = at.nc.new_inbox()
    hearing = asyncio.ensure_future(heard(at, inbox, 2.6))
    await asyncio.sleep(0.05)
    await pushed(at, inbox, idle_heartbeat=1_000 * MS)
    for message in await hearing:
        at.see(said(message))


async def begun_anywhere(at: Stage) -> None:
    """All, the last, new ones, or from a sequence; with a filter, what falls under it."""
    await at.make_stream()
    subjects = [f"{at.subject}.x", f"{at.subject}.y"]
    for number in range(4):
        await at.js.publish(subjects[number % 2], b"%d" % number)
    for config in (
        {"deliver_policy": "last"},
        {"deliver_policy": "new"},
        {"deliver_policy": "by_start_sequence", "opt_start_seq": 3},
        {"deliver_policy": "by_start_sequence", "opt_start_seq": 9},
        {"filter_subject": subjects[1]},
        {"filter_subject": subjects[0], "deliver_policy": "last"},
        {"filter_subject": f"{at.subject}.>"},
    ):
        inbox = at.nc.new_inbox()
        hearing = asyncio.ensure_future(heard(at, inbox, 0.8))
        await asyncio.sleep(0.05)
        await pushed(at, inbox, **config)
        for message in await hearing:
            at.see(said(message))


async def flow_controlled(at: Stage) -> None:
    """Past half the window the client is asked; past all of it nothing comes until it answers, then twice as much."""
    await at.make_stream()
    await at.fill(16, size=BIG)
    inbox = at.nc.new_inbox()
    got: list[Msg] = []

    async def take(message: Msg) -> None:
        got.append(message)

    await at.nc.subscribe(inbox, cb=take, pending_bytes_limit=64 * 1024 * 1024)
    await pushed(at, inbox, flow_control=True, idle_heartbeat=400 * MS)
    for _ in range(3):
        await asyncio.sleep(1.2)
        at.see("until now", [said(one) for one in got if one.reply])
        asked = [one for one in got if one.reply.startswith("$JS.FC.")]
        got.clear()
        for one in asked:
            await at.nc.publish(one.reply, b"")


async def flow_controlled_in_a_long_inbox(at: Stage) -> None:
    """The window counts the inbox's name too: with three thousand bytes of it the client is asked a message earlier."""
    await at.make_stream()
    await at.fill(8, size=207_000)
    inbox = f"{at.nc.new_inbox()}.{'x' * 3_000}"
    hearing = asyncio.ensure_future(heard(at, inbox, SHORT_S * 5))
    await asyncio.sleep(0.05)
    await pushed(at, inbox, flow_control=True, idle_heartbeat=10_000 * MS)
    at.see([said(one) for one in await hearing])


async def an_old_answer(at: Stage) -> None:
    """An answer to nothing that was asked moves nothing."""
    await at.make_stream()
    await at.fill(12, size=BIG)
    inbox = at.nc.new_inbox()
    hearing = asyncio.ensure_future(heard(at, inbox, 2.0))
    await asyncio.sleep(0.05)
    name = await pushed(at, inbox, flow_control=True, idle_heartbeat=10_000 * MS)
    await asyncio.sleep(1.2)
    await at.nc.publish(f"$JS.FC.{at.stream}.{name}.000000", b"")
    at.see([said(one) for one in await hearing])


async def forgotten(at: Stage) -> None:
    """Without a listener a consumer without a name is forgotten, after its threshold and a little more."""
    await at.make_stream()
    name = await pushed(at, at.nc.new_inbox(), inactive_threshold=1_000 * MS)
    await asyncio.sleep(0.1)
    await at.consumer(name)
    await asyncio.sleep(2.0)
    await at.tries(at.js.consumer_info(at.stream, name))


async def listened_to(at: Stage) -> None:
    """While somebody listens it stays, and it is forgotten once nobody does any more."""
    await at.make_stream()
    inbox = at.nc.new_inbox()
    hearing = asyncio.ensure_future(heard(at, inbox, 2.0))
    await asyncio.sleep(0.05)
    name = await pushed(at, inbox, inactive_threshold=200 * MS)
    await asyncio.sleep(1.2)
    await at.consumer(name)
    await hearing
    await asyncio.sleep(2.0)
    await at.tries(at.js.consumer_info(at.stream, name))


async def ordered(at: Stage) -> None:
    """nats-py's own ordered consumer: everything in order, and again from where it was when its consumer is gone."""
    await at.make_stream()
    await at.fill(5)
    subscription = await at.js.subscribe(at.subject, ordered_consumer=True, idle_heartbeat=0.4)
    for _ in range(5):
        message = await subscription.next_msg(timeout=UNTIL_S)
        at.see(message.metadata.sequence.stream, message.metadata.sequence.consumer, message.metadata.num_pending)
    info = await subscription.consumer_info()
    at.see(info.num_pending, info.push_bound)
    await at.js.delete_consumer(at.stream, info.name)
    await at.js.publish(at.subject, b"later")
    message = await subscription.next_msg(timeout=5.0)
    at.see(message.data, message.metadata.sequence.stream, message.metadata.sequence.consumer)
    await subscription.unsubscribe()


async def only_new(at: Stage) -> None:
    """A pull consumer for new messages only, for the last one, or for some subjects only."""
    await at.make_stream()
    for number in range(4):
        await at.js.publish(f"{at.subject}.{'xy'[number % 2]}", b"%d" % number)
    for name, pending, config in (
        ("new", 1, {"deliver_policy": DeliverPolicy.NEW}),
        ("last", 2, {"deliver_policy": DeliverPolicy.LAST}),
        ("some", 2, {"filter_subject": f"{at.subject}.y"}),
    ):
        await at.make_consumer(name, **config)
        await at.consumer(name)
        puller = await at.js.pull_subscribe_bind(name, stream=at.stream)
        await at.js.publish(f"{at.subject}.x", b"new")
        await at.until(name, num_pending=pending)
        got = await at.tries(puller.fetch(10, timeout=5.0))
        at.see([(one.data, one.metadata.sequence.stream, one.metadata.num_pending) for one in got or ()])


async def config_is_told(at: Stage) -> None:
    """What was asked for is what is told."""
    await at.make_stream()
    config = ConsumerConfig(
        deliver_subject=at.nc.new_inbox(),
        ack_policy=AckPolicy.NONE,
        idle_heartbeat=1.0,
        flow_control=True,
        mem_storage=True,
    )
    info = await at.js.add_consumer(at.stream, config)
    at.see(info.config.ack_policy, info.config.flow_control, info.config.idle_heartbeat, info.num_pending)


async def signs_of_life_under_a_filter(at: Stage) -> None:
    """A sign of life says how far the consumer has looked, beyond what it sent."""
    await at.make_stream()
    for number in range(5):
        await at.js.publish(f"{at.subject}.{'xy'[number == 1]}", b"%d" % number)
    inbox = at.nc.new_inbox()
    hearing = asyncio.ensure_future(heard(at, inbox, 2.6))
    await asyncio.sleep(0.05)
    name = await pushed(at, inbox, idle_heartbeat=1_000 * MS, filter_subject=f"{at.subject}.y")
    for message in await hearing:
        at.see(said(message))
    await at.consumer(name)


async def beats_from_the_beginning(at: Stage) -> None:
    """Signs of life go by when the consumer was made, not by when somebody began to listen."""
    await at.make_stream()
    inbox = at.nc.new_inbox()
    await pushed(at, inbox, idle_heartbeat=2_000 * MS)
    await asyncio.sleep(1.0)
    for message in await heard(at, inbox, 1.6):
        at.see(said(message))


async def forgotten_at_once(at: Stage) -> None:
    """A threshold that was asked for is kept to, with nothing added."""
    await at.make_stream()
    for _ in range(8):
        await pushed(at, at.nc.new_inbox(), inactive_threshold=1_000 * MS)
    await at.state()
    await asyncio.sleep(1.7)
    await at.state()
