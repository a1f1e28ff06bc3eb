"""What surrounds the streams: CORS, probes, metrics, the OpenAPI document, and the checks before a start."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from faults.stack import EmbeddedStack
from system.database import Database
from system.host import Host
from system.relay import Relay
from system.safety import UnsafeStorage, check, check_encoding, check_nats, check_postgres
from system.settings import Settings
from tests.system.conftest import StartRelay
from tests.system.harness import SECRET, InProcess, event, eventually, problem

pytestmark = pytest.mark.stack

ORIGIN = "https://app.example"


async def test_a_configured_origin_may_ask(start_relay: StartRelay) -> None:
    """CORS: the preflight allows what clients send, answers expose what they must read, refusals and streams too."""
    relay = await start_relay(cors_origins=ORIGIN)
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,last-event-id",
    }
    for path in ("/v1/agents/ann/events", "/v1/events", "/v1/agents/ann/acks"):
        answer = await relay.http.options(path, headers=asked)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
        allowed = answer.headers["Access-Control-Allow-Headers"].lower()
        assert all(name in allowed for name in ("authorization", "content-type", "last-event-id"))
        assert {"GET", "POST"} <= set(re.split(r",\s*", answer.headers["Access-Control-Allow-Methods"]))
        assert int(answer.headers["Access-Control-Max-Age"]) > 0
    refused = await relay.http.get("/v1/agents/ann/events", headers={"Origin": ORIGIN})
    problem(refused, 401)
    async with relay.http.stream(
        "GET", "/v1/agents/ann/events", headers={"Origin": ORIGIN, **relay.bearer()}
    ) as stream:
        for headers in (refused.headers, stream.headers):
            assert headers["Access-Control-Allow-Origin"] == ORIGIN
            assert headers["Vary"] == "Origin"
            exposed = headers["Access-Control-Expose-Headers"].lower()
            assert "retry-after" in exposed
            assert "www-authenticate" in exposed


@pytest.mark.parametrize("origins", ["", "https://other.example"])
async def test_no_other_origin_is_allowed(start_relay: StartRelay, origins: str) -> None:
    """Without configuration, or from elsewhere, no header says yes; the answer itself is the same."""
    relay = await start_relay(cors_origins=origins)
    for method in ("OPTIONS", "GET"):
        headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET", **relay.bearer()}
        answer = await relay.http.request(
            method, "/v1/agents/ann/events?limit=1", headers=headers | {"Accept": "application/json"}
        )
        assert answer.status_code in (200, 204)
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_star_allows_everyone_by_name(start_relay: StartRelay) -> None:
    """`*` answers each origin with itself, never with credentials allowed: tokens are bearer, not cookies."""
    relay = await start_relay(cors_origins="*")
    answer = await relay.http.get("/healthz", headers={"Origin": "null"})
    assert answer.headers["Access-Control-Allow-Origin"] == "null"
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_stream_is_made_for_proxies(relay: InProcess) -> None:
    """No cache, no compression, no buffering: whatever stands between must pass each frame on as it comes."""
    async with relay.http.stream(
        "GET", "/v1/agents/ann/events", headers=relay.bearer() | {"Accept-Encoding": "gzip, br"}
    ) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["Cache-Control"] == "no-store, no-transform"
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in stream.headers
        assert "Content-Length" not in stream.headers


EXPECTED_METRICS = {
    "sse_cursor_410_total", "sse_replay_events_total", "sse_live_events_total", "sse_relay_gap_total", "sse_sessions",
    "sse_sessions_live", "sse_sessions_opened_total", "sse_sessions_behind_total", "relay_stale_redispatches_total",
    "relay_writer_lag_messages", "relay_watermark", "relay_leading", "relay_acks_total", "relay_writer_events_total",
    "relay_publish_unknown_total", "relay_writer_lost_total", "relay_hub_resets_total",
}  # fmt: skip


async def test_metrics_are_there_from_the_start(relay: InProcess) -> None:
    """Prometheus text, each with help and type, all names that dashboards rely on; no agent's name in any label."""
    await relay.publish(event(subject="secret-agent"))
    await relay.settled()
    answer = await relay.http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = set(re.findall(r"^# TYPE (\S+) ", answer.text, re.MULTILINE))
    assert {name.removesuffix("_total") for name in EXPECTED_METRICS} <= {name.removesuffix("_total") for name in names}
    assert names == set(re.findall(r"^# HELP (\S+) \S+", answer.text, re.MULTILINE))
    assert "secret-agent" not in answer.text


async def test_the_writers_lag_is_told(start_relay: StartRelay) -> None:
    """`relay_writer_lag_messages` is what the stream has and pg-writer has not decided; it was never set, and read 0
    while a backlog grew.
    """
    relay = await start_relay(ready_after_silence_s=0.4, idle_check_s=1)
    await relay.publish(event())
    await relay.settled()
    await relay.rows(
        "UPDATE event_stream SET fence = fence + 1, holder = '', lease_until = now() + interval '1 day' RETURNING 1"
    )
    await relay.publish(*(event() for _ in range(7)))

    async def lag(expected: int) -> bool:
        return await relay.metric("relay_writer_lag_messages") == expected

    await eventually(lambda: lag(7), "a lag of seven")
    await relay.rows("UPDATE event_stream SET lease_until = now() - interval '1 day' RETURNING 1")
    await eventually(lambda: lag(0), "no lag")


