"""Latency: from publishing over HTTP to reading the frame, at a steady rate, beside the two writes that it waits for.

The baseline is what any relay with the same promise must do before it may deliver: a JetStream publish answered by its
PubAck, then one row committed to Postgres (both with fsync), by nats-py and asyncpg alone. Both sides count from the
moment that an event was due, so that falling behind the rate is not hidden. The two rounds alternate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import aiohttp
import asyncpg
from nats.js.api import Header

from faults.bench.child import Child, running
from faults.bench.figures import Figure, percentile
from faults.bench.ground import FreshDatabase, Ground, rest
from faults.bench.load import ROW_COLUMNS, Load, make_events, rows
from faults.bench.progress import Progress
from faults.stack import RelayProcess
from system.event import Event, subject_of
from system.stream import read_state

BARE_TABLE = "bare_events"
BARE_INSERT = f"INSERT INTO {BARE_TABLE} ({', '.join(ROW_COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6)"
CONNECTIONS = 32
"""To the relay's HTTP side, and of the baseline to Postgres; enough that none waits for a free one."""
OPENING_FRAMES = 1
LIMIT_S = 60.0
PERCENTILES = (50, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast, for how long, to how many agents."""

    per_s: int
    seconds: float
    agents: int

    @property
    def events(self) -> int:
        """The events of one run."""
        return round(self.per_s * self.seconds)


async def measure(
    ground: Ground, progress: Progress, *, runs: int, per_s: int, seconds: float, agents: int
) -> list[Figure]:
    """A figure for each percentile."""
    rate = Rate(per_s=per_s, seconds=seconds, agents=agents)
    figures = [
        Figure(
            name=f"latency p{percent}",
            unit="ms",
            ours=f"relay: POST to SSE frame read, {per_s} events/s, {agents} agents",
            bare="JetStream publish to PubAck, then INSERT of the row, committed; at the same rate",
            more_is_better=False,
        )
        for percent in PERCENTILES
    ]
    async with contextlib.AsyncExitStack() as stack:
        progress.say(f"latency: opening {agents} streams")
        database = await stack.enter_async_context(ground.database())
        after_seq = (await read_state(ground.nc, ground.settings.stream)).last_seq
        await database.adopt(after_seq=after_seq, hold_lease=False)
        await database.connection.execute(f"CREATE TABLE {BARE_TABLE} (LIKE agent_events INCLUDING ALL)")
        relay = await stack.enter_async_context(ground.relay(database, BOOKMARK_S="3600", HEARTBEAT_S="3600"))
        reader = await stack.enter_async_context(running("reader"))
        await reader.do(
            "open",
            address=["127.0.0.1", relay.port],
            requests=ground.stream_requests(agents),
            frames=OPENING_FRAMES,
            timeout_s=LIMIT_S,
        )
        for number in progress.runs("latency", runs):
            bare_ms = await _store(ground, database, rate, seed=2 * number)
            await rest()
            ours_ms = await _deliver(ground, relay, reader, rate, seed=2 * number + 1)
            await rest()
            for figure, percent in zip(figures, PERCENTILES, strict=True):
                figure.add(ours=percentile(ours_ms, percent), bare=percentile(bare_ms, percent))
    return figures


async def _deliver(ground: Ground, relay: RelayProcess, reader: Child, rate: Rate, *, seed: int) -> list[float]:
    """One run of the relay; answers every event's time in ms."""
    reading = asyncio.create_task(
        reader.do("read", frames=rate.events, of_all=True, delays=True, timeout_s=rate.seconds + LIMIT_S)
    )
    headers = {"Authorization": f"Bearer {ground.token('bench', 'publish')}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:

        async def post(event: Event, due_ns: int) -> None:
            body = json.loads(event.text) | {"data": {"sent_ns": due_ns}}
            async with http.post(f"{relay.url}/v1/events", data=json.dumps(body, separators=(",", ":"))) as answer:
                assert answer.status == 202, await answer.text()

        await _paced(rate, seed, post)
    delays_ns: list[int] = (await reading)["delays_ns"]
    assert len(delays_ns) == rate.events, (len(delays_ns), rate.events)
    return [delay / 1e6 for delay in delays_ns]


async def _store(ground: Ground, database: FreshDatabase, rate: Rate, *, seed: int) -> list[float]:
    """One run of the baseline; answers every event's time in ms."""
    took_ms: list[float] = []
    js = ground.nc.jetstream()
    async with asyncpg.create_pool(database.dsn, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        # a stream of its own: the relay would deliver what goes to its own one
        await js.add_stream(name="BARE", subjects=["bare.>"])

        async def store(event: Event, due_ns: int) -> None:
            headers = {Header.MSG_ID.value: event.id}
            ack = await js.publish(
                f"bare.{subject_of(event.subject, event.type)}", event.text.encode(), headers=headers
            )
            await pool.execute(BARE_INSERT, *rows([event], after_seq=ack.seq)[0])
            took_ms.append((time.monotonic_ns() - due_ns) / 1e6)

        await _paced(rate, seed, store)
    return took_ms


async def _paced(rate: Rate, seed: int, send: Callable[[Event, int], Awaitable[None]]) -> None:
    """Send each event when it is due, whether or not those before it have arrived."""
    async with asyncio.TaskGroup() as group:
        for event, due_ns in _due(rate, seed):
            await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            group.create_task(send(event, due_ns))  # type: ignore[arg-type]


def _due(rate: Rate, seed: int) -> Iterator[tuple[Event, int]]:
    started_ns = time.monotonic_ns()
    for number, event in enumerate(make_events(Load(events=rate.events, agents=rate.agents, seed=seed))):
        yield event, started_ns + round(number * 1e9 / rate.per_s)
