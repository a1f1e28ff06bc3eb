"""Bad publishes: each is refused with its status and a document that says what to do, and leaves no trace anywhere."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from faults.stack import EmbeddedStack
from system.tokens import mint
from tests.system.harness import InProcess, event, own_servers, problem

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="module")]

EVENT_BYTES_MAX = 4_096
BODY_BYTES_MAX = 20_000
BATCH_MAX = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay(stack: EmbeddedStack) -> AsyncIterator[InProcess]:
    """One relay with small limits for all tests of the module; refusals leave it as it was."""
    async with own_servers(stack) as (dsn, nats_server):
        running = await InProcess.start(
            dsn,
            nats_server,
            event_bytes_max=EVENT_BYTES_MAX,
            body_bytes_max=BODY_BYTES_MAX,
            batch_events_max=BATCH_MAX,
        )
        await running.ready()
        await running.publish(event("stored", data="first"))
        await running.settled()
        yield running
        await running.stop()


async def refused(
    relay: InProcess, body: Any, status: int, said: str, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Send it; check the answer, that nothing is stored in JetStream or any table, and that nobody is sent anything."""
    before = await relay.everything()
    async with relay.stream("ann", cursor="now") as ann, relay.stream("bob", cursor="now") as bob:
        usual = {"Content-Type": "application/json", **relay.bearer("publisher")}
        content = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else json.dumps(body).encode()
        sent = {name: value for name, value in (usual | (headers or {})).items() if value}
        response = await relay.http.post("/v1/events", content=content, headers=sent)
        document = problem(response, status, said)
        assert await relay.everything() == before
        marker = event(subject="_all", type="marker")
        await relay.publish(marker)
        for stream in (ann, bob):
            assert await stream.events(1) == [marker["id"]], "the marker is the first that anybody gets"
    return document


def sized(size: int) -> dict[str, Any]:
    """An event of exactly so many bytes."""
    made = event("sized", data="")
    return made | {"data": "x" * (size - len(json.dumps(made)))}


