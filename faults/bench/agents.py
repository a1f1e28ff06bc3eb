"""Cost: the processor time that the relay spends on one delivered event, as agents become more.

The relay is a replica that does not lead; what pg-writer spends is the ingest's affair. We commit for it: every tick
the watermark moves over ten events, each for another agent, so that a release is as small as it is at that rate in
life. The baseline writes the same bytes at the same times to as many sockets, and knows them beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from faults.bench.child import Child, cpu_s, running
from faults.bench.figures import Figure
from faults.bench.ground import QUIET, FreshDatabase, Ground, rest
from faults.bench.load import ORDINAL, Load, make_events, rows
from faults.bench.progress import Progress
from system.cursor import pack

AGENTS = (10, 100, 1_000)
PER_TICK = 10
TICK_S = 0.01
OPENING_FRAMES = 1
LIMIT_S = 60.0
CLOCK_TICK_S = 0.01
"""The finest processor time that the kernel tells of another process."""


async def measure(
    ground: Ground, progress: Progress, *, runs: int, events: int, agents: tuple[int, ...] = AGENTS
) -> list[Figure]:
    """A figure for each number of agents."""
    return [await _measure(ground, progress, runs=runs, load=Load(events=events, agents=count)) for count in agents]


async def _measure(ground: Ground, progress: Progress, *, runs: int, load: Load) -> Figure:
    per_s = round(PER_TICK / TICK_S)
    figure = Figure(
        name=f"CPU per delivery, {load.agents} agents",
        unit="µs",
        ours=f"relay, tail and hub: its processor time per event, {per_s} events/s to {load.agents} agents in turn",
        bare="a uvloop server: its processor time per event, the same bytes at the same times to as many sockets",
        more_is_better=False,
    )
    async with contextlib.AsyncExitStack() as stack:
        progress.say(f"{figure.name}: opening {load.agents} streams twice")
        database = await stack.enter_async_context(ground.database())
        await database.adopt(hold_lease=True)
        await database.connection.execute("SET synchronous_commit = off")  # our commits are not what is measured
        relay = await stack.enter_async_context(ground.relay(database, **QUIET))
        assert relay.pid is not None
        reader, bare_reader, bare = [
            await stack.enter_async_context(running(module)) for module in ("reader", "reader", "bare")
        ]
        opening = {"requests": ground.stream_requests(load.agents), "frames": OPENING_FRAMES, "timeout_s": LIMIT_S}
        await reader.do("open", address=["127.0.0.1", relay.port], **opening)
        await bare_reader.do("open", address=["127.0.0.1", (await bare.do("listen"))["port"]], **opening)
        await bare.do("prepare", load=load.document(), per_round=PER_TICK)
        for number in progress.runs(figure.name, runs):
            bare_s = await _write(bare, bare_reader, load)
            await rest()
            ours_s = await _release(database, relay.pid, reader, load, run=number)
            await rest()
            figure.add(ours=ours_s / load.events * 1e6, bare=bare_s / load.events * 1e6)
    return figure


async def _write(bare: Child, reader: Child, load: Load) -> float:
    """One run of the baseline; answers its processor time in s."""
    reading = asyncio.create_task(reader.do("read", frames=load.events, of_all=True, timeout_s=LIMIT_S))
    before_s = cpu_s(bare.pid)
    await bare.do("write", round_s=TICK_S)
    await reading
    return max(CLOCK_TICK_S, cpu_s(bare.pid) - before_s)


async def _release(database: FreshDatabase, pid: int, reader: Child, load: Load, *, run: int) -> float:
    """One run of the relay; answers its processor time in s."""
    after_seq = (run - 1) * load.events
    seeded = Load(**load.document() | {"seed": run})  # ids are stored once
    await database.copy(rows(list(make_events(seeded)), after_seq=after_seq))
    await database.settle()
    reading = asyncio.create_task(reader.do("read", frames=load.events, of_all=True, timeout_s=LIMIT_S))
    before_s = cpu_s(pid)
    started = time.monotonic()
    for tick, last in enumerate(range(PER_TICK, load.events + 1, PER_TICK), start=1):
        await database.move_watermark(pack(ORDINAL, after_seq + last))
        await database.hint()
        await asyncio.sleep(max(0.0, started + tick * TICK_S - time.monotonic()))
    await reading
    return max(CLOCK_TICK_S, cpu_s(pid) - before_s)
