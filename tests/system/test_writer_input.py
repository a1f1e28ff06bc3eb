"""What comes over the stream past the relay: good events are events, everything else is a dead letter, none blocks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from system.batch import DEAD_LETTER_BYTES_MAX
from system.event import NESTING_MAX
from tests.system.harness import InProcess, event
from tests.system.test_event import nested

pytestmark = pytest.mark.stack


async def put(relay: InProcess, *publishes: bytes) -> None:
    """Send lines of the NATS protocol that no client library would."""
    reader, writer = await asyncio.open_connection(*relay.nats_server.address)
    writer.write(b'CONNECT {"verbose":false,"headers":true,"protocol":1}\r\n' + b"".join(publishes) + b"PING\r\n")
    try:
        async with asyncio.timeout(10):
            while not (line := await reader.readline()).startswith(b"PONG"):
                assert not line.startswith(b"-ERR"), line
    finally:
        writer.close()


def with_headers(subject: bytes, headers: bytes, body: bytes = b"") -> bytes:
    """A publish with this header block."""
    size = len(headers) + len(body)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(headers), size, headers, body)


def plain(subject: bytes, body: bytes) -> bytes:
    """A publish without headers."""
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(body), body)


async def dead(relay: InProcess) -> list[dict[str, Any]]:
    """The dead letters, in order."""
    return await relay.rows(
        "SELECT pos & 65535 AS seq, reason, detail, subject, payload FROM dead_letters ORDER BY pos"
    )


GOOD = json.dumps(event("good")).encode()
BAD: dict[str, bytes] = {
    "nothing": plain(b"mesh.events.ann.x", b""),
    "no JSON": plain(b"mesh.events.ann.x", b"junk"),
    "no UTF-8": plain(b"mesh.events.ann.x", b'{"id": "\xff"}'),
    "NUL": plain(b"mesh.events.ann.x", b"\0\0\0"),
    "no object": plain(b"mesh.events.ann.x", b"[]"),
    "no event": plain(b"mesh.events.ann.x", b"{}"),
    "another type's subject": plain(b"mesh.events.ann.task.created", GOOD),
    "another agent's subject": plain(b"mesh.events.bob.task.assigned", GOOD),
    "a subject without a type": plain(b"mesh.events.ann", GOOD),
    "a subject that is no text": plain(b"mesh.events.ann.\xff\xfe", GOOD),
    "headers only": with_headers(b"mesh.events.ann.x", b"NATS/1.0\r\nA: b\r\n\r\n"),
    "a status header": with_headers(b"mesh.events.ann.x", b"NATS/1.0\r\nStatus: 409\r\n\r\n"),
    "an idle status header": with_headers(b"mesh.events.ann.x", b"NATS/1.0\r\nStatus: 100\r\n\r\n"),
    "a status line": with_headers(b"mesh.events.ann.x", b"NATS/1.0 404 No Messages\r\n\r\n"),
    "a conflict's status line": with_headers(b"mesh.events.ann.x", b"NATS/1.0 409 Consumer Deleted\r\n\r\n"),
    "a status line that is no text": with_headers(b"mesh.events.ann.x", b"NATS/1.0 \xff\xff\xff \xfe\r\n\r\n"),
    "too deep": plain(b"mesh.events.ann.task.assigned", nested(NESTING_MAX + 1)),
    "too large": plain(b"mesh.events.ann.task.assigned", json.dumps(event("l", data="x" * 300_000)).encode()),
    "an id that no publisher may use": plain(b"mesh.events.ann.task.assigned", json.dumps(event("a~r1")).encode()),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_event_is_a_dead_letter_and_the_next_event_flows(relay: InProcess, name: str) -> None:
    """A message that is no event goes to the dead letters with its reason and its bytes, at once, and delays nobody.

    Three kinds were not: an empty message with a header named Status was taken for the server's word, and pg-writer
    began anew, or waited for an ack that could not come; a subject that is not UTF-8 killed nats-py's read loop, and
    with it publishing, for 17 s, until the probes found out.
    """
    async with relay.stream(cursor="now") as stream:
        await put(relay, BAD[name])
        async with asyncio.timeout(5):
            await relay.settled()
            marker = event()
            await relay.publish(marker)
            assert await stream.events(1) == [marker["id"]]
    (letter,) = await dead(relay)
    assert (letter["seq"], letter["reason"]) == (1, "invalid")
    assert letter["detail"]
    assert letter["payload"] == ((await relay.stream_message(1)).data or b"")[:DEAD_LETTER_BYTES_MAX]
    assert await relay.metric("relay_dead_letters_total", reason="invalid") == 1
    assert await relay.metric("relay_writer_restarts_total") == 0


async def test_bad_and_good_in_one_burst(relay: InProcess) -> None:
    """All kinds of bad messages among good ones, in one breath: the good ones arrive, all and in order; each bad one is
    recorded once; the relay has lost no part.
    """
    wanted = []
    burst = []
    for number, bad in enumerate(BAD.values()):
        made = event(f"between{number}")
        wanted.append(made["id"])
        burst += [bad, plain(b"mesh.events.ann.task.assigned", json.dumps(made).encode())]
    async with relay.stream(cursor="now") as stream:
        await put(relay, *burst)
        assert await stream.events(len(wanted)) == wanted
    await relay.settled()
    assert [letter["seq"] for letter in await dead(relay)] == list(range(1, 2 * len(BAD), 2))
    assert not relay.relay.failed.done()


@pytest.mark.parametrize(
    "headers", [b"NATS/1.0 \xff\xff\xff x\r\n\r\n", b"NATS/1.0\r\n\xff: \xff\r\n\r\n", b"NATS/1.0\r\n\r\n"]
)
async def test_hints_are_only_hints(relay: InProcess, headers: bytes) -> None:
    """Anybody on NATS may write on the subject of the hints, also what nats-py can't read: it wakes the tail at most.

    A status line that is not text ended nats-py's read loop, and with it publishing, until the probes found out.
    """
    async with relay.stream(cursor="now") as stream:
        await put(relay, with_headers(b"mesh.relay.watermark", headers, b"junk"), plain(b"mesh.relay.watermark", b"-1"))
        async with asyncio.timeout(5):
            for _ in range(3):
                made = event()
                await relay.publish(made)
                assert await stream.events(1) == [made["id"]]


async def test_a_good_event_past_the_relay_is_an_event(relay: InProcess) -> None:
    """A publisher on NATS itself is as good as one on HTTP, with or without a message id, with any headers."""
    async with relay.stream(cursor="now") as stream:
        await put(
            relay,
            plain(b"mesh.events.ann.task.assigned", json.dumps(event("plain")).encode()),
            with_headers(
                b"mesh.events.ann.task.assigned",
                b"NATS/1.0\r\nStatus: 503\r\nX: \xff\r\n\r\n",
                json.dumps(event("headers")).encode(),
            ),
            plain(b"mesh.events._all.note.made", json.dumps(event("all", subject="_all", type="note.made")).encode()),
        )
        assert await stream.events(3) == ["plain", "headers", "all"]
    assert await dead(relay) == []


async def test_an_id_used_again_past_the_relay(relay: InProcess) -> None:
    """Without a message id the stream takes everything: a repeat is stored once; other content under the id becomes a
    dead letter, in the same batch or later; the agent gets the first one, once.
    """
    first, again = (json.dumps(event("used", data=data)).encode() for data in ("first", "again"))
    subject = b"mesh.events.ann.task.assigned"
    async with relay.stream(cursor="now") as stream:
        await put(relay, plain(subject, first), plain(subject, first), plain(subject, again))
        await relay.settled()
        await put(relay, plain(subject, first), plain(subject, again))
        await relay.settled()
        marker = event()
        await relay.publish(marker)
        assert await stream.events(2) == ["used", marker["id"]]
        assert next(frame.data["data"] for frame in stream.seen if frame.is_event) == "first"
    letters = await dead(relay)
    assert [(letter["seq"], letter["reason"]) for letter in letters] == [(3, "id_reused"), (5, "id_reused")]
    assert {json.loads(letter["payload"])["data"] for letter in letters} == {"again"}
    assert await relay.metric("relay_writer_repeats_total") >= 2


@pytest.mark.parametrize("depth", [900, 960, 968, 974, 980, 984, 988])
async def test_depth_never_ends_the_writer(relay: InProcess, depth: int) -> None:
    """Events near the depth at which Python's own recursion ends, twice under one id with other content: dead letters.

    At some depths the first reading passed and the comparison of the two did not; pg-writer ended, and ended again
    with every restart, because the two came again.
    """
    other = nested(depth).replace(b'"data": [', b'"data":  [')
    await put(
        relay, plain(b"mesh.events.ann.task.assigned", nested(depth)), plain(b"mesh.events.ann.task.assigned", other)
    )
    marker = event()
    async with relay.stream(cursor="now") as stream:
        await relay.publish(marker)
        assert (await stream.events(1)) == [marker["id"]]
    assert len(await dead(relay)) == 2
    assert not relay.relay.failed.done()
