"""Bad requests for streams, pages and acks: each with its status and what to do, nothing stored, nothing opened."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from faults.stack import EmbeddedStack
from tests.system.harness import InProcess, event, own_servers, problem
from tests.system.sse_reader import StreamEnded

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay(stack: EmbeddedStack) -> AsyncIterator[InProcess]:
    """One relay for all tests of the module, with three events for ann and one ack."""
    async with own_servers(stack) as (dsn, nats_server):
        running = await InProcess.start(dsn, nats_server)
        await running.ready()
        cursors = await running.publish(event(), event(), event())
        await running.settled()
        await running.ack(cursors[0])
        yield running
        await running.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def head(relay: InProcess) -> str:
    """The cursor of the last event."""
    return str((await relay.page()).json()["head"])


MALFORMED = [
    "x",
    "abc234",
    "abc234-",
    "abc234-x",
    "ABC234-1",
    "-1",
    "1",
    "abc234-01",
    "abc234-9999999999999999",
    "abc234-1,abc234-2",
    "Earliest",
    "latest",
    "acked ",
    "null",
    "%00",
    "abc234-1%0A",
    "é",
    "a" * 3_000,
]


@pytest.mark.parametrize("cursor", MALFORMED)
async def test_a_malformed_cursor_is_400(relay: InProcess, cursor: str) -> None:
    """In the query, for a stream and for a page, and in an ack: expected such as…, got…; nothing is stored."""
    before = await relay.everything()
    for accept in ("text/event-stream", "application/json"):
        path = f"/v1/agents/ann/events?cursor={cursor}"
        problem(await relay.get(path, Accept=accept), 400, "expected a cursor such as")
    problem(await relay.ack(cursor), 400, "expected a cursor such as")
    assert await relay.everything() == before
    assert await relay.metric("sse_sessions") == 0


async def test_a_malformed_last_event_id_is_400_and_an_empty_one_is_none(relay: InProcess) -> None:
    """A garbled header is refused even beside a good query; an empty one, as browsers send at first, does not count."""
    async with relay.stream(last_event_id="gar bled", cursor="earliest") as stream:
        problem(stream.response, 400, "expected a cursor such as")
    async with relay.stream(last_event_id="", cursor="now") as stream:
        assert (await stream.frame()).retry_ms
        assert (await stream.named("relay.cursor")).id
        assert stream.delivered == []


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"abc234-1\xff", "\u0661".encode()])
async def test_bytes_in_a_cursor_that_are_no_text(relay: InProcess, raw: bytes) -> None:
    """Header bytes that are not UTF-8 are an honest 400, readable as JSON."""
    token = relay.token()
    answer = await relay.raw(
        b"GET /v1/agents/ann/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %b\r\n"
        b"Last-Event-ID: %b\r\n\r\n" % (token.encode(), raw)
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["status"] == 400


async def test_a_cursor_ahead_or_of_another_epoch_is_410_with_its_reason(relay: InProcess, head: str) -> None:
    """G2: each has its own reason, the head, and an address to go on at that works when followed as it is."""
    tag, seq = head.split("-")
    before = await relay.everything()
    for cursor, reason in (
        (f"{tag}-{int(seq) + 1}", "ahead"),
        ("zzzzzz-1", "wrong_epoch"),
        ("zzzzzz-0", "wrong_epoch"),
    ):
        for answer in (
            await relay.get(f"/v1/agents/ann/events?cursor={cursor}", Accept="text/event-stream"),
            await relay.page(cursor=cursor),
            await relay.ack(cursor),
        ):
            document = problem(answer, 410)
            assert (document["reason"], document["head"], document["cursor"]) == (reason, head, cursor)
            assert document["floors"] == {"critical": None, "standard": None}
            resync = await relay.get(document["resync"])
            assert [one["cursor"] for one in resync.json()["events"]] == [f"{tag}-{number}" for number in (1, 2, 3)]
    assert await relay.everything() == before
    assert await relay.metric("sse_cursor_410_total", reason="ahead") >= 2
    assert await relay.metric("sse_cursor_410_total", reason="wrong_epoch") >= 4


async def test_a_foreign_cursor_can_be_told_in_band(relay: InProcess) -> None:
    """For clients that see no status: relay.gone without an id, then the end; or, asked to skip, all that there is."""
    async with relay.stream(cursor="zzzzzz-1", on_gone="event") as stream:
        frames = await stream.rest()
        assert stream.response.status_code == 200
        assert [frame.event for frame in frames if frame.event] == ["relay.gone"]
        assert frames[-1].data["reason"] == "wrong_epoch"
        assert stream.last_id is None
    async with relay.stream(cursor="zzzzzz-1", on_gone="skip") as stream:
        gone = await stream.named("relay.gone")
        assert gone.id is None
        assert len(await stream.events(3)) == 3
    page = (await relay.page(cursor="zzzzzz-1", on_gone="skip")).json()
    assert page["gone"]["reason"] == "wrong_epoch"
    assert len(page["events"]) == 3


@pytest.mark.parametrize(
    "agent", ["_all", "_x", "-a", "a.b", "*", ">", "a%2Fb", "%C3%A4", "a" * 65, "a%20b", "a%0A", "%FF"]
)
async def test_a_bad_agent_name_is_400(relay: InProcess, agent: str) -> None:
    """No name that events can't be addressed to, nor the broadcast's, opens anything, whatever the token says."""
    header = relay.bearer("_all")
    for answer in (
        await relay.http.get(f"/v1/agents/{agent}/events", headers=header),
        await relay.http.post(f"/v1/agents/{agent}/acks", json={"cursor": "abc234-1"}, headers=header),
    ):
        problem(answer, 400, "expected an agent name")


async def refusals(relay: InProcess, headers: dict[str, str], status: int, said: str) -> None:
    """Check stream, page and ack with these headers."""
    body = {"cursor": (await relay.page()).json()["head"]}
    before = await relay.everything()
    for accept in ("text/event-stream", "application/json"):
        answer = await relay.http.get("/v1/agents/ann/events", headers={"Accept": accept, **headers})
        problem(answer, status, said)
    problem(await relay.http.post("/v1/agents/ann/acks", json=body, headers=headers), status, said)
    assert await relay.everything() == before


async def test_a_token_opens_its_own_agents_stream_only(relay: InProcess) -> None:
    """G5: another agent's token, a publisher's, an expired one, a forged one or none open nothing, also on replay."""
    expected = [
        ({}, 401, "expected 'Authorization: Bearer <token>'"),
        ({"Authorization": "Bearer x.y.z"}, 401, "not valid"),
        (relay.bearer(ttl_s=-1), 401, "expired"),
        (relay.bearer("bob"), 403, "opens one agent's stream, its own"),
        (relay.bearer("Ann"), 403, "its own"),
        (relay.bearer("_all"), 403, "its own"),
        (relay.bearer("ann", scope="publish"), 403, "scope 'stream'"),
        (relay.bearer("ann", scope=""), 403, "scope 'stream'"),
    ]
    for headers, status, said in expected:
        await refusals(relay, headers, status, said)
    query = await relay.http.get(f"/v1/agents/ann/events?access_token={relay.token()}")
    problem(query, 401, "expected 'Authorization: Bearer <token>'")


async def test_a_stream_ends_with_its_token(relay: InProcess) -> None:
    """G5: a token that expires in mid-stream ends it, after the last event, with relay.close and a delay; the place
    is the client's, who goes on with a fresh token.
    """
    async with relay.stream(token=relay.token(ttl_s=4), cursor="earliest") as stream:
        assert len(await stream.events(3)) == 3
        frames = await stream.rest()
        assert stream.response.status_code == 200
    close = frames[-1]
    assert (close.event, close.id, close.data["reason"]) == ("relay.close", None, "token_expired")
    settings = relay.relay.settings
    assert settings.retry_min_ms <= close.data["retry_ms"] <= settings.retry_max_ms
    assert [frame.retry_ms for frame in frames if frame.retry_ms] == [close.data["retry_ms"]]
    async with relay.stream(last_event_id=stream.last_id) as again:
        assert (await again.named("relay.cursor")).id == stream.last_id
        assert again.delivered == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("on_gone=maybe", "expected status, event or skip"),
        ("on_gone=", "expected status, event or skip"),
        ("types=Task.Assigned", "types: expected event types"),
        ("types=task.assigned,*", "types: expected event types"),
        ("types=relay.gone", "types: expected event types"),
        ("types=" + "t" * 65, "types: expected event types"),
    ],
)
async def test_a_bad_parameter_is_400(relay: InProcess, query: str, said: str) -> None:
    """A misspelt wish is refused, not ignored: a filter for a type that can't exist would be silence for ever."""
    problem(await relay.get(f"/v1/agents/ann/events?{query}", Accept="text/event-stream"), 400, said)
    problem(await relay.get(f"/v1/agents/ann/events?{query}"), 400, said)


