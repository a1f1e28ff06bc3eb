"""Trouble on the way: statuses, silence, garbage, tokens that expire; the client waits, asks again, or says why not."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence

import pytest

from system.client import (
    CursorRefused,
    Delivery,
    FrameTooLarge,
    MemoryCursorStore,
    ProtocolViolated,
    RelayRefused,
    TokenRefused,
    TokenUnavailable,
)
from tests.system.client.scripted import FAST, Application, ScriptedRelay, closing, cursor, event, running, until


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_relay_without_capacity_is_asked_again_later(relay: ScriptedRelay, status: int) -> None:
    """Transient statuses keep the place; Retry-After is never undercut."""
    settings = dataclasses.replace(FAST, told_max_s=0.03)
    async with running(relay, settings=settings, store=MemoryCursorStore(cursor(3))) as run:
        await (await relay.request()).problem(status, retry_after="3600", title="Full")
        assert (await relay.request()).position == cursor(3)
        (delay_s, why) = run.seen.named("waiting")[0]
        assert (why, 0.03 <= delay_s <= 0.05) == (f"status {status}", True)
        assert run.seen.named("connected") == [(1, status, "Full")]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, CursorRefused), (403, TokenRefused), (404, RelayRefused), (406, RelayRefused)],
)
async def test_a_definite_refusal_ends_the_run(relay: ScriptedRelay, status: int, kind: type[RelayRefused]) -> None:
    """What no retry changes is raised with the relay's own words, and the cursor stays as it was."""
    store = MemoryCursorStore(cursor(3))
    async with running(relay, store=store) as run:
        await (await relay.request()).problem(status, title="Planted", detail="because")
        with pytest.raises(kind, match=f"got {status}: Planted: because"):
            await run.ended()
        assert store.cursor == cursor(3)


async def test_redirects_are_not_followed(relay: ScriptedRelay) -> None:
    """A redirect ends the run: the token goes to the configured relay and nowhere else."""
    async with running(relay) as run:
        await (await relay.request()).answer(307, Location=relay.base_url + "/elsewhere")
        with pytest.raises(RelayRefused, match=r"got 307.*check the base URL"):
            await run.ended()
        assert len(run.seen.named("connecting")) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: text/html\r\n",
        b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n",
        b"",
    ],
)
async def test_a_200_that_is_no_stream_is_asked_again(relay: ScriptedRelay, head: bytes) -> None:
    """A proxy's page in the relay's place passes, without end if need be, and is never read as events."""
    async with running(relay) as run:
        for _ in range(FAST.handler_attempts_max + 2):
            exchange = await relay.request()
            await exchange.send(b"HTTP/1.1 200 OK\r\n" + head + b"Connection: close\r\n\r\n" + event(1))
            exchange.end()
        assert run.app.handled == []
        assert run.seen.named("closed")[0][1].startswith("no stream: expected text/event-stream")


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 banana\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\nzz\r\n",
    ],
)
async def test_broken_http_is_a_cut(relay: ScriptedRelay, garbage: bytes) -> None:
    """What is not HTTP, or breaks off, is tried again like any lost connection."""
    async with running(relay, store=MemoryCursorStore(cursor(3))) as run:
        exchange = await relay.request()
        await exchange.send(garbage)
        exchange.end()
        second = await relay.request()
        assert second.position == cursor(3)
        await second.stream(event(4))
        await until(lambda: run.app.handled == ["e4"])


