"""Ingest: how fast pg-writer brings a backlog from the stream into Postgres, beside COPY of the same rows.

The relay's side is its Writer in this process: from the moment that it leads, over finding its place and making its
consumer, to the watermark at the stream's head. The baseline has its rows ready in memory, writes them in one
transaction, and need not check, order, deduplicate or acknowledge anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats
from nats.aio.msg import Msg

from faults.bench.figures import Figure, Target
from faults.bench.ground import FreshDatabase, Ground, rest
from faults.bench.load import Load, make_events, rows
from faults.bench.progress import Progress
from system.cursor import seq_of
from system.database import Database
from system.event import Event
from system.hints import WATERMARK_SUBJECT
from system.host import Host
from system.link import NatsLink
from system.metrics import Metrics
from system.stream import WRITER, Published, ensure_stream, publish_all, read_state, stream_config
from system.writer import Writer

RUN_LIMIT_S = 120.0
PUBLISH_AT_ONCE = 1_000
BARE_TABLE = "bare_events"
SYNCED = "sync_interval: always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Events in the stream, and the sequence before the first of them."""

    events: list[Event]
    after_seq: int

    @property
    def head_seq(self) -> int:
        """The sequence of the last one."""
        return self.after_seq + len(self.events)


async def measure(ground: Ground, progress: Progress, *, runs: int, events: int) -> list[Figure]:
    """The figure for one backlog, written anew into a fresh database in every run."""
    figure = Figure(
        name="ingest",
        unit="events/s",
        ours=f"pg-writer: {events} events from JetStream to the watermark, {ground.settings.writer_batch} a commit",
        bare="asyncpg COPY of the same rows into a table with the same indexes, one transaction",
        more_is_better=True,
        target=Target(ratio_min=0.4),
    )
    progress.say(f"publishing a backlog of {events}")
    async with _filled(ground, Load(events=events, agents=200)) as (link, backlog):
        gc.collect()
        gc.freeze()  # the backlog in this process is ours, not pg-writer's: its collector need not walk it
        for _ in progress.runs("ingest", runs):
            async with ground.database() as database:
                bare_s = await _copy(database, backlog)
                await rest()
                ours_s = await _write(ground, link, database, backlog)
            figure.add(ours=events / ours_s, bare=events / bare_s)
        gc.unfreeze()
    return [figure]


@contextlib.asynccontextmanager
async def _filled(ground: Ground, load: Load) -> AsyncIterator[tuple[NatsLink, Backlog]]:
    """A NATS server of its own that holds the backlog, and a connection to it as the relay keeps it.

    It is filled without fsync, which would take minutes, and then runs as all servers of the stack do.
    """
    server = ground.stack.add_nats("nats-backlog")
    config = server.spec.folder / "nats.conf"
    text = config.read_text()
    assert SYNCED in text, text
    try:
        config.write_text(text.replace(SYNCED, "sync_interval: 2m"))
        await server.start()
        async with _linked(ground, server.url) as link:
            backlog = await _publish(ground, link, load)
        config.write_text(text)
        await server.restart()
        async with _linked(ground, server.url) as link:
            yield link, backlog
    finally:
        await ground.stack.remove(server)


async def _publish(ground: Ground, link: NatsLink, load: Load) -> Backlog:
    """Fill the stream with a load."""
    connection = await link.wait_connected()
    await ensure_stream(connection.js, stream_config(ground.settings.stream, **ground.settings.stream_limits()))
    after_seq = (await read_state(connection.nc, ground.settings.stream)).last_seq
    events = list(make_events(load))
    for start in range(0, len(events), PUBLISH_AT_ONCE):
        piece = events[start : start + PUBLISH_AT_ONCE]
        answers = await publish_all(connection, ground.settings.stream, piece, timeout_s=60.0)
        assert all(isinstance(one, Published) and not one.duplicate for one in answers), answers[:3]
    return Backlog(events=events, after_seq=after_seq)


async def _copy(database: FreshDatabase, backlog: Backlog) -> float:
    """The baseline; answers its time in s."""
    await database.connection.execute(f"CREATE TABLE {BARE_TABLE} (LIKE agent_events INCLUDING ALL)")
    records = rows(backlog.events, after_seq=backlog.after_seq)
    await database.connection.execute("CHECKPOINT")
    started = time.monotonic()
    await database.copy(records, BARE_TABLE)
    took_s = time.monotonic() - started
    await database.connection.execute("CHECKPOINT")
    return took_s


async def _write(ground: Ground, link: NatsLink, database: FreshDatabase, backlog: Backlog) -> float:
    """One run of pg-writer; answers its time in s."""
    connection = await link.wait_connected()
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await connection.js.delete_consumer(ground.settings.stream, WRITER)
    created = (await read_state(connection.nc, ground.settings.stream)).created
    fence = await database.adopt(after_seq=backlog.after_seq, hold_lease=True, created=created)
    assert fence is not None
    arrived = asyncio.Event()

    async def hinted(message: Msg) -> None:
        if seq_of(int(message.data)) >= backlog.head_seq:
            arrived.set()

    subscription = await connection.nc.subscribe(WATERMARK_SUBJECT, cb=hinted)
    await connection.nc.flush()
    pool = Database(database.dsn, size_max=4, timeout_s=ground.settings.database_timeout_s)
    writer = Writer(ground.settings, pool, link, Host.real(), Metrics())
    started = time.monotonic()
    task = asyncio.create_task(writer.run(fence))
    try:
        await asyncio.wait_for(arrived.wait(), RUN_LIMIT_S)
        took_s = time.monotonic() - started
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await subscription.unsubscribe()
        await pool.close()
    stored = await database.connection.fetchval("SELECT count(*) FROM agent_events")
    assert stored == len(backlog.events), (stored, len(backlog.events))
    return took_s


@contextlib.asynccontextmanager
async def _linked(ground: Ground, url: str) -> AsyncIterator[NatsLink]:
    """A connection to NATS as the relay keeps it."""
    link = NatsLink(
        url,
        host=Host.real(),
        name="bench",
        stream=ground.settings.stream,
        timeout_s=5.0,
        probe_interval_s=2.5,
    )
    link.start()
    try:
        yield link
    finally:
        await link.stop()
