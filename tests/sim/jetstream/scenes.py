"""Scenes that any NATS server with JetStream must play alike: each is written once, and notes what a client sees."""

from __future__ import annotations

import asyncio

from nats.js.api import StreamConfig

from tests.sim.jetstream.stage import SHORT_S, Stage, plain

MS = 1_000_000


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
    await at.make_stream(duplicate_window=2.0)
    for wait_s in (0.0, 3.0, 0.0):
        await asyncio.sleep(wait_s)
        ack = await at.js.publish(at.subject, b"x", headers={"Nats-Msg-Id": "same"})
        at.see(ack.seq, bool(ack.duplicate))


async def nobody_there(at: Stage) -> None:
    """A request that nobody hears is answered at once; so is a publish into no stream."""
    await at.tries(at.nc.request(f"{at.subject}.nobody", b"", timeout=2.0))
    await at.tries(at.js.publish(at.subject, b""))
    await at.tries(at.js.stream_info(at.stream))
    await at.tries(at.js.consumer_info(at.stream, "c"))
    await at.hear(SHORT_S, batch=1, expires=200 * MS)


async def headers_survive(at: Stage) -> None:
    """Headers come back as they were given, in a delivery and in a look-up."""
    await at.make_stream(allow_direct=True)
    await at.make_consumer()
    await at.js.publish(at.subject, b"x", headers={"Nats-Msg-Id": "h", "X-Colon": "a: b", "x-lower": "é"})
    await at.js.publish(at.subject, b"", headers={"Only": "headers"})
    await at.known()
    await at.hear(SHORT_S, batch=2, expires=5_000 * MS)
    for seq in (1, 2):
        got = await at.js.get_msg(at.stream, seq)
        at.see(got.subject, got.seq, got.data, plain(got.headers))
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
    await at.hear(SHORT_S / 3, batch=1, expires=5_000 * MS)
    await at.fill(4, size=50)
    await at.until(num_ack_pending=0)
    await at.state()
    await at.consumer()
    await asyncio.sleep(SHORT_S * 3)
    await at.hear(SHORT_S, batch=10, no_wait=True)


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
    await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    for seq in (3, 5, 1):
        at.see(await at.js.delete_msg(at.stream, seq))
        await at.state()
    await at.tries(at.js.delete_msg(at.stream, 3))
    await at.tries(at.js.get_msg(at.stream, 3))
    await at.consumer()
    await at.fill(1)
    await at.hear(SHORT_S, batch=10, expires=1_000 * MS)
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
    await at.hear(SHORT_S, batch=5, expires=1_000 * MS)
    await at.consumer()