@pytest.mark.parametrize(
    "frame",
    [
        b"event: task.assigned\ndata: {}\n\n",
        b"id: 7\nevent: task.assigned\ndata: {}\n\n",
        b"id: abc234-4\nevent: task.assigned\ndata: {\n\n",
        b'id: abc234-4\nevent: task.assigned\ndata: {"id":"x","type":"y","subject":7}\n\n',
        b'id: abc234-4\nevent: task.assigned\ndata: {"id":"\xff","type":"y","subject":"z"}\n\n',
        b"event: relay.cursor\ndata: {}\n\n",
        b"event: relay.gone\ndata: {}\n\n",
        b"event: relay.close\ndata: [\n\n",
    ],
)
async def test_an_unreadable_frame_is_asked_for_again_then_raised(relay: ScriptedRelay, frame: bytes) -> None:
    """A frame that cannot be read is never passed over, not even by a good one behind it."""
    settings = dataclasses.replace(FAST, handler_attempts_max=2)
    async with running(relay, settings=settings, store=MemoryCursorStore(cursor(3))) as run:
        for _ in range(2):
            exchange = await relay.request()
            assert exchange.position == cursor(3)
            await exchange.stream(frame, event(5))
        with pytest.raises(ProtocolViolated, match="expected"):
            await run.ended()
        assert run.app.handled == []


async def test_an_oversized_frame_is_bounded(relay: ScriptedRelay) -> None:
    """A frame without end is given up at the limit, with a clear error."""
    settings = dataclasses.replace(FAST, handler_attempts_max=1, frame_bytes_max=10_000)
    async with running(relay, settings=settings) as run:
        await (await relay.request()).stream(event(1), b"data: " + b"x" * 20_000)
        with pytest.raises(FrameTooLarge, match="at most 10000 bytes"):
            await run.ended()
        assert run.app.handled == ["e1"]


async def test_silence_is_a_dead_connection(relay: ScriptedRelay) -> None:
    """A half-open connection, where nothing comes and nothing fails, is left after the missed heartbeats."""
    settings = dataclasses.replace(FAST, heartbeat_s=0.1, heartbeats_missed_max=3)
    async with running(relay, settings=settings) as run:
        exchange = await relay.request()
        while exchange.position is None:  # a stalled machine may let the first silence come before the event
            await exchange.stream(event(1))
            exchange = await relay.request()
        assert exchange.position == cursor(1)
        assert run.app.handled == ["e1"]
        assert run.seen.named("closed")[-1][1] == "silent: no byte for 0.3 s"


async def test_heartbeats_keep_a_quiet_connection(relay: ScriptedRelay) -> None:
    """Comments are life: an idle stream with heartbeats outlives many watchdog times on one connection."""
    settings = dataclasses.replace(FAST, heartbeat_s=3.0, heartbeats_missed_max=1)
    async with running(relay, settings=settings) as run:
        exchange = await relay.request()
        await exchange.stream(b":\n")
        for _ in range(7):
            await asyncio.sleep(settings.watchdog_s / 6)
            await exchange.send(b":\n")
        await exchange.send(event(1))
        await until(lambda: run.app.handled == ["e1"])
        assert len(run.seen.named("connecting")) == 1


async def test_a_relay_that_never_answers_is_left(relay: ScriptedRelay) -> None:
    """An accepted connection without a response ends after `response_timeout_s`."""
    settings = dataclasses.replace(FAST, response_timeout_s=0.1)
    async with running(relay, settings=settings) as run:
        await relay.request()
        await relay.request()
        assert run.seen.named("closed")[0][1] == "connect: no answer in time"


class Tokens:
    """A provider that hands out its tokens in turn, then the last one for ever; exceptions are raised."""

    def __init__(self, *tokens: str | Exception) -> None:
        self.left: Sequence[str | Exception] = tokens
        self.asked = 0

    async def __call__(self) -> str:
        token = self.left[min(self.asked, len(self.left) - 1)]
        self.asked += 1
        if isinstance(token, Exception):
            raise token
        return token


async def test_a_401_gets_one_fresh_token_at_once_then_waits(relay: ScriptedRelay) -> None:
    """The first 401 is answered without a wait; while they go on, each try has a fresh token and a back-off."""
    tokens = Tokens("t1", "t2", "t3")
    async with running(relay, token=tokens) as run:
        for expected in ("t1", "t2"):
            exchange = await relay.request()
            assert exchange.headers["authorization"] == f"Bearer {expected}"
            assert len(run.seen.named("waiting")) == 0
            await exchange.problem(401, title="Expired")
        third = await relay.request()
        assert third.headers["authorization"] == "Bearer t3"
        assert [why for _, why in run.seen.named("waiting")] == ["status 401"]
        await third.stream(event(1))
        await until(lambda: run.app.handled == ["e1"])