@pytest.mark.parametrize(
    "limit", ["0", "-1", "1001", "x", "", "1.5", "٣", "²", "1e2", " 1", "0000000011", "00000000199999999999999999999"]
)
async def test_a_bad_limit_is_400(relay: InProcess, limit: str) -> None:
    """A page's size is 1 to 1,000, whatever is written.

    Only the first nine digits were looked at: zeros in front let any number through, up to those that no bigint holds
    and that were a fault in the relay.
    """
    problem(await relay.page(limit=limit), 400, "limit: expected 1 to 1000")


async def test_limits_that_are_good_pass(relay: InProcess) -> None:
    """Both ends of the range are allowed, also with zeros in front."""
    for limit, count in (("1", 1), ("001", 1), ("2", 2), ("1000", 3)):
        page = (await relay.page(limit=limit, cursor="earliest")).json()
        assert (len(page["events"]), page["more"]) == (count, count < 3)


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "application/problem+json"])
async def test_a_form_that_we_do_not_have_is_406(relay: InProcess, accept: str) -> None:
    """Who accepts neither an event stream nor JSON is told what there is."""
    problem(await relay.get("/v1/agents/ann/events", Accept=accept), 406, "text/event-stream or application/json")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/event-stream", "text/event-stream"),
        ("Text/Event-Stream", "text/event-stream"),
        ("*/*", "text/event-stream"),
        ("text/html, */*;q=0.1", "text/event-stream"),
        ("application/json", "application/json"),
        ("Application/JSON", "application/json"),
        ("application/*", "application/json"),
    ],
)
async def test_the_accepted_form_is_answered(relay: InProcess, accept: str, kind: str) -> None:
    """Stream or page follows from Accept, whose case does not matter; a client without a preference gets the stream."""
    headers = {"Accept": accept, **relay.bearer()}
    async with relay.http.stream("GET", "/v1/agents/ann/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].partition(";")[0] == kind
        assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"abc234-1"',
        b"{}",
        b'{"cursor": 5}',
        b'{"cursor": null}',
        b'{"cursor": ["abc234-1"]}',
        b"\xff",
        b'{"cursor": "\xff"}',
        b"[" * 5_000,
        b'{"Cursor": "abc234-1"}',
    ],
)
async def test_a_malformed_ack_is_400(relay: InProcess, body: bytes) -> None:
    """What is not {"cursor": …} stores nothing."""
    before = await relay.everything()
    answer = await relay.http.post("/v1/agents/ann/acks", content=body, headers=relay.bearer())
    problem(answer, 400, "expected")
    assert await relay.everything() == before


