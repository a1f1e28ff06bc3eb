"""Scenes of pull consumers: requests and how they end, acknowledgements, and what comes again."""

from __future__ import annotations

import asyncio

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage

MS = 1_000_000


async def batches(at: Stage) -> None:
    """A batch that is filled ends without a word; one that is not ends with 408 and what was left of it."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(5)
    await at.consumer()
    await at.hear(SHORT_S, batch=3, expires=5_000 * MS)
    await at.hear(SHORT_S, batch=3, expires=1_000 * MS)
    await at.consumer()


async def no_wait(at: Stage) -> None:
    """Without waiting: what is there, then 404; also with an expiry, once something was there."""
    await at.make_stream()
    await at.make_consumer()
    await at.hear(SHORT_S / 2, batch=3, no_wait=True)
    await at.hear(SHORT_S, batch=3, no_wait=True, expires=200 * MS)
    await at.fill(2)
    await at.hear(SHORT_S / 2, batch=3, no_wait=True)
    await at.fill(1)
    await at.hear(SHORT_S, batch=3, no_wait=True, expires=1_000 * MS)


async def no_wait_then_published(at: Stage) -> None:
    """An empty no_wait request with an expiry waits for the first message, and ends with it.

    The second comes later: on a busy machine the real server looks once for two that come at once, and sends both.
    """
    await at.make_stream()
    await at.make_consumer()
    hearing = asyncio.ensure_future(at.hear(SHORT_S * 2, batch=3, no_wait=True, expires=5_000 * MS))
    for waiting in (1, 0):
        await at.until(num_waiting=waiting)
        await at.fill(1)
    await hearing
    await at.consumer()


async def bytes_limited(at: Stage) -> None:
    """max_bytes ends a request before the message that no longer fits, and refuses one that never fits."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(4, size=100)
    await at.hear(SHORT_S, batch=10, expires=1_000 * MS, max_bytes=400)
    await at.hear(SHORT_S, batch=10, expires=1_000 * MS, max_bytes=50)
    await at.hear(SHORT_S, batch=1, expires=1_000 * MS, max_bytes=10_000)
    await at.hear(SHORT_S, batch=10, expires=1_000 * MS, max_bytes=10_000)
    await at.consumer()


async def cumulative_again(at: Stage) -> None:
    """With `all`, an ack of what came again counts by the number that it came with."""
    await at.make_stream()
    await at.make_consumer(ack_policy=AckPolicy.ALL, ack_wait=SHORT_S)
    await at.fill(4)
    await at.hear(SHORT_S / 3, batch=2, expires=5_000 * MS)
    await asyncio.sleep(SHORT_S * 3)
    again = await at.hear(SHORT_S / 3, batch=3, no_wait=True)
    for place in (0, 2, 1):
        await at.nc.request(again[place].reply, b"", timeout=UNTIL_S)
        await at.consumer()


async def empty_request(at: Stage) -> None:
    """A request without a body is for one message, without an end."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(2)
    inbox = at.nc.new_inbox()
    subscription = await at.nc.subscribe(inbox)
    await at.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{at.stream}.c", b"", reply=inbox)
    at.note(await subscription.next_msg(timeout=UNTIL_S))
    await at.consumer()


async def bad_requests(at: Stage) -> None:
    """A sign of life more often than twice in a request's time, or without an end, is refused with a 400."""
    await at.make_stream()
    await at.make_consumer()
    await at.hear(SHORT_S / 2, batch=1, idle_heartbeat=150 * MS)
    await at.hear(SHORT_S / 2, batch=1, expires=200 * MS, idle_heartbeat=150 * MS)


async def heartbeats(at: Stage) -> None:
    """A request that waits is told now and then that it is not forgotten."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(1)
    await at.hear(2.6, batch=2, expires=2_500 * MS, idle_heartbeat=1_000 * MS)


async def fetches(at: Stage) -> None:
    """nats-py's own fetch: full, partial, and empty."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(5)
    puller = await at.js.pull_subscribe_bind("c", stream=at.stream)
    for batch in (1, 3, 10):
        got = await puller.fetch(batch, timeout=5.0)
        at.see([message.metadata.sequence.stream for message in got], got[-1].metadata.num_pending)
        for message in got:
            await message.ack_sync(timeout=UNTIL_S)
        await at.consumer()
    await at.tries(puller.fetch(1, timeout=SHORT_S))
    await at.tries(puller.fetch(2, timeout=SHORT_S))


