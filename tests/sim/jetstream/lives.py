"""Scenes of a server that is killed and comes back: what it still knows, and what its clients notice."""

from __future__ import annotations

import asyncio

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from tests.sim.jetstream.pushing import heard, pushed
from tests.sim.jetstream.reading import publish, reader
from tests.sim.jetstream.shortlived import made
from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage

MS = 1_000_000
FLUSHED_S = 0.9
"""After so long a consumer's state is on disk."""
FLUSHED_AGAIN_S = 0.1
"""A consumer's state that has just been written is not written again before."""


async def same_id(at: Stage, *ids: str) -> None:
    """Publish by id once more, and note what the PubAck says."""
    for one in ids:
        ack = await at.js.publish(at.subject, b"x", headers={"Nats-Msg-Id": one})
        at.see(one, ack.seq, bool(ack.duplicate))
    await at.known()


async def reconnected(client: Client) -> None:
    """Wait until a client is back."""
    async with asyncio.timeout(UNTIL_S):
        while not client.is_connected:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.002)


async def acknowledged_messages_survive(at: Stage) -> None:
    """What has its PubAck is there after a SIGKILL, with its headers, and the sequence goes on."""
    await at.make_stream()
    for number in range(100):
        await at.js.publish(at.subject, b"%d" % number, headers={"Nats-Msg-Id": str(number)})
    await at.restart()
    await at.state()
    got = await at.js.get_msg(at.stream, 100)
    at.see(got.subject, got.data, got.headers)
    await same_id(at, "0", "99", "new")
    await at.state()


async def ids_are_learned_again(at: Stage) -> None:
    """A server that reads its files learns the ids of one window, and keeps them all for one more."""
    await at.make_stream(duplicate_window=3.0)
    await same_id(at, "gone")
    await asyncio.sleep(1.5)
    await same_id(at, "old")
    await asyncio.sleep(1.7)
    await same_id(at, "young")
    await at.restart()
    await asyncio.sleep(2.3)
    await same_id(at, "old", "young", "gone")
    await asyncio.sleep(1.5)
    await same_id(at, "old", "young", "gone")


async def ids_of_what_is_gone(at: Stage) -> None:
    """An id is known within its window though its message is gone, and forgotten by a SIGKILL."""
    await at.make_stream()
    await same_id(at, "deleted", "purged", "kept")
    await at.js.delete_msg(at.stream, 1)
    await at.js.purge_stream(at.stream, seq=3)
    await same_id(at, "deleted", "purged", "kept")
    await at.restart()
    await same_id(at, "deleted", "purged", "kept")
    await at.state()


async def readers_die_and_short_lives_end(at: Stage) -> None:
    """A reader in memory is gone with its server; a message's life goes on to its end, and begins no second time."""
    await at.make_stream(allow_msg_ttl=True)
    await publish(at, "ann", "bob", **{"Nats-TTL": "2"})
    await publish(at, "ann")
    name = await reader(at, "ann", inactive_threshold=60_000 * MS)
    await at.hear(SHORT_S, name, batch=1, expires=5_000 * MS)
    await at.restart()
    await at.hear(SHORT_S, name, batch=1, expires=200 * MS)
    await at.tries(at.js.consumer_info(at.stream, name))
    await asyncio.sleep(3.5)
    await at.state()
    again = await reader(at, "ann", name="again")
    await at.hear(SHORT_S, again, batch=9, expires=1_000 * MS)


async def killed_in_time(at: Stage, within_s: float) -> bool:
    """Acknowledge four messages, the last one just before a SIGKILL; answers whether it can't have been flushed."""
    await at.make_stream()
    await at.make_consumer(ack_wait=2.0)
    await at.fill(6)
    got = await at.hear(SHORT_S / 3, batch=4, expires=5_000 * MS)
    for one in got[:2]:
        await one.ack_sync(timeout=UNTIL_S)
    await asyncio.sleep(FLUSHED_S)
    await at.consumer()
    began_s = asyncio.get_running_loop().time()
    await got[2].ack_sync(timeout=UNTIL_S)
    await asyncio.sleep(0.04)
    await got[3].ack_sync(timeout=UNTIL_S)
    await at.ground.kill()
    took_s = asyncio.get_running_loop().time() - began_s
    await at.ground.start()
    await at.come_back()
    return took_s < within_s


