"""A relay under test on the real stack, with all that a test wants to ask it, NATS and Postgres behind its back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import nats
import pytest
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from faults.stack import EmbeddedStack, NatsProcess, RelayProcess
from system.cursor import Position, seq_of
from system.host import Host
from system.relay import Relay
from system.settings import Settings
from system.tokens import mint
from tests.system.sse_reader import WAIT_S, SseReader

SECRET = "a secret of at least thirty-two bytes"
STREAM = "MESH_EVENTS"
QUICK: dict[str, Any] = {"tail_poll_s": 0.05, "sweep_interval_s": 0.1, "sweep_pause_s": 0.0, "drain_deadline_s": 4.0}
"""Settings that shorten waits and change no decision."""

TRANSPORTS = "cursor", "jetstream", "redis"
all_transports = pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
"""Marks what must hold wherever sessions read from."""
told_by_postgres = pytest.mark.parametrize("transport", ["cursor", "jetstream"], indirect=True)
"""Marks what must hold where Postgres's sweeps and floors say what is gone."""

VOLATILE = "fence", "holder", "lease_until"
"""Columns of `event_stream` that move without any event."""

_made = 0


def event(event_id: str | None = None, **attributes: Any) -> dict[str, Any]:
    """A valid event, with these attributes instead of the usual ones."""
    global _made
    _made += 1
    usual = {"specversion": "1.0", "source": "/tests", "type": "task.assigned", "subject": "ann", "data": {"n": _made}}
    return usual | {"id": event_id or f"e{_made}"} | attributes


