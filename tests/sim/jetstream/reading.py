"""Scenes of readers with a consumer of their own: in memory, without acks, of several subjects; and of short lives."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.sim.jetstream.shortlived import made
from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage

MS = 1_000_000
READER: dict[str, Any] = {"ack_policy": "none", "mem_storage": True, "num_replicas": 1}


async def reader(at: Stage, *words: str, name: str = "reader", after: int = 0, **config: Any) -> str:
    """Make a consumer of some subjects below the scene's, behind a sequence; answers its name."""
    start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
    filters = [f"{at.subject}.{word}.>" for word in words]
    return await made(at, name=name, filter_subjects=filters, **READER, **start, **config)


async def publish(at: Stage, *words: str, **headers: str) -> None:
    """A message for each word, on a subject below it; note the sequence, or the error."""
    for word in words:
        ack = await at.tries(at.js.publish(f"{at.subject}.{word}.x", word.encode(), headers=headers or None))
        at.see(word, ack and ack.seq)


async def updated(at: Stage, **changes: Any) -> None:
    """Change some of the stream's settings in its own words, and note what it has then."""
    found = json.loads((await at.nc.request(f"$JS.API.STREAM.INFO.{at.stream}", b"", timeout=UNTIL_S)).data)["config"]
    asked = json.dumps(found | changes).encode()
    took = json.loads((await at.nc.request(f"$JS.API.STREAM.UPDATE.{at.stream}", asked, timeout=UNTIL_S)).data)
    at.see({key: took.get("config", {}).get(key) for key in changes}, took.get("error"))


async def several_subjects(at: Stage) -> None:
    """It is given what lies under any of its subjects, in the stream's order, and nothing else; a sign of life says how
    far it has looked.
    """
    await at.make_stream()
    await publish(at, "ann", "bob", "all", "ann", "bob")
    name = await reader(at, "ann", "all")
    await at.hear(2.6, name, batch=10, expires=2_500 * MS, idle_heartbeat=1_000 * MS)
    await at.consumer(name)
    await publish(at, "bob", "all", "bob")
    await at.hear(2.6, name, batch=10, expires=2_500 * MS, idle_heartbeat=1_000 * MS)
    await at.consumer(name)


async def without_acks(at: Stage) -> None:
    """What was given counts as acknowledged, is given once, and a word about it changes nothing."""
    await at.make_stream()
    await publish(at, *["ann"] * 5)
    name = await reader(at, "ann", after=2)
    await at.consumer(name)
    (first, _) = await at.hear(SHORT_S, name, batch=2, expires=5_000 * MS)
    await at.nc.publish(first.reply, b"-NAK")
    await at.hear(SHORT_S, name, batch=9, expires=1_000 * MS)
    await at.consumer(name)


async def each_from_its_own_place(at: Stage) -> None:
    """Readers of one subject begin where each wants to, and know nothing of each other; deleted, one is gone."""
    await at.make_stream()
    await publish(at, *["ann", "bob"] * 3)
    for after in (0, 3, 6):
        name = await reader(at, "ann", "all", name=f"r{after}", after=after)
        await at.hear(SHORT_S, name, batch=9, expires=1_000 * MS)
    await at.ask(f"CONSUMER.DELETE.{at.stream}.r3")
    await at.ask(f"CONSUMER.DELETE.{at.stream}.r3")
    await publish(at, "all")
    for after in (0, 3, 6):
        await at.hear(SHORT_S, f"r{after}", batch=9, expires=1_000 * MS)


async def a_reader_that_pulls_no_more(at: Stage) -> None:
    """It is forgotten after its threshold."""
    await at.make_stream()
    await publish(at, "ann")
    name = await reader(at, "ann", inactive_threshold=1_000 * MS)
    await at.hear(SHORT_S, name, batch=1, expires=5_000 * MS)
    await asyncio.sleep(2.4)
    await at.tries(at.js.consumer_info(at.stream, name))
    await at.hear(SHORT_S, name, batch=1, expires=50 * MS)


async def short_lives(at: Stage) -> None:
    """A message may say how long it lives once the stream allows it; then it is gone, wherever it lies, and the others
    are not; readers are given what is left.
    """
    await at.make_stream()
    await publish(at, "ann", **{"Nats-TTL": "1"})
    await updated(at, allow_msg_ttl=True)
    await publish(at, "ann", **{"Nats-TTL": "0"})
    await publish(at, "ann", "bob")
    await publish(at, "ann", "bob", **{"Nats-TTL": "1"})
    await publish(at, "ann", **{"Nats-TTL": "60"})
    name = await reader(at, "ann")
    await at.hear(SHORT_S, name, batch=9, expires=1_000 * MS)
    await asyncio.sleep(2.6)
    await at.state()
    for seq in (1, 3, 5):
        await at.ask(f"STREAM.MSG.GET.{at.stream}", seq=seq)
    again = await reader(at, "ann", "bob", name="again")
    await at.hear(SHORT_S, again, batch=9, expires=1_000 * MS)


async def a_wider_window(at: Stage) -> None:
    """A window for repeats that is made wider holds for what is known by then, and an age for what is stored."""
    await at.make_stream(duplicate_window=SHORT_S * 4)
    for message_id in ("one", "two"):
        await publish(at, "ann", **{"Nats-Msg-Id": message_id})
    await updated(at, duplicate_window=60_000 * MS, max_age=3_600_000 * MS)
    await asyncio.sleep(SHORT_S * 8)
    for message_id in ("one", "two", "three"):
        await publish(at, "ann", **{"Nats-Msg-Id": message_id})
