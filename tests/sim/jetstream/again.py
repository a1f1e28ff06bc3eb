"""Scenes of what comes again: in which order, how often, after which times; and which acks are not answered."""

from __future__ import annotations

import asyncio
import json

from nats.aio.msg import Msg
from nats.js.api import AckPolicy

from tests.sim.jetstream.pushing import heard, pushed
from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage

MS = 1_000_000


async def naks_in_their_order(at: Stage) -> None:
    """What was refused comes again in the order of the naks, each once."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(6)
    got = await at.hear(SHORT_S, batch=5, expires=5_000 * MS)
    for place in (3, 1, 4, 3, 0):
        await at.nc.publish(got[place].reply, b"-NAK")
    await got[4].ack_sync(timeout=UNTIL_S)
    await at.consumer()
    await at.hear(SHORT_S, batch=9, expires=1_000 * MS)
    await at.consumer()


async def naks_before_the_overdue(at: Stage) -> None:
    """What was refused comes before what became overdue after it."""
    await at.make_stream()
    await at.make_consumer(ack_wait=SHORT_S * 3)
    await at.fill(5)
    got = await at.hear(SHORT_S / 3, batch=4, expires=5_000 * MS)
    await at.done(got[2], b"-NAK")
    await asyncio.sleep(SHORT_S * 5)
    await at.hear(SHORT_S / 2, batch=9, no_wait=True)
    await at.consumer()


async def the_overdue_before_naks(at: Stage) -> None:
    """What became overdue comes before what is refused after it, also while nobody asked for anything."""
    await at.make_stream()
    await at.make_consumer(ack_wait=SHORT_S * 3)
    await at.fill(4)
    got = await at.hear(SHORT_S / 3, batch=4, expires=5_000 * MS)
    await at.done(got[0], b'-NAK {"delay": 9000000000}')
    await asyncio.sleep(SHORT_S * 5)
    for place in (0, 3):
        await at.done(got[place], b"-NAK")
    await at.hear(SHORT_S / 2, batch=9, no_wait=True)
    await at.consumer()


async def a_nak_taken_back(at: Stage) -> None:
    """A nak with a delay moves what was to come at once, in progress does not; an old nak counts again."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(3)
    got = await at.hear(SHORT_S / 2, batch=3, expires=5_000 * MS)
    for one in got:
        await at.done(one, b"-NAK")
    await at.done(got[0], b'-NAK {"delay": 900000000}')
    await at.done(got[1], b"+WPI")
    await at.hear(SHORT_S / 2, batch=9, no_wait=True)
    await asyncio.sleep(SHORT_S * 6)
    await at.hear(SHORT_S / 2, batch=9, no_wait=True)
    await at.done(got[2], b"-NAK")
    await at.hear(SHORT_S / 2, batch=9, no_wait=True)
    await at.consumer()


async def no_more_deliveries(at: Stage) -> None:
    """What was delivered as often as it may be comes no more, which is told once; it stays in the stream."""
    await at.make_stream()
    await at.make_consumer(ack_wait=2.0, max_deliver=2)
    told: list[tuple[int, int, str]] = []

    async def tell(message: Msg) -> None:
        document = json.loads(message.data)
        at.see(sorted(document), document["type"], document["stream"], document["consumer"])
        told.append((document["stream_seq"], document["deliveries"], message.subject))

    await at.nc.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{at.stream}.*", cb=tell)
    await at.fill(3)
    await at.hear(SHORT_S / 3, batch=3, expires=5_000 * MS)
    await asyncio.sleep(3.0)
    got = await at.hear(SHORT_S / 3, batch=3, no_wait=True)
    await at.consumer()
    await got[1].ack_sync(timeout=UNTIL_S)
    await asyncio.sleep(3.0)
    at.see(sorted(told))
    await at.consumer()
    await at.hear(SHORT_S / 2, batch=3, expires=100 * MS)
    await at.nc.request(got[0].reply, b"", timeout=UNTIL_S)
    await at.consumer()
    await at.state()
    await at.fill(3)
    for one in await at.hear(SHORT_S / 2, batch=3, expires=5_000 * MS):
        await one.ack_sync(timeout=UNTIL_S)
        await at.consumer()


async def refused_for_the_last_time(at: Stage) -> None:
    """A nak of the last delivery ends it too, as soon as somebody asks."""
    await at.make_stream()
    await at.make_consumer(max_deliver=1)
    told: list[tuple[int, int]] = []

    async def tell(message: Msg) -> None:
        document = json.loads(message.data)
        told.append((document["stream_seq"], document["deliveries"]))

    await at.nc.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{at.stream}.>", cb=tell)
    await at.fill(3)
    got = await at.hear(SHORT_S / 2, batch=2, expires=5_000 * MS)
    await at.done(got[0], b"-NAK")
    await asyncio.sleep(SHORT_S / 3)
    at.see(list(told))
    await at.consumer()
    await at.hear(SHORT_S / 2, batch=2, expires=1_000 * MS)
    at.see(list(told))
    await at.consumer()


