"""Scenes of a stream's limits: what is refused, what makes room, and what a consumer notices of it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage

MS = 1_000_000


async def put(at: Stage, data: bytes = b"x", /, subject: str = "", **headers: str) -> None:
    """Publish once, and note what came of it."""
    given = {f"Nats-{name.replace('_', '-')}": value for name, value in headers.items()}
    ack = await at.tries(at.js.publish(subject or at.subject, data, headers=given or None))
    at.see(ack and (ack.seq, bool(ack.duplicate)))


async def full_by_count(at: Stage) -> None:
    """`discard: new` refuses beyond max_msgs, an id that is known is told all the same; a deletion makes room."""
    await at.make_stream(max_msgs=3, discard="new")
    for number in ("1", "2", "3", "4", "3"):
        await put(at, Msg_Id=number)
    await at.state()
    await at.js.delete_msg(at.stream, 2)
    await put(at, Msg_Id="4")
    await put(at)
    await at.state()


async def rolling_by_count(at: Stage) -> None:
    """`discard: old` drops from the front beyond max_msgs: pending and undelivered messages, without a word."""
    await at.make_stream(max_msgs=3, discard="old")
    await at.make_consumer(ack_wait=SHORT_S)
    await at.fill(3)
    await at.hear(SHORT_S / 3, batch=1, expires=5_000 * MS)
    await at.fill(4)
    await at.until(num_ack_pending=0)
    await at.state()
    await at.consumer()
    await asyncio.sleep(SHORT_S * 3)
    await at.hear(SHORT_S / 2, batch=9, no_wait=True)
    await at.consumer()


async def rolling_by_subject(at: Stage) -> None:
    """Each subject has a limit of its own: the oldest message of that subject goes, which leaves holes."""
    await at.make_stream(max_msgs_per_subject=2)
    await at.make_consumer()
    subjects = [f"{at.subject}.x", f"{at.subject}.y"]
    for number in (0, 1, 0, 0, 1, 1, 0):
        await put(at, b"x", subjects[number])
        await at.state()
    await at.known()
    await at.hear(SHORT_S / 2, batch=9, expires=1_000 * MS)
    await at.consumer()


async def full_by_subject(at: Stage) -> None:
    """With `discard: new` for each subject one that is full refuses, and others do not."""
    await at.make_stream(max_msgs=10, max_msgs_per_subject=1, discard="new", discard_new_per_subject=True)
    for subject in ("x", "y", "x", "y"):
        await put(at, b"x", f"{at.subject}.{subject}")
    await at.state()


async def too_large_for_the_stream(at: Stage) -> None:
    """A message beyond max_msg_size is refused, its headers counted."""
    await at.make_stream(max_msg_size=60)
    await put(at, b"x" * 60)
    await put(at, b"x" * 61)
    await put(at, b"x" * 30, Msg_Id="a")
    await put(at, b"x" * 60, Msg_Id="b")
    await at.state()


async def larger_than_everything(at: Stage) -> None:
    """A message that alone is beyond max_bytes: refused with `new`, and with `old` it takes all with it."""
    await at.make_stream(max_bytes=200, discard="old")
    await put(at)
    await put(at, b"x" * 300)
    await at.state()
    await put(at)
    await at.state()


async def tightened(at: Stage) -> None:
    """Tighter limits take effect at once on what is there: first those of the whole, then those of each subject."""
    await at.make_stream()
    await at.make_consumer(ack_wait=SHORT_S)
    await at.fill(6)
    await at.hear(SHORT_S / 3, batch=3, expires=5_000 * MS)
    config = (await at.js.stream_info(at.stream)).config
    for change in ({"max_msgs": 4}, {"max_bytes": 120}, {"max_msgs_per_subject": 1}):
        await at.tries(at.js.update_stream(config.evolve(**change)))
        await at.state()
    await asyncio.sleep(SHORT_S * 3)
    await at.consumer()
    await at.hear(SHORT_S / 2, batch=9, no_wait=True)
    await at.consumer()


async def tightened_at_once(at: Stage) -> None:
    """Two limits at a time: the whole's takes the oldest, then each subject's what is left beyond it."""
    await at.make_stream()
    for subject in "xyxxx":
        await put(at, b"x", f"{at.subject}.{subject}")
    config = (await at.js.stream_info(at.stream)).config
    await at.js.update_stream(config.evolve(max_msgs=4, max_msgs_per_subject=2))
    await at.state()
    at.see((await at.js.stream_info(at.stream, subjects_filter=">")).state.subjects)


async def expired_under_a_consumer(at: Stage) -> None:
    """What grows too old before it is delivered, or before it is acknowledged, comes no more, without a word."""
    await at.make_stream(max_age=1.0, duplicate_window=1.0)
    await at.make_consumer(ack_wait=SHORT_S)
    await at.fill(4)
    first = await at.hear(SHORT_S / 3, batch=2, expires=5_000 * MS)
    await first[1].ack_sync(timeout=UNTIL_S)
    await asyncio.sleep(2.4)
    await at.consumer()
    await at.state()
    await at.hear(SHORT_S / 2, batch=9, expires=100 * MS)
    await at.nc.request(first[0].reply, b"", timeout=UNTIL_S)
    await at.fill(2)
    await at.hear(SHORT_S / 2, batch=1, expires=5_000 * MS)
    await at.consumer()


async def expired_while_waiting(at: Stage) -> None:
    """A request that waits is not disturbed by what expires, and gets what comes after it."""
    await at.make_stream(max_age=2.0, duplicate_window=2.0)
    await at.make_consumer(max_ack_pending=3, ack_wait=9.0)
    await at.fill(3)
    hearing = asyncio.ensure_future(at.hear(4.2, batch=5, expires=4_100 * MS))
    await asyncio.sleep(3.4)
    await at.fill(1)
    await hearing
    await at.consumer()
    await at.state()


async def expiry_makes_room(at: Stage) -> None:
    """At max_ack_pending what expires unacknowledged makes room, and who waits gets what comes next, by itself."""
    await at.make_stream(max_age=3.0, duplicate_window=3.0)
    await at.make_consumer(max_ack_pending=1, ack_wait=9.0)
    await at.fill(1)
    await at.hear(SHORT_S / 3, batch=1, expires=5_000 * MS)
    await asyncio.sleep(2.7)
    await at.fill(1)
    await at.hear(1.2, batch=1, expires=5_000 * MS)
    await at.consumer()


async def expectations_of_a_subject(at: Stage) -> None:
    """A publish may expect the last sequence of its own subject, 0 for none, or of others by a filter."""
    await at.make_stream()
    x, y = f"{at.subject}.x", f"{at.subject}.y"
    for subject, expected in ((x, "0"), (x, "0"), (y, "0"), (x, "1"), (x, "2"), (x, "3")):
        await put(at, b"x", subject, Expected_Last_Subject_Sequence=expected)
    given: dict[str, Any] = {"Expected_Last_Subject_Sequence_Subject": f"{at.subject}.>"}
    for expected in ("1", "3", "4"):
        await put(at, b"x", y, Expected_Last_Subject_Sequence=expected, **given)
    await at.state()


async def what_is_checked_first(at: Stage) -> None:
    """Of several expectations that fail the server names one; an id that is known comes after most of them."""
    await at.make_stream(max_msg_size=100)
    await put(at, Msg_Id="one")
    await put(at, b"x", f"{at.subject}.other", Msg_Id="two")
    known, stream, seq = ("Msg_Id", "one"), ("Expected_Stream", "OTHER"), ("Expected_Last_Sequence", "9")
    last, by_subject = ("Expected_Last_Msg_Id", "three"), ("Expected_Last_Subject_Sequence", "0")
    pairs = ((known, stream), (known, seq), (known, last), (known, by_subject), (seq, last), (by_subject, seq))
    for pair in (*pairs, (by_subject, last), (seq, stream)):
        await put(at, b"x", **dict(pair))
    for name, value in (seq, known, stream):
        await put(at, b"x" * 101, **{name: value})
    await at.state()


async def headers_in_another_case(at: Stage) -> None:
    """Headers of the server's own count by their case: an id in small letters is no id."""
    await at.make_stream()
    for _ in range(2):
        ack = await at.js.publish(at.subject, b"x", headers={"nats-msg-id": "a", "nats-expected-stream": "OTHER"})
        at.see(ack.seq, bool(ack.duplicate))


async def acknowledged_later(at: Stage) -> None:
    """nats-py's publish_async answers each message as PubAcks come, duplicates too."""
    await at.make_stream()
    futures = [await at.js.publish_async(at.subject, b"x", headers={"Nats-Msg-Id": one}) for one in "abca"]
    await at.js.publish_async_completed()
    at.see([(one.result().seq, bool(one.result().duplicate)) for one in futures])
    await at.state()