async def floors(at: Stage) -> None:
    """The ack floor stops below the first message that is not acknowledged, and leaps when it is."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(6)
    got = await at.hear(SHORT_S / 2, batch=5, expires=5_000 * MS)
    for place in (1, 3, 0, 2, 4):
        await got[place].ack_sync(timeout=UNTIL_S)
        await at.consumer()


async def cumulative(at: Stage) -> None:
    """With `all`, one ack covers everything before it; an older one after it changes nothing."""
    await at.make_stream()
    await at.make_consumer(ack_policy=AckPolicy.ALL, ack_wait=SHORT_S)
    await at.fill(6)
    got = await at.hear(SHORT_S / 3, batch=5, expires=5_000 * MS)
    for place in (3, 1):
        await at.nc.request(got[place].reply, b"", timeout=UNTIL_S)
        await at.consumer()
    await asyncio.sleep(SHORT_S * 3)
    await at.hear(SHORT_S / 2, batch=5, no_wait=True)
    await at.consumer()


async def redelivery(at: Stage) -> None:
    """What is not acknowledged in time comes again, first, in order, with its count; a late old ack is taken."""
    await at.make_stream()
    await at.make_consumer(ack_wait=SHORT_S)
    await at.fill(3)
    old = await at.hear(SHORT_S / 3, batch=2, expires=5_000 * MS)
    await asyncio.sleep(SHORT_S * 3)
    await at.hear(SHORT_S / 2, batch=5, no_wait=True)
    await at.consumer()
    await at.nc.request(old[0].reply, b"", timeout=UNTIL_S)
    await at.consumer()
    await asyncio.sleep(SHORT_S * 3)
    await at.hear(SHORT_S / 2, batch=5, no_wait=True)
    await at.consumer()


async def redelivery_to_a_waiting_request(at: Stage) -> None:
    """A request that waits gets what comes again as soon as its time is over."""
    await at.make_stream()
    await at.make_consumer(ack_wait=SHORT_S)
    await at.fill(1)
    await at.hear(SHORT_S * 4, batch=3, expires=5_000 * MS)
    await at.consumer()


async def naks(at: Stage) -> None:
    """A nak brings a message again at once, with a delay later; term never; in progress moves its time."""
    await at.make_stream()
    await at.make_consumer(ack_wait=3.0)
    await at.fill(4)
    first = await at.hear(SHORT_S / 3, batch=4, expires=5_000 * MS)
    await first[0].nak()
    await first[1].nak(delay=SHORT_S * 4)
    await at.done(first[2], b"+TERM")
    await at.consumer()
    await at.hear(SHORT_S / 2, batch=4, no_wait=True)
    await asyncio.sleep(1.3)
    await at.done(first[3], b"+WPI")
    await asyncio.sleep(2.2)
    await at.hear(SHORT_S / 3, batch=4, no_wait=True)
    await at.consumer()


async def answers_to_acks(at: Stage) -> None:
    """An ack with a reply gets an empty answer, also the second time."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(1)
    (got,) = await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    for _ in range(2):
        answer = await at.nc.request(got.reply, b"", timeout=UNTIL_S)
        at.see(answer.data, answer.headers)
    await at.consumer()


async def ack_pending_limit(at: Stage) -> None:
    """At max_ack_pending nothing new comes until something is acknowledged."""
    await at.make_stream()
    await at.make_consumer(max_ack_pending=2)
    await at.fill(4)
    got = await at.hear(SHORT_S, batch=4, expires=1_000 * MS)
    await at.consumer()
    await got[0].ack_sync(timeout=UNTIL_S)
    await at.hear(SHORT_S, batch=4, expires=1_000 * MS)
    await at.consumer()