async def pieces(total: int) -> AsyncIterator[bytes]:
    """A body without Content-Length."""
    for _ in range(total // 1_000):
        yield b" " * 1_000


MALFORMED = {
    "empty": b"",
    "space": b"  ",
    "half an object": b'{"specversion": "1.0"',
    "half a batch": b'[{"specversion": "1.0"}',
    "words": b"task.assigned",
    "single quotes": b"{'id': 1}",
    "two values": b"{}{}",
    "not UTF-8": b'{"id": "\xff"}',
    "UTF-16": json.dumps(event()).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "not a number": b'{"data": NaN}',
    "a line end within a string": b'{"id": "a\nb"}',
    "deep": b"[" * 9_000 + b"]" * 9_000,
    "deep in a batch": b"[{}," + b"[" * 9_000 + b"]" * 9_000 + b"]",
    "one of a batch": b"[" + json.dumps(event("good")).encode() + b", nope]",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_json_is_400(relay: InProcess, name: str) -> None:
    """Bytes that are not JSON are a malformed request."""
    await refused(relay, MALFORMED[name], 400, "expected")


INVALID: dict[str, tuple[Any, str]] = {
    "no object": ("text", "expected a JSON object"),
    "null": (None, "expected a JSON object"),
    "empty object": ({}, "'id' is missing"),
    "no id": ({key: value for key, value in event().items() if key != "id"}, "'id' is missing"),
    "an id that is a number": (event() | {"id": 5}, "'id': expected a non-empty string"),
    "a subject that is a list": (event(subject=["ann"]), "'subject': expected a non-empty string"),
    "an attribute that is an object": (event(ext={"a": 1}), "structures belong in 'data'"),
    "an attribute that is null": (event(time=None), "'time': expected a string"),
    "another version": (event(specversion="0.3"), "expected '1.0'"),
    "a bad agent name": (event(subject="ann.bob"), "'subject': expected the receiving agent's name"),
    "a wildcard for an agent": (event(subject="*"), "'subject'"),
    "a wildcard for a type": (event(type="task.>"), "'type'"),
    "the relay's own type": (event(type="relay.gone"), "not beginning with 'relay.'"),
    "a redispatch by hand": (event("a~r1", redispatchof="a", redispatchcount=1), "only the relay redispatches"),
    "too deep": (event(data=json.loads("[" * 150 + "]" * 150)), "levels of nesting"),
    "no events": ([], "expected 1 to 10 events, got 0"),
    "too many events": ([event() for _ in range(BATCH_MAX + 1)], "expected 1 to 10 events, got 11"),
    "a batch in a batch": ([[event()]], "expected a JSON object, got list"),
}


@pytest.mark.parametrize("name", INVALID)
async def test_an_invalid_event_is_422(relay: InProcess, name: str) -> None:
    """JSON that is no valid event is refused with its problems."""
    body, said = INVALID[name]
    await refused(relay, body, 422, said)


@pytest.mark.parametrize("bad", range(BATCH_MAX))
async def test_one_bad_event_of_ten_refuses_all(relay: InProcess, bad: int) -> None:
    """A batch is published whole or not at all; the answer names the bad one by its index."""
    batch = [event() for _ in range(BATCH_MAX)]
    batch[bad] |= {"type": "Not A Type"}
    document = await refused(relay, batch, 422, "nothing was published")
    assert [one["index"] for one in document["events"]] == [bad]


async def test_every_bad_event_of_a_batch_is_named(relay: InProcess) -> None:
    """All problems of all events come in one answer."""
    batch = [event(), event(type="T", subject="-"), event(), event(source="")]
    document = await refused(relay, batch, 422, "2 of 4 events")
    assert [(one["index"], len(one["problems"])) for one in document["events"]] == [(1, 2), (3, 1)]


async def test_too_large_is_413(relay: InProcess) -> None:
    """An event over its limit, alone or in a batch, and a body over its own, announced or not, are refused as large;
    one byte less passes.
    """
    await refused(relay, sized(EVENT_BYTES_MAX + 1), 413, f"at most {EVENT_BYTES_MAX} bytes")
    await refused(relay, [event(), sized(EVENT_BYTES_MAX + 1)], 413, f"at most {EVENT_BYTES_MAX} bytes")
    await refused(relay, b" " * (BODY_BYTES_MAX + 1), 413, f"at most {BODY_BYTES_MAX} bytes")
    await refused(relay, pieces(BODY_BYTES_MAX * 3), 413, f"at most {BODY_BYTES_MAX} bytes")
    await relay.publish(sized(EVENT_BYTES_MAX))


async def test_a_compressed_body_counts_by_what_it_holds(relay: InProcess) -> None:
    """A small body that unpacks to a large one is too large; what does not unpack is malformed; a good one passes."""
    packed = {"Content-Encoding": "gzip"}
    await refused(relay, gzip.compress(b" " * 50_000_000), 413, f"at most {BODY_BYTES_MAX} bytes", packed)
    await refused(relay, b"no gzip at all", 400, "could not be read", packed)
    body = gzip.compress(json.dumps(event()).encode())
    assert (await relay.post(body, **packed)).status_code == 202


@pytest.mark.parametrize("kind", ["", "text/plain", "application/xml", "text/json", "multipart/form-data; boundary=x"])
async def test_another_content_type_is_415(relay: InProcess, kind: str) -> None:
    """Only JSON, and CloudEvents as JSON, are read; the answer lists them."""
    await refused(relay, event(), 415, "application/cloudevents+json", {"Content-Type": kind})


@pytest.mark.parametrize(
    "kind", ["application/cloudevents-batch+json", "application/cloudevents+json; charset=utf-8", "APPLICATION/JSON"]
)
async def test_each_content_type_is_read(relay: InProcess, kind: str) -> None:
    """Parameters and case of a content type don't matter."""
    assert (await relay.post([event()], **{"Content-Type": kind})).status_code == 202


SECRET_OF_ANOTHER = "another secret of at least 32 bytes"


def tokens(relay: InProcess) -> dict[str, tuple[int, str, str]]:
    """Authorization headers that are no good, with status and what is said."""
    now = time.time()
    foreign = mint(SECRET_OF_ANOTHER, sub="p", scope="publish", ttl_s=60, now=now)
    return {
        "none": (401, "", "expected 'Authorization: Bearer <token>'"),
        "empty": (401, "Bearer", "expected 'Authorization: Bearer <token>'"),
        "another scheme": (401, "Basic dXNlcjp3b3Jk", "expected 'Authorization: Bearer <token>'"),
        "garbage": (401, "Bearer garbage", "not valid"),
        "of another key": (401, f"Bearer {foreign}", "not valid"),
        "expired": (401, f"Bearer {relay.token('p', scope='publish', ttl_s=-1)}", "expired"),
        "without the scope": (403, f"Bearer {relay.token('p', scope='stream')}", "scope 'publish'"),
        "without any scope": (403, f"Bearer {relay.token('p', scope='')}", "scope 'publish'"),
        "with a longer scope": (403, f"Bearer {relay.token('p', scope='publisher')}", "scope 'publish'"),
    }


@pytest.mark.parametrize("name", ["none", "empty", "another scheme", "garbage", "of another key", "expired",
                                  "without the scope", "without any scope", "with a longer scope"])  # fmt: skip
async def test_without_a_good_token_nothing_is_published(relay: InProcess, name: str) -> None:
    """No, a wrong, an expired token: 401; a valid one without the scope: 403. The scheme's case does not matter."""
    status, header, said = tokens(relay)[name]
    await refused(relay, event(), status, said, {"Authorization": header})
    token = relay.token("p", scope="stream publish other")
    assert (await relay.post(event(), Authorization=f"bEARER {token}")).status_code == 202


async def test_a_token_in_the_address_is_not_looked_at(relay: InProcess) -> None:
    """Unless it is allowed, a token in the query, which logs would keep, opens nothing."""
    before = await relay.everything()
    response = await relay.http.post(f"/v1/events?access_token={relay.token()}", json=event())
    problem(response, 401, "expected 'Authorization: Bearer <token>'")
    assert await relay.everything() == before


async def test_an_id_used_twice_in_a_batch_must_mean_the_same(relay: InProcess) -> None:
    """One id with two contents in one batch is refused whole; the same event twice is one event."""
    await refused(relay, [event("twice", data=1), event("twice", data=True)], 409, "'twice'")
    same = event("same")
    messages, _ = await relay.stream_state()
    answer = (await relay.post([same, event("between"), same])).json()["events"]
    assert [one["id"] for one in answer] == ["same", "between", "same"]
    assert answer[0] == answer[2]
    assert (await relay.stream_state())[0] == messages + 2


@pytest.mark.parametrize("data", ["second", True, {"first": 1}, None])
async def test_an_id_belongs_to_its_event(relay: InProcess, data: Any) -> None:
    """An id that is stored can't be used for another event, alone or among good ones; nothing of the request stays."""
    document = await refused(relay, event("stored", data=data), 409, "use a fresh id")
    assert document["id"] == "stored"
    await refused(relay, [event(), event("stored", data=data), event()], 409, "'stored'")


async def test_a_reused_id_that_only_the_stream_knows(relay: InProcess) -> None:
    """While Postgres can't be asked, the stream finds the reuse, and has the others of the batch: it is said which."""
    first = event("known", data={"n": 1})
    connection = await asyncpg.connect(relay.dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE agent_events IN ACCESS EXCLUSIVE MODE")
            assert (await relay.post([first])).status_code == 202
            batch = [event("before"), event("known", data={"n": 2}), event("behind"), event("known-too", data=1)]
            document = problem(await relay.post(batch), 409, "3 others of the request were stored")
    finally:
        await connection.close()
    assert (document["id"], document["refused"]) == ("known", ["known"])
    assert [one["id"] for one in document["events"]] == ["before", "behind", "known-too"]
    await relay.settled()
    rows = await relay.rows("SELECT id FROM agent_events WHERE id = ANY($1) ORDER BY pos", [one["id"] for one in batch])
    assert [row["id"] for row in rows] == ["known", "before", "behind", "known-too"]


async def test_refusals_are_counted(relay: InProcess) -> None:
    """Operators see refused publishes by status."""
    before = await relay.metric("relay_publish_refused_total", status="422")
    await relay.post({})
    assert await relay.metric("relay_publish_refused_total", status="422") == before + 1


async def test_a_body_that_comes_too_slowly_or_not_at_all_is_no_publish(relay: InProcess) -> None:
    """A client that leaves in the middle of its body has published nothing."""
    before = await relay.everything()
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {relay.token()}\r\n"
    body = json.dumps(event("half")).encode()
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:-1]
    await relay.raw(request, half_close=True)
    chunked = f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode()
    await relay.raw(chunked + body + b"\r\n", half_close=True)
    assert await relay.everything() == before


async def test_expect_continue_and_small_steps_are_fine(relay: InProcess) -> None:
    """A correct request is taken however it is cut."""

    async def steps() -> AsyncIterator[bytes]:
        for byte in json.dumps(event()).encode():
            yield bytes([byte])

    headers = {"Content-Type": "application/json", "Expect": "100-continue", **relay.bearer()}
    assert (await relay.http.post("/v1/events", content=steps(), headers=headers)).status_code == 202