async def test_words_for_places_are_no_acks(relay: InProcess) -> None:
    """Only a cursor that was received can be acknowledged."""
    before = await relay.everything()
    for word in ("earliest", "now", "acked"):
        problem(await relay.ack(word), 400, "expected a cursor such as")
    assert await relay.everything() == before


async def test_http_1_0_gets_pages_but_no_stream(relay: InProcess) -> None:
    """A stream needs chunks, which HTTP/1.0 has not: 400 that names the proxy's setting; a page is served."""
    head = f"GET /v1/agents/ann/events HTTP/1.0\r\nAuthorization: Bearer {relay.token()}\r\n"
    refused = await relay.raw(f"{head}Accept: text/event-stream\r\n\r\n".encode())
    assert refused.startswith(b"HTTP/1.0 400 ")
    assert b"proxy_http_version" in refused
    page = await relay.raw(f"{head}Accept: application/json\r\n\r\n".encode())
    assert page.startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/v1", 404, None),
        ("GET", "/v2/events", 404, None),
        ("GET", "/v1/agents//events", 404, None),
        ("GET", "/v1/agents/ann", 404, None),
        ("GET", "/v1/agents/a/b/events", 404, None),
        ("GET", "/v1/events", 405, {"POST"}),
        ("PUT", "/v1/events", 405, {"POST"}),
        ("DELETE", "/v1/agents/ann/events", 405, {"GET"}),
        ("HEAD", "/v1/agents/ann/events", 405, {"GET"}),
        ("GET", "/v1/agents/ann/acks", 405, {"POST"}),
        ("POST", "/metrics", 405, {"GET", "HEAD"}),
        ("OPTIONS", "/v1/events", 405, {"POST"}),
        ("PATCH", "/v1/events", 405, {"POST"}),
    ],
)
async def test_unknown_paths_and_methods(
    relay: InProcess, method: str, path: str, status: int, allow: set[str] | None
) -> None:
    """What is not there is 404, a method that is not 405 with Allow; both as problem documents."""
    answer = await relay.http.request(method, path, headers=relay.bearer())
    if method == "HEAD":
        assert answer.status_code == status
    else:
        problem(answer, status)
    if allow is not None:
        assert set(re.split(r"\s*,\s*", answer.headers["Allow"])) == allow


@pytest.mark.parametrize("path", ["/%FF", "/v1/agents/%ff%fe/events", "/v1/agents/%00/events", "/%F0%9F%9A%80"])
async def test_a_path_that_is_no_text_is_refused_readably(relay: InProcess, path: str) -> None:
    """Escaped bytes that are not UTF-8, or are not printable, come back within valid JSON."""
    answer = await relay.http.get(path, headers=relay.bearer())
    problem(answer, 400 if "agents" in path else 404)


GARBAGE = [
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"\0" * 100,
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("index", range(len(GARBAGE)))
async def test_bytes_that_are_no_http_end_their_own_connection(relay: InProcess, index: int) -> None:
    """Garbage, TLS by mistake, conflicting or endless headers: at most an answer in the 400s, and others go on."""
    answer = await relay.raw(GARBAGE[index], half_close=True)
    assert not answer or answer.split(b" ")[1].startswith(b"4"), answer[:200]
    assert (await relay.http.get("/healthz")).status_code == 200


async def test_the_agents_events_are_still_there(relay: InProcess) -> None:
    """After all of the above, whatever its order, ann's stream is what it was."""
    async with relay.stream(cursor="earliest") as stream:
        assert len(await stream.events(3)) == 3
        await stream.named("relay.cursor")
        with pytest.raises((TimeoutError, StreamEnded)):
            await stream.until(lambda frame: frame.is_event, timeout_s=0.2)