async def deleted_while_pulling(at: Stage) -> None:
    """Deleting a consumer ends its requests with 409; a pull after it finds nobody."""
    await at.make_stream()
    await at.make_consumer()
    hearing = asyncio.ensure_future(at.hear(SHORT_S * 2, batch=3, expires=5_000 * MS))
    await at.until(num_waiting=1)
    at.see(await at.js.delete_consumer(at.stream, "c"))
    await hearing
    await at.tries(at.js.delete_consumer(at.stream, "c"))
    await at.hear(SHORT_S / 2, batch=1, expires=100 * MS)
    await at.state()


async def stream_deleted_while_pulling(at: Stage) -> None:
    """Deleting the stream ends the requests of its consumers."""
    await at.make_stream()
    await at.make_consumer()
    hearing = asyncio.ensure_future(at.hear(SHORT_S * 2, batch=3, expires=5_000 * MS))
    await at.until(num_waiting=1)
    at.see(await at.js.delete_stream(at.stream))
    await hearing
    await at.tries(at.js.consumer_info(at.stream, "c"))


async def many_waiting(at: Stage) -> None:
    """Requests beyond max_waiting are refused, and the ones before them served in their order."""
    await at.make_stream()
    await at.make_consumer(max_waiting=2)
    first = [asyncio.ensure_future(at.hear(SHORT_S, batch=1, expires=2_000 * MS)) for _ in range(2)]
    await at.until(num_waiting=2)
    await at.hear(SHORT_S / 3, batch=1, expires=100 * MS)
    await at.consumer()
    await asyncio.gather(*first)


async def forgotten_inbox(at: Stage) -> None:
    """A request whose inbox nobody hears any more takes no message."""
    await at.make_stream()
    await at.make_consumer()
    inbox = at.nc.new_inbox()
    subscription = await at.nc.subscribe(inbox)
    await at.pull(inbox, batch=5, expires=5_000 * MS)
    await at.nc.flush()
    await subscription.unsubscribe()
    await at.nc.flush()
    await at.fill(1)
    await at.hear(SHORT_S, batch=5, expires=1_000 * MS)
    await at.consumer()


async def consumers(at: Stage) -> None:
    """A consumer is made once, changed by another configuration, and starts where it is told."""
    await at.make_stream()
    await at.fill(5)
    await at.make_consumer()
    await at.make_consumer()
    await at.make_consumer(ack_wait=7.0)
    info = await at.js.consumer_info(at.stream, "c")
    at.see(info.name, info.stream_name, info.config.durable_name, info.config.ack_policy, info.config.ack_wait)
    at.see(info.config.max_deliver, info.config.max_ack_pending, info.config.max_waiting, info.config.deliver_policy)
    late = ConsumerConfig(
        durable_name="late",
        ack_policy=AckPolicy.ALL,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=4,
    )
    await at.js.add_consumer(at.stream, late)
    await at.consumer("late")
    await at.hear(SHORT_S / 2, "late", batch=5, expires=1_000 * MS)
    await at.consumer("late")
    other = ConsumerConfig(durable_name="late", ack_policy=AckPolicy.EXPLICIT)
    await at.tries(at.js.add_consumer(at.stream, other))
    moved = ConsumerConfig(
        durable_name="late",
        ack_policy=AckPolicy.ALL,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=2,
    )
    await at.tries(at.js.add_consumer(at.stream, moved))
    await at.tries(at.js.add_consumer("NOSTREAM", late))
    await at.state()


async def start_beyond_the_end(at: Stage) -> None:
    """A consumer may start at the sequence that is yet to come.

    One further on, and the real server counts what lies before its start as pending: the model does not.
    """
    await at.make_stream()
    await at.fill(1)
    await at.make_consumer(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=2)
    await at.consumer()
    await at.fill(3)
    await at.hear(SHORT_S / 2, batch=5, expires=1_000 * MS)
    await at.consumer()


async def start_before_the_beginning(at: Stage) -> None:
    """A consumer that starts at what is gone gets what there is."""
    await at.make_stream()
    await at.fill(4)
    await at.js.purge_stream(at.stream, seq=3)
    await at.make_consumer(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=1)
    await at.consumer()
    await at.hear(SHORT_S / 2, batch=5, expires=1_000 * MS)
    await at.consumer()
