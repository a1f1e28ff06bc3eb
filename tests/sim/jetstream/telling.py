"""Scenes of what the server tells of itself: the account, its streams, their subjects, their consumers."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from nats.js.api import StreamConfig

from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage, plain

MS = 1_000_000


async def streams_and_consumers(at: Stage) -> None:
    """Lists of streams and of consumers, whole and by name."""
    await at.make_stream()
    await at.make_consumer()
    await at.make_consumer("d", ack_wait=7.0)
    await at.fill(2)
    found = {one.config.name: one for one in await at.js.streams_info()}[at.stream]
    at.see(found.config.subjects, found.state.messages, found.state.consumer_count)
    consumers = await at.js.consumers_info(at.stream)
    at.see(sorted((one.name, one.num_pending, one.config.ack_wait) for one in consumers))
    answer = json.loads((await at.nc.request(f"$JS.API.CONSUMER.NAMES.{at.stream}", b"", timeout=UNTIL_S)).data)
    at.see(answer["type"], answer["total"], answer["offset"], answer["limit"], sorted(answer["consumers"]))
    await at.tries(at.js.consumers_info("NOSTREAM"))
    await at.ask("CONSUMER.NAMES.NOSTREAM")


async def subjects_of_a_stream(at: Stage) -> None:
    """A stream's subjects and how many messages each has, under a filter."""
    await at.make_stream()
    for subject in ("x", "y", "x"):
        await at.js.publish(f"{at.subject}.{subject}", b"")
    for wanted in (">", f"{at.subject}.x", "none"):
        info = await at.js.stream_info(at.stream, subjects_filter=wanted)
        at.see(wanted, info.state.subjects and sorted(info.state.subjects.items()), info.state.messages)
    info = await at.js.stream_info(at.stream)
    at.see(info.state.subjects)
    await at.js.delete_msg(at.stream, 2)
    info = await at.js.stream_info(at.stream)
    at.see(info.state.messages, info.state.num_deleted)


async def the_account(at: Stage) -> None:
    """The account counts its streams and consumers, and has no limits."""
    before = await at.js.account_info()
    await at.make_stream()
    await at.make_consumer()
    after = await at.js.account_info()
    at.see(after.streams - before.streams, after.consumers - before.consumers)
    at.see(after.limits.max_streams, after.limits.max_storage, after.limits.max_memory, after.limits.max_consumers)
    at.see(after.api.total > before.api.total)


async def looked_up_together(at: Stage) -> None:
    """Several messages by one direct request: from a sequence on, or the last of each subject."""
    await at.make_stream(allow_direct=True)
    for number in range(5):
        await at.js.publish(f"{at.subject}.{'xy'[number % 2]}", b"%d" % number)
    for body in (
        {"seq": 2, "batch": 2},
        {"seq": 4, "batch": 9},
        {"seq": 1, "batch": 9, "next_by_subj": f"{at.subject}.y"},
        {"seq": 9, "batch": 2},
        {"multi_last": [f"{at.subject}.>"]},
        {"multi_last": [f"{at.subject}.x", f"{at.subject}.none"]},
        {"multi_last": [f"{at.subject}.none"]},
        {"multi_last": [f"{at.subject}.>"], "up_to_seq": 3},
    ):
        await together(at, body)


async def together(at: Stage, body: dict[str, Any]) -> None:
    """Ask directly, and note everything that comes, up to the status that ends it."""
    inbox = at.nc.new_inbox()
    subscription = await at.nc.subscribe(inbox)
    await at.nc.publish(f"$JS.API.DIRECT.GET.{at.stream}", json.dumps(body).encode(), reply=inbox)
    at.see(body)
    headers: dict[str, str] = {}
    while "Status" not in headers:
        message = await subscription.next_msg(timeout=UNTIL_S)
        headers = plain(message.headers)
        headers.pop("Nats-Time-Stamp", None)
        at.see(headers, message.data)
    await asyncio.sleep(SHORT_S / 4)
    at.see("too many", subscription.pending_msgs)


async def odd_requests(at: Stage) -> None:
    """A pull request may be a bare number; what is no JSON is refused with a 400."""
    await at.make_stream()
    await at.make_consumer()
    await at.fill(3)
    inbox = at.nc.new_inbox()
    subscription = await at.nc.subscribe(inbox)
    for body, count in ((b"2", 2), (b"bad", 1), (b'{"batch":bad', 1)):
        await at.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{at.stream}.c", body, reply=inbox)
        for _ in range(count):
            at.note(await subscription.next_msg(timeout=UNTIL_S))
        await asyncio.sleep(SHORT_S / 4)
        at.see("too many", subscription.pending_msgs)
    await at.consumer()


async def deleted_after_a_purge(at: Stage) -> None:
    """Of an empty stream no message can be deleted, nor one beyond an end."""
    await at.make_stream()
    await at.fill(3)
    await at.js.delete_msg(at.stream, 1)
    await at.tries(at.js.delete_msg(at.stream, 1))
    await at.tries(at.js.delete_msg(at.stream, 9))
    await at.js.purge_stream(at.stream)
    await at.tries(at.js.delete_msg(at.stream, 1))
    await at.tries(at.js.delete_msg(at.stream, 9))
    await at.state()


async def a_durable_subscription(at: Stage) -> None:
    """pull_subscribe makes its consumer once; another configuration is then ignored, and add_consumer's is taken."""
    await at.make_stream()
    at.see((await at.js.stream_info(at.stream)).state.consumer_count)
    for count in (5, 7):
        puller = await at.js.pull_subscribe(f"{at.subject}.>", durable="writer", stream=at.stream)
        at.see(count, puller.pending_msgs)
        info = await puller.consumer_info()
        at.see(info.name, info.stream_name, info.config.durable_name, info.config.filter_subject, bool(info.created))
    puller = await at.js.pull_subscribe(at.subject, durable="writer", stream=at.stream)
    at.see((await puller.consumer_info()).config.filter_subject)
    await at.js.publish(f"{at.subject}.deep.er", b"deep")
    (got,) = await puller.fetch(1, timeout=UNTIL_S)
    at.see(got.subject, got.data, got.metadata.num_delivered, got.metadata.consumer, got.metadata.stream)
    await at.js.update_stream(StreamConfig(name=at.stream, subjects=[f"{at.stream.lower()}.>"], max_age=3600.0))
    at.see((await at.js.stream_info(at.stream)).config.max_age)


async def too_large_on_the_wire(at: Stage) -> None:
    """On the wire: beyond max_payload the server says so, and closes the connection."""
    url = urlsplit(at.nc.connected_url.geturl() if at.nc.connected_url else "")
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose": false, "pedantic": false, "headers": true, "protocol": 1}\r\nPING\r\n')
    at.see(await reader.readline())
    await reader.readline()
    writer.write(b"PUB large 1048577\r\n")
    at.see(await reader.readline())
    at.see(await reader.read())
    writer.close()


async def verbose(at: Stage) -> None:
    """On the wire: who wants it is told of each command that it was taken, except of a PING."""
    url = urlsplit(at.nc.connected_url.geturl() if at.nc.connected_url else "")
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose": true, "pedantic": true, "headers": true, "protocol": 1}\r\nPING\r\n')
    at.see(await reader.readline())
    at.see(await reader.readline())
    await reader.readline()
    writer.write(b"SUB verb.> 1\r\nPUB verb.a 1\r\nx\r\nHPUB verb.b 12 13\r\nNATS/1.0\r\n\r\nx\r\nUNSUB 1\r\nPING\r\n")
    at.see([await reader.readline() for _ in range(10)])
    writer.close()