async def test_probes_say_what_is_the_matter(relay: InProcess) -> None:
    """/healthz and /readyz answer with their parts; the head is a cursor."""
    health = (await relay.http.get("/healthz")).json()
    assert health["status"] == "ok"
    (cursor,) = await relay.publish(event())

    async def ready() -> bool:
        answer = await relay.http.get("/readyz")
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        assert all(found["parts"].values())
        return bool(found["leading"] is True and found["head"] == cursor)  # it takes the lease a moment after

    await eventually(ready, "the head in /readyz")


async def test_the_openapi_document_names_what_there_is(relay: InProcess) -> None:
    """It is valid OpenAPI 3.1 with every route and only statuses that have a schema."""
    document = (await relay.http.get("/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {"/v1/events", "/v1/agents/{agent}/events", "/v1/agents/{agent}/acks"}
    for path in document["paths"].values():
        for operation in path.values():
            assert {"400", "401", "403", "503"} <= set(operation["responses"])
            for answer in operation["responses"].values():
                assert all("schema" in media for media in answer["content"].values())


def monitor(config: Any, status: int = 200) -> httpx.AsyncClient:
    """NATS's monitoring address, answering this."""
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, json={"config": config})))


@pytest.mark.parametrize(
    ("config", "replicas", "unsafe"),
    [
        ({"sync_always": True, "sync_interval": 120}, 1, False),
        ({"sync_interval": 120_000_000_000}, 1, True),
        ({"sync_interval": 120_000_000_000}, 3, False),
        ({}, 1, True),
    ],
)
async def test_nats_without_fsync_is_found_out(config: Any, replicas: int, unsafe: bool) -> None:
    """G8: with one replica, NATS must fsync before each PubAck; with three, a quorum does."""
    settings = Settings(jwt_hs256_secret=SECRET, nats_monitor_url="http://h", stream_replicas=replicas)
    found = await check_nats(settings, monitor(config))
    assert bool(found) is unsafe
    assert all("sync_interval: always" in line for line in found)


async def test_a_monitor_that_is_away_proves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Without an answer there is no verdict: the start goes on, with a warning in the log."""
    settings = Settings(jwt_hs256_secret=SECRET, nats_monitor_url="http://127.0.0.1:1")
    assert await check_nats(settings) == []
    assert await check_nats(settings, monitor({}, status=500)) == []
    assert await check_nats(Settings(jwt_hs256_secret=SECRET)) == []


async def test_postgres_that_loses_commits_is_not_used(fresh_database: str) -> None:
    """G8: synchronous_commit=off is found at the start, which ends with what to do, unless the operator insists."""
    database = Database(fresh_database, size_max=2, timeout_s=5)
    try:
        assert await check_postgres(database) == []
        name = fresh_database.rpartition("/")[2]
        await database.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    finally:
        await database.close()
    settings = Settings(jwt_hs256_secret=SECRET, postgres_dsn=fresh_database)
    database = Database(fresh_database, size_max=2, timeout_s=5)
    try:
        with pytest.raises(UnsafeStorage, match=r"synchronous_commit.*MESHRELAY_ALLOW_UNSAFE_STORAGE"):
            await check(settings, database)
        await check(settings.model_copy(update={"allow_unsafe_storage": True}), database)
    finally:
        await database.close()


async def test_a_database_without_room_for_every_character_is_not_used(stack: EmbeddedStack) -> None:
    """LATIN1: an event with 日本 was answered 202, and pg-writer died of it again and again. The start ends instead,
    with what to do, and no operator can waive it.
    """
    name = f"test_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(stack.postgres_dsn)
    await admin.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    dsn = re.sub(r"/[^/]*$", f"/{name}", stack.postgres_dsn)
    settings = Settings(jwt_hs256_secret=SECRET, postgres_dsn=dsn, allow_unsafe_storage=True)
    database = Database(dsn, size_max=2, timeout_s=5)
    try:
        with pytest.raises(UnsafeStorage, match=r"expected UTF8, got LATIN1: .*CREATE DATABASE … ENCODING 'UTF8'"):
            await check(settings, database)
        relay = Relay(settings.model_copy(update={"http_port": 0}), Host.real())
        await relay.start()
        try:
            assert isinstance(await asyncio.wait_for(relay.failed, 10), UnsafeStorage)
        finally:
            await relay.drain()
    finally:
        await database.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def test_an_encoding_that_is_not_told_is_not_refused() -> None:
    """A pooler that keeps it to itself proves nothing: the start goes on, with a warning in the log."""

    class Connection:
        def get_settings(self) -> object:
            return object()

    database = Database("", size_max=1, timeout_s=1)
    database._give_back = lambda connection, *, sound: None  # type: ignore[method-assign]

    async def take() -> Connection:
        return Connection()

    database._take = take  # type: ignore[method-assign]
    await check_encoding(database)