async def acks_are_forgotten(at: Stage) -> None:
    """What a consumer was told just before a SIGKILL is forgotten, though it was answered; what was flushed is not.

    The first word after a rest is written at once.
    """
    while not await killed_in_time(at, FLUSHED_AGAIN_S - 0.005):
        at.seen.clear()
        await at.js.delete_stream(at.stream)
    await at.consumer()
    await asyncio.sleep(2.2)
    await at.hear(SHORT_S, batch=9, expires=1_000 * MS)
    await at.consumer()


async def deliveries_survive(at: Stage) -> None:
    """What was delivered and flushed counts after a SIGKILL, and comes again in its time."""
    await at.make_stream()
    await at.make_consumer(ack_wait=4.0)
    await at.fill(5)
    got = await at.hear(SHORT_S / 3, batch=3, expires=5_000 * MS)
    await got[1].ack_sync(timeout=UNTIL_S)
    await asyncio.sleep(FLUSHED_S)
    await at.restart()
    await at.consumer()
    await at.hear(SHORT_S, batch=1, expires=5_000 * MS)
    await asyncio.sleep(5.0)
    await at.hear(SHORT_S, batch=9, expires=1_000 * MS)
    await at.consumer()


async def naks_are_forgotten(at: Stage) -> None:
    """What was refused waits for its time after a SIGKILL, as if nobody had refused it."""
    await at.make_stream()
    await at.make_consumer(ack_wait=5.0)
    await at.fill(2)
    got = await at.hear(SHORT_S / 3, batch=2, expires=5_000 * MS)
    await at.done(got[0], b"-NAK")
    await asyncio.sleep(FLUSHED_S)
    await at.restart()
    await at.hear(SHORT_S, batch=9, expires=200 * MS)
    await asyncio.sleep(5.0)
    await at.hear(SHORT_S, batch=9, expires=1_000 * MS)
    await at.consumer()


async def consumers_in_memory_die(at: Stage) -> None:
    """A consumer that is kept in memory dies with its server; one on disk stays as it was configured."""
    await at.make_stream()
    await at.make_consumer(ack_wait=7.0, max_ack_pending=3)
    await at.fill(2)
    inbox = at.nc.new_inbox()
    hearing = asyncio.ensure_future(heard(at, inbox, SHORT_S * 5))
    await asyncio.sleep(0.05)
    name = await pushed(at, inbox)
    at.see(len(await hearing))
    await made(at, name="file", inactive_threshold=9_000 * MS)
    await made(at, name="memory", inactive_threshold=9_000 * MS, mem_storage=True)
    await at.restart()
    for one in (name, "file", "memory"):
        await at.tries(at.js.consumer_info(at.stream, one))
    info = await at.js.consumer_info(at.stream, "c")
    at.see(info.config.ack_wait, info.config.max_ack_pending, info.num_pending)
    await at.state()


async def expired_while_down(at: Stage) -> None:
    """What grew too old while nobody was there is gone when the server is back, pending or not."""
    await at.make_stream(max_age=3.0, duplicate_window=3.0)
    await at.make_consumer(ack_wait=1.0)
    await at.fill(3)
    await at.hear(SHORT_S / 3, batch=2, expires=5_000 * MS)
    await asyncio.sleep(FLUSHED_S)
    await at.ground.kill()
    await asyncio.sleep(3.5)
    await at.ground.start()
    await at.come_back()
    await at.state()
    await at.fill(1)
    await at.hear(SHORT_S, batch=9, no_wait=True)
    await at.consumer()
    await at.state()


async def an_older_disk(at: Stage) -> None:
    """After a power loss that took the tail: its sequences are given out again, its ids and acks are forgotten."""
    await at.make_stream()
    await at.make_consumer(ack_wait=4.0)
    await same_id(at, "a", "b", "c")
    got = await at.hear(SHORT_S / 3, batch=2, expires=5_000 * MS)
    await got[0].ack_sync(timeout=UNTIL_S)
    await asyncio.sleep(FLUSHED_S)
    await at.ground.kill()
    await at.ground.keep_disk()
    await at.ground.start()
    await at.come_back()
    await same_id(at, "d", "e")
    await at.hear(SHORT_S / 3, batch=1, expires=5_000 * MS)
    await asyncio.sleep(FLUSHED_S)
    await at.ground.kill()
    await at.ground.put_back_disk()
    await at.ground.start()
    await at.come_back()
    await at.state()
    await at.consumer()
    await same_id(at, "e", "a", "c", "d")
    await asyncio.sleep(5.0)
    await at.hear(SHORT_S, batch=9, expires=1_000 * MS)
    await at.consumer()