async def delivered_but_once(at: Stage) -> None:
    """With a single delivery the end of its time is the end of it, which makes room for another."""
    await at.make_stream()
    await at.make_consumer(ack_wait=2.0, max_deliver=1, max_ack_pending=2)
    told: list[tuple[int, int]] = []

    async def tell(message: Msg) -> None:
        document = json.loads(message.data)
        told.append((document["stream_seq"], document["deliveries"]))

    await at.nc.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{at.stream}.>", cb=tell)
    await at.fill(3)
    await at.hear(SHORT_S / 2, batch=3, expires=1_000 * MS)
    await asyncio.sleep(3.0)
    at.see(sorted(told))
    await at.consumer()
    await at.hear(SHORT_S / 2, batch=3, expires=1_000 * MS)
    await at.consumer()


async def backing_off(at: Stage) -> None:
    """With a backoff each delivery waits for its own time, the last one's goes on; the first is the ack_wait."""
    await at.make_stream()
    await at.make_consumer(backoff=[SHORT_S, SHORT_S * 5])
    info = await at.js.consumer_info(at.stream, "c")
    at.see(info.config.ack_wait, info.config.backoff, info.config.max_deliver)
    await at.fill(1)
    await at.hear(SHORT_S / 3, batch=1, expires=5_000 * MS)
    await asyncio.sleep(SHORT_S * 4)
    for _ in range(2):
        await at.hear(SHORT_S / 3, batch=1, no_wait=True)
        await asyncio.sleep(SHORT_S * 2)
        await at.hear(SHORT_S / 3, batch=1, expires=50 * MS)
        await asyncio.sleep(SHORT_S * 6)
    await at.consumer()


async def refused_while_backing_off(at: Stage) -> None:
    """A plain nak ignores the backoff; one with a delay counts from the first of its times."""
    await at.make_stream()
    await at.make_consumer(backoff=[SHORT_S * 3, SHORT_S * 9])
    await at.fill(1)
    (got,) = await at.hear(SHORT_S / 3, batch=1, expires=5_000 * MS)
    await at.done(got, b"-NAK")
    (got,) = await at.hear(SHORT_S / 3, batch=1, expires=600 * MS)
    await got.nak(delay=SHORT_S)
    await asyncio.sleep(SHORT_S * 4)
    await at.hear(SHORT_S / 3, batch=1, expires=50 * MS)
    await asyncio.sleep(SHORT_S * 6)
    await at.hear(SHORT_S / 3, batch=1, no_wait=True)
    await at.consumer()


async def limits_of_deliveries(at: Stage) -> None:
    """How often and after which times something comes again can be changed, as far as they go together."""
    await at.make_stream()
    await at.tries(at.make_consumer("few", backoff=[1.0, 2.0, 3.0], max_deliver=2))
    await at.tries(at.make_consumer("as_many", backoff=[1.0, 2.0], max_deliver=2))
    await at.tries(at.make_consumer(max_deliver=5))
    for config in ({"max_deliver": 7}, {"backoff": [1.0, 2.0]}, {}):
        await at.tries(at.make_consumer(**config))
        info = await at.js.consumer_info(at.stream, "c")
        at.see(info.config.max_deliver, info.config.backoff, info.config.ack_wait)


async def unanswered(at: Stage) -> None:
    """An ack of what was never delivered is not answered; what is no ack at all is, and changes nothing."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(3)
    (got,) = await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    words = got.reply.split(".")
    never = ".".join([*words[:5], "2", "2", *words[7:]])
    beyond = ".".join([*words[:5], "9", "9", *words[7:]])
    for reply in (never, beyond):
        for body in (b"", b"+ACK", b"+TERM", b"-NAK", b"+WPI"):
            at.see(body)
            is_answered = body in (b"-NAK", b"+WPI")
            answer = await at.tries(at.nc.request(reply, body, timeout=UNTIL_S if is_answered else SHORT_S))
            at.see(answer and (answer.data, answer.headers))
    await at.consumer()
    for body in (b"hello", b"+OK"):
        answer = await at.tries(at.nc.request(got.reply, body, timeout=1.0))
        at.see(answer and (answer.data, answer.headers))
        await at.consumer()


async def acks_to_nobody(at: Stage) -> None:
    """An ack to a consumer that is gone, or that wants none, finds nobody."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(1)
    (got,) = await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    await at.js.delete_consumer(at.stream, "c")
    await at.tries(at.nc.request(got.reply, b"", timeout=1.0))
    inbox = at.nc.new_inbox()
    hearing = asyncio.ensure_future(heard(at, inbox, SHORT_S * 5))
    await asyncio.sleep(0.05)
    await pushed(at, inbox)
    (got,) = await hearing
    answer = await at.tries(at.nc.request(got.reply, b"", timeout=1.0))
    at.see(answer and (answer.data, answer.headers))
    await at.make_consumer("all", ack_policy=AckPolicy.ALL)
    (got,) = await at.hear(SHORT_S / 2, "all", batch=1, expires=5_000 * MS)
    await at.js.delete_stream(at.stream)
    await at.tries(at.nc.request(got.reply, b"", timeout=1.0))