async def test_a_token_that_expires_in_the_stream_is_replaced(relay: ScriptedRelay) -> None:
    """After relay.close token_expired the next request carries a fresh token; other cuts ask for none."""
    tokens = Tokens("t1", "t2")
    async with running(relay, token=tokens):
        first = await relay.request()
        await first.stream(event(1))
        first.end()
        second = await relay.request()
        assert second.headers["authorization"] == "Bearer t1"
        await second.stream(closing("token_expired"))
        third = await relay.request()
        assert (third.headers["authorization"], third.position) == ("Bearer t2", cursor(1))
        assert tokens.asked == 2


async def test_a_static_token_that_is_refused_ends_the_run_if_so_set(relay: ScriptedRelay) -> None:
    """`unauthorized_attempts_max` is for people at a terminal: a wrong token is said, not retried for ever."""
    settings = dataclasses.replace(FAST, unauthorized_attempts_max=2)
    async with running(relay, token="wrong", settings=settings) as run:
        await (await relay.request()).problem(401, title="No")
        await (await relay.request()).problem(401, title="No")
        with pytest.raises(TokenRefused, match="got 401 2 times: No") as raised:
            await run.ended()
        assert "wrong" not in str(raised.value)


async def test_a_provider_without_a_token_is_asked_again(relay: ScriptedRelay) -> None:
    """TokenUnavailable and network errors of the provider back off; its other exceptions are bugs and pass."""
    tokens = Tokens(TokenUnavailable("later"), ConnectionRefusedError("planted"), "t1")
    async with running(relay, token=tokens) as run:
        assert (await relay.request()).headers["authorization"] == "Bearer t1"
        assert [why.partition(":")[0] for _, why in run.seen.named("closed")] == ["token", "token"]
    async with running(relay, token=Tokens(LookupError("planted"))) as run:
        with pytest.raises(LookupError, match="planted"):
            await run.ended()


async def test_filter_and_keyword_go_into_the_query(relay: ScriptedRelay) -> None:
    """`types` and `start_from` are sent as the contract has them; the keyword only while the store is empty."""
    settings = dataclasses.replace(FAST, start_from="earliest")
    async with running(relay, settings=settings, types=("task.assigned", "task.created")) as run:
        first = await relay.request()
        assert first.target == "/v1/agents/alice/events?cursor=earliest&types=task.assigned,task.created"
        assert first.headers["accept"] == "text/event-stream"
        await first.stream(event(1))
        await until(lambda: run.app.handled == ["e1"])
        first.end()
        second = await relay.request()
        assert (second.target, second.position) == (
            "/v1/agents/alice/events?types=task.assigned,task.created",
            cursor(1),
        )
        assert run.seen.named("connecting") == [(1, "earliest", False), (2, cursor(1), False)]


async def test_deliveries_hold_the_event_as_it_came(relay: ScriptedRelay) -> None:
    """The handler gets cursor, id, type, addressee, the JSON as received, and its decoded form."""
    raw = b'{ "specversion":"1.0","id":"\\u00e9-1","source":"/t","type":"x.y","subject":"_all","data":{"n":1.10}}'
    got: list[Delivery] = []

    class Keeping(Application):
        async def on_event(self, delivery: Delivery) -> None:
            got.append(delivery)

    async with running(relay, app=Keeping()) as run:
        await (await relay.request()).stream(b"id: abc234-6\nevent: x.y\ndata: " + raw + b"\n\n")
        await until(lambda: got)
    (delivery,) = got
    assert (delivery.cursor, delivery.id, delivery.type, delivery.subject) == (cursor(6), "é-1", "x.y", "_all")
    assert delivery.raw == raw
    assert delivery.decode() == json.loads(raw)
    assert run.seen.named("deliver") == [(1, cursor(6), "é-1", "x.y", "_all")]