async def asked_before_the_restart(at: Stage) -> None:
    """A client comes back by itself, but its pull request is forgotten: it waits in vain till its time is over."""
    await at.make_stream()
    await at.make_consumer()
    client = await at.join()
    puller = await client.jetstream().pull_subscribe_bind("c", stream=at.stream)
    fetching = asyncio.ensure_future(puller.fetch(5, timeout=3.0))
    await at.until(num_waiting=1)
    await at.restart()
    await reconnected(client)
    await at.fill(2)
    await at.tries(fetching)
    got = await puller.fetch(2, timeout=UNTIL_S)
    at.see([(one.data, one.metadata.num_delivered) for one in got])
    await at.consumer()


async def said_while_down(at: Stage) -> None:
    """What a client publishes and acknowledges while nobody is there is sent, and answered, when the server is back."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(2)
    client = await at.join()
    js: JetStreamContext = client.jetstream()
    puller = await js.pull_subscribe_bind("c", stream=at.stream)
    (got,) = await puller.fetch(1, timeout=UNTIL_S)
    await asyncio.sleep(FLUSHED_S)
    await at.ground.kill()
    while client.is_connected:  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.002)
    publishing = asyncio.ensure_future(js.publish(at.subject, b"down", timeout=9.0))
    await got.ack()
    await asyncio.sleep(SHORT_S)
    await at.ground.start()
    ack = await publishing
    at.see(ack.seq, bool(ack.duplicate))
    await at.come_back()
    await at.until(num_ack_pending=0, num_pending=2)
    await at.consumer()


async def given_up_on(at: Stage) -> None:
    """A client that may try but twice is closed for good by a longer absence."""
    client = await at.join(max_reconnect_attempts=2)
    other = await at.join()
    await at.ground.kill()
    async with asyncio.timeout(UNTIL_S):
        while not client.is_closed:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.01)
    await at.ground.start()
    await reconnected(other)
    try:
        await client.publish(at.subject, b"")
    except nats.errors.Error as error:
        at.see(type(error).__name__, client.is_connected, other.is_connected)
    await at.come_back()


async def ordered_through_a_restart(at: Stage) -> None:
    """An ordered consumer misses its signs of life, makes itself anew, and goes on behind what it had."""
    await at.make_stream()
    client = await at.join()
    subscription = await client.jetstream().subscribe(at.subject, ordered_consumer=True, idle_heartbeat=0.5)
    await at.fill(3)
    for _ in range(3):
        message = await subscription.next_msg(timeout=UNTIL_S)
        at.see(message.data, message.metadata.sequence.stream, message.metadata.sequence.consumer)
    await at.restart()
    await reconnected(client)
    await at.fill(2)
    for _ in range(2):
        message = await subscription.next_msg(timeout=UNTIL_S)
        at.see(message.data, message.metadata.sequence.stream, message.metadata.sequence.consumer)
    await at.state()


async def about_to_end(at: Stage) -> None:
    """A server that is about to end says so, and its JetStream is gone at once; a client with no other server stays."""
    told: list[str] = []

    async def tell() -> None:
        told.append("lame duck")

    await at.make_stream()
    client = await at.join(lame_duck_mode_cb=tell)
    await at.ground.retire()
    async with asyncio.timeout(UNTIL_S):
        while not told:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.002)
    await at.tries(client.jetstream().publish(at.subject, b"too late"))
    await at.tries(client.jetstream().stream_info(at.stream))
    heard = await at.nc.subscribe("still")
    await at.nc.flush()
    await client.publish("still", b"x")
    at.see(told, (await heard.next_msg(timeout=UNTIL_S)).data, client.is_connected)
    await at.restart()
    await at.state()