async def one_too_large(at: Stage) -> None:
    """What comes again and is too large for everybody who waits lets others before it."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(1, size=300)
    await at.fill(2)
    for one in await at.hear(SHORT_S / 2, batch=3, expires=5_000 * MS):
        await at.done(one, b"-NAK")
    await at.hear(SHORT_S / 2, batch=3, expires=1_000 * MS, max_bytes=200)
    await at.hear(SHORT_S / 2, batch=3, expires=5_000 * MS)
    await at.consumer()


async def another_filter(at: Stage) -> None:
    """A consumer can be told of another filter: what it passed over under the old one stays passed over."""
    await at.make_stream()
    subjects = [f"{at.subject}.x", f"{at.subject}.y"]
    await at.make_consumer(filter_subject=subjects[0])
    for number in range(4):
        await at.js.publish(subjects[number % 2], b"%d" % number)
    await at.until(num_pending=2)
    await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    for subject in (subjects[1], None):
        await at.make_consumer(filter_subject=subject)
        info = await at.js.consumer_info(at.stream, "c")
        at.see(info.config.filter_subject)
        await at.consumer()
        await at.js.publish(subjects[0], b"x")
        await asyncio.sleep(SHORT_S * 2)  # the real server's count does not tell when it knows
        await at.hear(SHORT_S / 2, batch=9, expires=1_000 * MS)
        await at.consumer()
    await at.tries(at.make_consumer(max_waiting=3))


async def again_at_the_ack_limit(at: Stage) -> None:
    """At max_ack_pending nothing new comes, but what was delivered comes again in its time."""
    await at.make_stream()
    await at.make_consumer(max_ack_pending=2, ack_wait=3.0)
    await at.fill(4)
    await at.hear(SHORT_S / 3, batch=4, expires=1_000 * MS)
    await asyncio.sleep(3.2)
    got = await at.hear(SHORT_S / 2, batch=4, expires=1_000 * MS)
    await at.consumer()
    await got[0].ack_sync(timeout=UNTIL_S)
    await at.hear(SHORT_S / 3, batch=1, expires=5_000 * MS)
    await at.consumer()


async def a_late_ack(at: Stage) -> None:
    """An ack of the first delivery counts after the second one; the reply of the second changes nothing more."""
    await at.make_stream()
    await at.make_consumer(ack_wait=SHORT_S)
    await at.fill(1)
    (first,) = await at.hear(SHORT_S / 3, batch=1, expires=5_000 * MS)
    await asyncio.sleep(SHORT_S * 3)
    (second,) = await at.hear(SHORT_S / 2, batch=1, no_wait=True)
    await at.done(first, b"+ACK")
    await at.consumer()
    await at.done(second, b"-NAK")
    await at.hear(SHORT_S / 2, batch=1, expires=100 * MS)
    await at.consumer()


async def purged_after_another_delivery(at: Stage) -> None:
    """A purge of all that is pending moves the floor to the last delivery; of a part, to the first one of that."""
    await at.make_stream()
    await at.make_consumer(ack_wait=SHORT_S)
    await at.fill(4)
    await at.hear(SHORT_S / 3, batch=2, expires=5_000 * MS)
    await asyncio.sleep(SHORT_S * 3)
    await at.hear(SHORT_S / 2, batch=2, no_wait=True)
    for seq in (2, 3):
        await at.js.purge_stream(at.stream, seq=seq)
        await at.consumer()


async def naks_before_a_purge(at: Stage) -> None:
    """Any purge, also one that removes nothing, has the server forget what was refused: only time brings it again."""
    await at.make_stream()
    await at.make_consumer(ack_wait=SHORT_S * 6)
    await at.fill(3)
    got = await at.hear(SHORT_S, batch=2, expires=5_000 * MS)
    await at.done(got[0], b"-NAK")
    at.see(await at.js.purge_stream(at.stream, keep=9))
    await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    await at.hear(SHORT_S / 2, batch=1, expires=100 * MS)
    await asyncio.sleep(SHORT_S * 8)
    await at.hear(SHORT_S / 2, batch=9, no_wait=True)
    await at.consumer()
