"""Scenes of pull requests that wait: their turns, their limits, and how they end."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import AckPolicy

from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage

MS = 1_000_000


async def asked(at: Stage, **request: Any) -> list[Msg]:
    """Pull into an inbox of its own; what comes there is in the list, from then on."""
    heard: list[Msg] = []

    async def take(message: Msg) -> None:
        heard.append(message)

    inbox = at.nc.new_inbox()
    await at.nc.subscribe(inbox, cb=take)
    await at.pull(inbox, **request)
    await at.nc.flush()
    return heard


async def came(count: int, *waiting: list[Msg]) -> None:
    """Wait until so many messages and statuses have come to the requests, all together, and for one too many."""
    await asyncio.sleep(SHORT_S)
    async with asyncio.timeout(UNTIL_S):
        while sum(len(heard) for heard in waiting) < count:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.002)


def tell(at: Stage, *waiting: list[Msg]) -> None:
    """Note what has come to each request."""
    for number, heard in enumerate(waiting):
        at.see("request", number)
        for message in heard:
            at.note(message)


async def turns(at: Stage) -> None:
    """Requests that wait get a message each in turns; one that is filled leaves the round."""
    await at.make_stream()
    await at.make_consumer(ack_policy=AckPolicy.ALL, max_ack_pending=6)
    await at.fill(12)
    got = await at.hear(SHORT_S / 2, batch=6, expires=5_000 * MS)
    waiting = [await asked(at, batch=batch, expires=5_000 * MS) for batch in (1, 3, 2)]
    await at.until(num_waiting=3)
    await at.consumer()
    await at.nc.request(got[-1].reply, b"", timeout=UNTIL_S)
    await came(6, *waiting)
    tell(at, *waiting)
    await at.consumer()


async def turns_go_on(at: Stage) -> None:
    """Whose turn it is stays so from one message to the next; a request that comes later waits behind the others."""
    await at.make_stream()
    await at.make_consumer(max_ack_pending=1)
    await at.fill(6)
    (got,) = await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    waiting = [await asked(at, batch=9, expires=9_000 * MS) for _ in range(2)]
    await at.until(num_waiting=2)
    for late in (False, True, False, False, False):
        if late:
            waiting.append(await asked(at, batch=9, expires=9_000 * MS))
            await at.until(num_waiting=3)
        before = sum(len(heard) for heard in waiting)
        await at.nc.request(got.reply, b"", timeout=UNTIL_S)
        await came(before + 1, *waiting)
        got = max((heard[-1] for heard in waiting if heard), key=lambda one: one.metadata.sequence.consumer)
    tell(at, *waiting)


async def bytes_used_up(at: Stage) -> None:
    """A request whose bytes are used up to the last ends without a word, whether its batch is filled or not."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(9, size=50)
    (one,) = await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    size = len(one.subject) + len(one.reply) + len(one.data)
    await at.hear(SHORT_S, batch=10, expires=1_000 * MS, max_bytes=2 * size)
    await at.consumer()
    await at.hear(SHORT_S, batch=2, expires=1_000 * MS, max_bytes=2 * size)
    await at.hear(SHORT_S, batch=2, expires=1_000 * MS, max_bytes=2 * size + 1)
    await at.hear(SHORT_S, batch=2, expires=1_000 * MS, max_bytes=2 * size - 1)
    await at.consumer()


async def no_wait_at_the_ack_limit(at: Stage) -> None:
    """At max_ack_pending a no_wait request with an expiry lasts until then."""
    await at.make_stream()
    await at.make_consumer(max_ack_pending=2)
    await at.fill(4)
    await at.hear(SHORT_S * 2, batch=4, no_wait=True, expires=1_000 * MS)
    await at.consumer()
    await at.hear(SHORT_S * 2, batch=4, no_wait=True, expires=1_000 * MS)
    await at.consumer()


async def no_wait_freed_by_an_ack(at: Stage) -> None:
    """A no_wait request held at max_ack_pending goes on when an ack makes room, and ends when nothing is left."""
    await at.make_stream()
    await at.make_consumer(max_ack_pending=2)
    await at.fill(3)
    held = await asked(at, batch=4, no_wait=True, expires=9_000 * MS)
    await came(2, held)
    tell(at, held)
    await at.consumer()
    for message in tuple(held):
        await at.nc.request(message.reply, b"", timeout=UNTIL_S)
    await came(4, held)
    tell(at, held)
    await at.consumer()


async def endless_no_wait_at_the_ack_limit(at: Stage) -> None:
    """At max_ack_pending one without an expiry is held as well, and gets its 404 when what it waited for is gone."""
    await at.make_stream()
    await at.make_consumer(max_ack_pending=1)
    await at.fill(2)
    held = await asked(at, batch=4, no_wait=True)
    await came(1, held)
    tell(at, held)
    await at.consumer()
    await at.nc.request(held[0].reply, b"", timeout=UNTIL_S)
    await came(2, held)
    tell(at, held)
    await at.nc.request(held[1].reply, b"", timeout=UNTIL_S)
    await came(3, held)
    tell(at, held)
    await at.consumer()


async def no_wait_ended_with_another(at: Stage) -> None:
    """One held at max_ack_pending ends when the time of another one is over."""
    await at.make_stream()
    await at.make_consumer(max_ack_pending=1)
    await at.fill(9)
    held = await asked(at, batch=4, no_wait=True)
    await came(1, held)
    tell(at, held)
    other = await asked(at, batch=1, expires=1_000 * MS)
    await came(3, held, other)
    tell(at, held, other)
    await at.consumer()


async def requests_pending(at: Stage) -> None:
    """One that won't wait is refused with a 408 while those that wait want more than there is."""
    await at.make_stream()
    await at.make_consumer(max_ack_pending=1)
    await at.fill(3)
    await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    waiting = await asked(at, batch=2, expires=5_000 * MS)
    as_much = await asked(at, batch=1, no_wait=True, expires=5_000 * MS)
    refused = await asked(at, batch=1, no_wait=True, expires=5_000 * MS)
    refused_too = await asked(at, batch=1, no_wait=True)
    await came(2, refused, refused_too)
    await at.consumer()
    tell(at, waiting, as_much, refused, refused_too)


async def full_of_requests(at: Stage) -> None:
    """Beyond max_waiting one that asks for signs of life hears nothing; one that won't wait hears of no messages."""
    await at.make_stream()
    await at.make_consumer(max_waiting=1)
    waiting = await asked(at, batch=1, expires=5_000 * MS)
    patient = await asked(at, batch=1, expires=5_000 * MS, idle_heartbeat=2_000 * MS)
    hasty = await asked(at, batch=1, no_wait=True)
    other = await asked(at, batch=1, expires=5_000 * MS)
    await came(2, hasty, other)
    tell(at, waiting, patient, hasty, other)
    await at.consumer()


async def beats_under_a_filter(at: Stage) -> None:
    """A sign of life says how far the consumer has looked, what it tells of itself says what it delivered."""
    await at.make_stream()
    subjects = [f"{at.subject}.x", f"{at.subject}.y"]
    await at.make_consumer(filter_subject=subjects[1])
    for number in range(2):
        await at.js.publish(subjects[0], b"%d" % number)
    await at.hear(2.6, batch=2, expires=2_500 * MS, idle_heartbeat=1_000 * MS)
    await at.consumer()
    for number in range(4):
        await at.js.publish(subjects[number == 1], b"%d" % number)
    await at.hear(2.6, batch=2, expires=2_500 * MS, idle_heartbeat=1_000 * MS)
    await at.consumer()