async def eventually(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
    """Wait until the condition, plain or async, answers something true, and return that."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, f"expected within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.01)


def held_tail(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Have a relay's tail begin no reading before this is set; one that is under way ends."""
    gate, step = asyncio.Event(), relay._tail._step

    async def held() -> bool:
        await gate.wait()
        return await step()

    monkeypatch.setattr(relay._tail, "_step", held)
    return gate


def problem(response: httpx.Response, status: int, said: str = "") -> dict[str, Any]:
    """Check that an answer is a problem document of this status that says what was expected; returns it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].partition(";")[0] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["type"].startswith("urn:meshrelay:problem:")
    assert document["title"]
    assert len(document["detail"]) > 15
    assert said in response.text, response.text
    if status in (429, 503):
        assert int(response.headers["Retry-After"]) >= 1
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    return document


@contextlib.asynccontextmanager
async def own_servers(stack: EmbeddedStack) -> AsyncIterator[tuple[str, NatsProcess]]:
    """An empty database and an empty NATS, for as long as needed: for fixtures that several tests share."""
    name = f"test_{uuid.uuid4().hex}"
    server = stack.add_nats(f"nats-{name[5:13]}")
    await server.start()
    await _execute(stack.postgres_dsn, f"create database {name}")
    try:
        yield re.sub(r"/[^/]*$", f"/{name}", stack.postgres_dsn), server
    finally:
        await _execute(stack.postgres_dsn, f"drop database {name} with (force)")
        await stack.remove(server)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class UnderTest:
    """A relay's address and servers; knows nothing of how the relay is run."""

    def __init__(self, url: str, dsn: str, nats_server: NatsProcess, secret: str = SECRET) -> None:
        self.url = url
        self.dsn = dsn
        self.nats_server = nats_server
        self.secret = secret
        self.http = httpx.AsyncClient(base_url=url, timeout=WAIT_S)
        self._nats: Client | None = None

    async def close(self) -> None:
        """Close our own connections."""
        await self.http.aclose()
        if self._nats is not None:
            await self._nats.close()

    def token(self, sub: str = "ann", scope: str = "stream publish", ttl_s: float = 600, **claims: Any) -> str:
        """A token that the relay accepts."""
        return mint(self.secret, sub=sub, scope=scope, ttl_s=ttl_s, now=time.time(), **claims)

    def bearer(self, sub: str = "ann", **options: Any) -> dict[str, str]:
        """The header with a token."""
        return {"Authorization": f"Bearer {self.token(sub, **options)}"}

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        """Publish whatever this is: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        usual = {"Content-Type": "application/json", **self.bearer("publisher")}
        return await self.http.post("/v1/events", content=content, headers=usual | headers)

    async def publish(self, *events: dict[str, Any]) -> list[str]:
        """Publish valid events as one batch; answers their cursors."""
        response = await self.post(list(events))
        assert response.status_code == 202, response.text
        return [one["cursor"] for one in response.json()["events"]]

    async def raw(self, request: bytes, *, half_close: bool = False) -> bytes:
        """Send bytes over a connection of their own and read until the relay closes it."""
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request)
            if half_close:
                writer.write_eof()
            async with asyncio.timeout(WAIT_S):
                return await reader.read()
        finally:
            writer.close()

    @contextlib.asynccontextmanager
    async def stream(
        self, agent: str = "ann", *, last_event_id: str | None = None, token: str | None = None, **query: str
    ) -> AsyncIterator[SseReader]:
        """Open an agent's stream, whatever its status."""
        headers = {"Authorization": f"Bearer {token or self.token(agent)}"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        path = f"/v1/agents/{agent}/events"
        async with self.http.stream("GET", path, params=query, headers=headers) as response:
            if response.status_code != 200:
                await response.aread()
            yield SseReader(response)

    async def get(self, path: str, agent: str = "ann", **headers: str) -> httpx.Response:
        """Ask as this agent, for JSON."""
        usual = {"Accept": "application/json", **self.bearer(agent)}
        return await self.http.get(path, headers=usual | headers)

    async def page(self, agent: str = "ann", **query: Any) -> httpx.Response:
        """A page of an agent's events as JSON."""
        headers = {"Accept": "application/json", **self.bearer(agent)}
        return await self.http.get(f"/v1/agents/{agent}/events", params=query, headers=headers)

    async def ack(self, cursor: Any, agent: str = "ann") -> httpx.Response:
        """Acknowledge up to this cursor."""
        return await self.http.post(f"/v1/agents/{agent}/acks", json={"cursor": cursor}, headers=self.bearer(agent))

    async def metric(self, name: str, **labels: str) -> float:
        """One sample of the relay's metrics; 0.0 if it has none yet."""
        shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"{name}{{{shown}}}" if labels else name
        lines = (await self.http.get("/metrics")).text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == wanted), 0.0)

    async def rows(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        """Ask Postgres behind the relay's back."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return [dict(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    async def nats(self) -> Client:
        """A connection to NATS of our own."""
        if self._nats is None:
            self._nats = await nats.connect(self.nats_server.url, allow_reconnect=False)
        return self._nats

    async def inject(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> int:
        """Publish into the stream past the relay; answers the sequence."""
        return (await (await self.nats()).jetstream().publish(subject, body, headers=headers)).seq

    async def stream_state(self) -> tuple[int, int]:
        """The stream's number of messages and last sequence."""
        state = (await (await self.nats()).jetstream().stream_info(STREAM)).state
        return state.messages, state.last_seq

    async def stream_message(self, seq: int) -> RawStreamMsg:
        """One message of the stream."""
        return await (await self.nats()).jetstream().get_msg(STREAM, seq=seq)

    async def ask_jetstream(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request to JetStream's API, in its own words."""
        answer = await (await self.nats()).request(f"$JS.API.{subject}", json.dumps(body or {}).encode(), timeout=5.0)
        found: dict[str, Any] = json.loads(answer.data)
        return found

    async def session_consumers(self) -> list[str]:
        """The names of the consumers that sessions have made."""
        names: list[str] = (await self.ask_jetstream(f"CONSUMER.NAMES.{STREAM}"))["consumers"] or []
        return sorted(name for name in names if name.startswith("relay-"))

    async def everything(self) -> dict[str, Any]:
        """All that is stored, once nothing is under way: the stream's state, all rows of all tables but leases."""
        await self.settled()
        connection = await asyncpg.connect(self.dsn)
        try:
            tables = await connection.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
            found: dict[str, Any] = {"JetStream": await self.stream_state()}
            for table in sorted(row["name"] for row in tables):
                rows = [dict(row) for row in await connection.fetch(f"SELECT * FROM {table}")]
                kept = [{key: value for key, value in row.items() if key not in VOLATILE} for row in rows]
                found[table] = sorted(kept, key=repr)
            return found
        finally:
            await connection.close()

    async def decided(self, seq: int) -> None:
        """Wait until pg-writer's watermark has reached this sequence."""
        await eventually(lambda: self._watermark_reached(seq), f"a watermark of {seq}")

    async def settled(self) -> None:
        """Wait until everything in the stream is decided."""
        await self.decided((await self.stream_state())[1])

    async def watermark(self) -> int:
        """Where pg-writer's watermark is, as a stream sequence; 0 before the stream is adopted."""
        rows = await self.rows("SELECT watermark & ((1::bigint << 48) - 1) AS seq FROM event_stream")
        return int(rows[0]["seq"]) if rows else 0

    async def _watermark_reached(self, seq: int) -> bool:
        return await self.watermark() >= seq


class InProcess(UnderTest):
    """A relay in the test's own event loop."""

    relay: Relay

    @classmethod
    async def start(cls, dsn: str, nats_server: NatsProcess, *, host: Host | None = None, **settings: Any) -> InProcess:
        """Start a relay and wait until it is ready."""
        given: dict[str, Any] = {
            "nats_url": nats_server.url,
            "nats_monitor_url": nats_server.monitor_url,
            "postgres_dsn": dsn,
            "http_port": 0,
            "jwt_hs256_secret": SECRET,
        }
        relay = Relay(Settings(**(given | QUICK | settings)), host or Host.real())
        await relay.start()
        running = cls(f"http://127.0.0.1:{relay.port}", dsn, nats_server)
        running.relay = relay
        return running

    async def ready(self) -> InProcess:
        """Wait until it is ready."""
        await eventually(lambda: self.relay.readiness()[0], "a ready relay")
        return self

    async def swept(self) -> InProcess:
        """Wait until a sweep is noted: until then a session that reads the stream is told to come again."""
        await eventually(lambda: self.rows("SELECT 1 FROM sweep_mark WHERE completed_at IS NOT NULL"), "a first sweep")
        return self

    async def readable(self) -> None:
        """Wait until all of the stream is stored, and there for sessions to read: Redis is fed by somebody else."""
        await self.settled()
        last = (await self.stream_state())[1]
        news = getattr(self.relay._transport, "news", None)
        await eventually(lambda: news is None or seq_of(news.head or Position(0)) >= last, f"{last} to be fed")

    async def stop(self) -> None:
        """Close our connections, then drain the relay; a part of it that failed fails the test."""
        await self.close()
        await self.relay.drain()
        if self.relay.failed.done():
            raise self.relay.failed.result()


def under_test(process: RelayProcess, dsn: str, nats_server: NatsProcess, secret: str) -> UnderTest:
    """A relay that runs as a process."""
    return UnderTest(process.url, dsn, nats_server, secret)
