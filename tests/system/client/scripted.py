"""A relay that does what a test says, byte by byte, over raw TCP; and an application and an observer that note all.

Nothing here knows HTTP beyond what one request needs, so that a test can send what no HTTP library would.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from system.client import AgentClient, ClientSettings, Delivery, GapNotice, GoneNotice, MemoryCursorStore, Observer
from system.client.store import CursorStore
from system.client.wire import Token
from system.host import Host

PATIENCE_S = 30.0
"""How long a condition may take on a loaded machine before the test gives up; never waited for in full."""

EPOCH = "abc234"
FLOORS: dict[str, str | None] = {"critical": "abc234-5", "standard": "abc234-7"}
RESYNC = "/v1/agents/alice/events?cursor=abc234-5&on_gone=skip"

FAST = ClientSettings(
    heartbeat_s=PATIENCE_S,
    backoff_base_s=0.01,
    backoff_base_min_s=0.001,
    backoff_max_s=0.02,
    ack_interval_s=None,
)
"""Back-off of at most 20 ms; a watchdog that no loaded machine triggers."""


@dataclass(kw_only=True)
class Exchange:
    """One request, waiting for the test's answer."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader
    over: asyncio.Event = field(default_factory=asyncio.Event)
    is_chunked: bool = False
    """What is sent goes out in chunks, as a relay's stream does: only so does a client see an end before the end."""

    @property
    def position(self) -> str | None:
        """The Last-Event-ID that was presented."""
        return self.headers.get("last-event-id")

    async def send(self, data: bytes) -> None:
        """Send bytes: raw, or as a chunk of a stream that has begun."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        """Answer whole and close; header names with `_` for `-`."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
        await self.send(f"HTTP/1.1 {status} Scripted\r\n".encode() + "\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.end()

    async def problem(self, status: int, /, *, retry_after: str | None = None, **members: object) -> None:
        """Answer with a problem document."""
        headers = {"Content_Type": "application/problem+json"}
        if retry_after is not None:
            headers["Retry_After"] = retry_after
        await self.answer(status, json.dumps({"status": status, **members}).encode(), **headers)

    async def gone(self, reason: str = "expired", resync: str = RESYNC) -> None:
        """Answer with the 410 of the contract."""
        await self.problem(410, reason=reason, floors=FLOORS, head="abc234-9", resync=resync)

    async def stream(self, *frames: bytes) -> None:
        """Begin an event stream that lasts until the connection ends, and send frames."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.send(head)
        self.is_chunked = True
        if frames:
            await self.send(b"".join(frames))

    def end(self) -> None:
        """Close in good order (FIN)."""
        if self.is_chunked:
            self.writer.write(b"0\r\n\r\n")
        self.writer.close()
        self.over.set()

    def cut(self) -> None:
        """Reset the connection (RST)."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.over.set()

    async def wait_hung_up(self) -> None:
        """Return once the client has closed its side."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass


class ScriptedRelay:
    """Accepts connections and hands each request to the test; acks are answered by themselves."""

    def __init__(self) -> None:
        self.base_url = ""
        self.acks: list[str] = []
        self.on_ack: Callable[[Exchange], Any] | None = None
        self._requests: asyncio.Queue[Exchange] = asyncio.Queue()

    async def request(self) -> Exchange:
        """The next request that is not an ack."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._requests.get()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        exchange = Exchange(method=method, target=target, headers=headers, body=body, writer=writer, reader=reader)
        if target.endswith("/acks"):
            await self._take_ack(exchange)
        else:
            self._requests.put_nowait(exchange)
        try:
            await exchange.over.wait()
        finally:
            writer.close()

    async def _take_ack(self, exchange: Exchange) -> None:
        if self.on_ack is not None:
            await self.on_ack(exchange)
            return
        cursor = json.loads(exchange.body)["cursor"]
        self.acks.append(cursor)
        await exchange.answer(200, json.dumps({"acked": cursor}).encode())


@asynccontextmanager
async def scripted_relay() -> AsyncIterator[ScriptedRelay]:
    """A scripted relay on a free loopback port."""
    relay = ScriptedRelay()
    serving: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(relay._serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    relay.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


class Application:
    """A handler that notes what it got, and fails or blocks where the test says."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.gaps: list[GapNotice] = []
        self.gones: list[GoneNotice] = []
        self.failing: dict[str, int] = {}
        """How often each event id (or `gone`) still fails."""
        self.gate = asyncio.Event()
        """Cleared by a test to block the handler."""
        self.gate.set()

    async def on_event(self, delivery: Delivery) -> None:
        self._fail(delivery.id)
        self.handled.append(delivery.id)
        await self.gate.wait()

    async def on_gap(self, notice: GapNotice) -> None:
        self.gaps.append(notice)

    async def on_gone(self, notice: GoneNotice) -> None:
        self._fail("gone")
        self.gones.append(notice)

    def _fail(self, what: str) -> None:
        if self.failing.get(what, 0) > 0:
            self.failing[what] -= 1
            raise LookupError(f"planted failure of {what}")


class Watcher(Observer):
    """Notes every call as a tuple: name, then arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def connecting(self, conn: int, presented: str | None, resync: bool) -> None:
        self.calls.append(("connecting", conn, presented, resync))

    def connected(self, conn: int, status: int, reason: str | None, headers: Mapping[str, str]) -> None:
        self.calls.append(("connected", conn, status, reason))

    def deliver(self, conn: int, cursor: str, event_id: str, event_type: str, addressee: str) -> None:
        self.calls.append(("deliver", conn, cursor, event_id, event_type, addressee))

    def bookmark(self, conn: int, cursor: str) -> None:
        self.calls.append(("bookmark", conn, cursor))

    def gap(self, conn: int, cursor: str | None, notice: GapNotice) -> None:
        self.calls.append(("gap", conn, cursor))

    def gone(self, conn: int, cursor: str | None, notice: GoneNotice) -> None:
        self.calls.append(("gone", conn, cursor, notice.via))

    def closed(self, conn: int, why: str) -> None:
        self.calls.append(("closed", conn, why))

    def saved(self, cursor: str) -> None:
        self.calls.append(("saved", cursor))

    def acked(self, cursor: str) -> None:
        self.calls.append(("acked", cursor))

    def ack_failed(self, cursor: str, why: str) -> None:
        self.calls.append(("ack_failed", cursor, why))

    def waiting(self, delay_s: float, why: str) -> None:
        self.calls.append(("waiting", delay_s, why))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of all calls of one name."""
        return [call[1:] for call in self.calls if call[0] == name]


@dataclass(kw_only=True)
class Running:
    """A client at work against a scripted relay."""

    client: AgentClient
    app: Application
    seen: Watcher
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """Stop in good order and wait for the end."""
        self.client.stop()
        await self.ended()

    async def ended(self) -> None:
        """Wait until run() is over; raises what it raises."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(self.task)


@asynccontextmanager
async def running(
    relay: ScriptedRelay,
    *,
    store: CursorStore | None = None,
    settings: ClientSettings = FAST,
    token: Token = "good",
    types: tuple[str, ...] = (),
    app: Application | None = None,
    seen: Watcher | None = None,
) -> AsyncIterator[Running]:
    """A client that runs for the length of the block; at its end every connection has been closed exactly once."""
    app = app or Application()
    seen = seen or Watcher()
    client = AgentClient(
        relay.base_url,
        "alice",
        token,
        app,
        MemoryCursorStore() if store is None else store,
        seeded_host(),
        types=types,
        settings=settings,
        observer=seen,
    )
    task = asyncio.create_task(client.run())
    try:
        yield Running(client=client, app=app, seen=seen, task=task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        tried = [conn for conn, *_ in seen.named("connecting")]
        assert [conn for conn, _ in seen.named("closed")] == tried == list(range(1, len(tried) + 1))


def seeded_host() -> Host:
    """A host whose jitter is the same in every run, and whose wall clock stands still."""
    rng = random.Random(7)
    return Host(wall=lambda: 1_000_000_000.0, rng=rng, new_id=lambda: f"{rng.getrandbits(128):032x}")


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait for a condition that other tasks bring about."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - the conditions are many, and nobody announces them
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"expected {what} within {PATIENCE_S} s") from None


def cursor(seq: int) -> str:
    """The cursor of a sequence."""
    return f"{EPOCH}-{seq}"


def event(seq: int, *, event_type: str = "task.assigned", subject: str = "alice", epoch: str = EPOCH) -> bytes:
    """The frame of event `e<seq>`."""
    data = {"specversion": "1.0", "id": f"e{seq}", "source": "/t", "type": event_type, "subject": subject, "data": seq}
    return f"id: {epoch}-{seq}\nevent: {event_type}\ndata: {json.dumps(data)}\n\n".encode()


def bookmark(seq: int) -> bytes:
    """The frame of a bookmark."""
    return f"id: {EPOCH}-{seq}\nevent: relay.cursor\ndata: {{}}\n\n".encode()


def control(name: str, **members: object) -> bytes:
    """The frame of a notice, without id."""
    return f"event: relay.{name}\ndata: {json.dumps(members)}\n\n".encode()


def closing(reason: str, retry_ms: int = 1) -> bytes:
    """The frames by which the relay announces its closing."""
    return f"retry: {retry_ms}\n\n".encode() + control("close", reason=reason, retry_ms=retry_ms)


def lost(reason: str = "expired", resync: str = RESYNC) -> bytes:
    """The frame of a loss notice."""
    return control("gone", status=410, reason=reason, floors=FLOORS, head="abc234-9", resync=resync)
