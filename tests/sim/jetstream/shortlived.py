"""Scenes of pull consumers without a durable name: they are forgotten when nobody pulls any more."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage

MS = 1_000_000


async def made(at: Stage, **config: Any) -> str:
    """Make a pull consumer without a durable name; answers the name that it was given."""
    given = {"ack_policy": "explicit", "deliver_policy": "all"} | config
    subject = f"$JS.API.CONSUMER.CREATE.{at.stream}" + (f".{config['name']}" if "name" in config else "")
    request = json.dumps({"stream_name": at.stream, "config": given}).encode()
    document = json.loads((await at.nc.request(subject, request, timeout=UNTIL_S)).data)
    at.see("made", document.get("error"), document.get("num_pending"), "durable_name" in document.get("config", {}))
    return str(document.get("name", ""))


async def forgotten_unless_pulled(at: Stage) -> None:
    """Its time begins anew with each pull; it is forgotten after its threshold, and a pull then finds nobody."""
    await at.make_stream()
    await at.fill(3)
    name = await made(at, name="short", inactive_threshold=2_000 * MS)
    at.see(name)
    for _ in range(3):
        await asyncio.sleep(1.2)
        (got,) = await at.hear(SHORT_S / 3, name, batch=1, expires=5_000 * MS)
        await got.ack_sync(timeout=UNTIL_S)
    await at.consumer(name)
    await asyncio.sleep(4.0)
    await at.tries(at.js.consumer_info(at.stream, name))
    await at.hear(SHORT_S / 3, name, batch=1, expires=50 * MS)


async def kept_while_unacknowledged(at: Stage) -> None:
    """Its time begins when that of the last message which nobody acknowledged has been over for as long again."""
    await at.make_stream()
    await at.fill(1)
    name = await made(at, name="pending", inactive_threshold=500 * MS, ack_wait=1_000 * MS)
    await at.hear(SHORT_S / 3, name, batch=1, expires=5_000 * MS)
    await asyncio.sleep(1.7)
    await at.consumer(name)
    await asyncio.sleep(2.4)
    await at.tries(at.js.consumer_info(at.stream, name))


async def kept_while_somebody_waits(at: Stage) -> None:
    """It is not forgotten while a request waits, however long."""
    await at.make_stream()
    name = await made(at, name="waited", inactive_threshold=500 * MS)
    hearing = asyncio.ensure_future(at.hear(2.2, name, batch=1, expires=2_100 * MS))
    await asyncio.sleep(1.6)
    await at.consumer(name)
    await hearing
    await asyncio.sleep(1.8)
    await at.tries(at.js.consumer_info(at.stream, name))


async def without_any_name(at: Stage) -> None:
    """nats-py's own subscription without a name pulls and acknowledges like any other."""
    await at.make_stream()
    await at.fill(2)
    puller = await at.js.pull_subscribe(at.subject, stream=at.stream)
    got = await puller.fetch(2, timeout=UNTIL_S)
    at.see([(one.data, one.metadata.num_pending) for one in got])
    await got[0].ack_sync(timeout=UNTIL_S)
    info = await puller.consumer_info()
    at.see(info.config.durable_name, info.num_ack_pending, info.num_pending, info.config.max_deliver)
    await at.state()
