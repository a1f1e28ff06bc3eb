"""Fan-out: how fast released events reach 500 SSE connections, beside uvloop writing the same bytes.

The relay is a whole one whose replica does not lead: the events are committed by us, above the watermark, and it begins
when the watermark moves. `TAIL_ROWS` sets how many events it releases at once, and with that the size of each write,
which the baseline repeats: as many writes, of the same bytes, to as many sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from faults.bench.child import Child, running
from faults.bench.figures import Figure, Target
from faults.bench.ground import QUIET, FreshDatabase, Ground, rest
from faults.bench.load import ORDINAL, Load, make_events, rows
from faults.bench.progress import Progress
from system.cursor import pack

OPENING_FRAMES = 1
"""The bookmark with which a session goes live, `retry` before it."""
READ_LIMIT_S = 120.0
TARGET = Target(ratio_min=0.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is fanned out: a load, and how many events go out at once."""

    name: str
    load: Load
    per_round: int

    @property
    def frames_each(self) -> int:
        """The frames that every agent receives."""
        return self.load.events if self.load.broadcast else self.load.events // self.load.agents

    @property
    def deliveries(self) -> int:
        """The frames that all receive."""
        return self.frames_each * self.load.agents


def shapes(agents: int, events_each: int) -> list[Shape]:
    """Broadcasts one at a time (the smallest writes there are), and events of their own for every agent at once."""
    return [
        Shape(name="broadcast", load=Load(events=events_each, agents=agents, broadcast=True), per_round=1),
        Shape(name="addressed", load=Load(events=events_each * agents, agents=agents), per_round=agents),
    ]


async def measure(ground: Ground, progress: Progress, *, runs: int, agents: int, events_each: int) -> list[Figure]:
    """A figure for each shape."""
    return [await _measure_shape(ground, progress, shape, runs) for shape in shapes(agents, events_each)]


async def _measure_shape(ground: Ground, progress: Progress, shape: Shape, runs: int) -> Figure:
    agents = shape.load.agents
    one = "one broadcast" if shape.load.broadcast else "an event of its own for every agent"
    figure = Figure(
        name=f"fan-out, {shape.name}",
        unit="deliveries/s",
        ours=f"relay, tail and hub: {shape.frames_each} times {one} to {agents} SSE connections",
        bare=f"a uvloop server: the same bytes in the same {shape.frames_each * agents} writes",
        more_is_better=True,
        target=TARGET,
    )
    progress.say(f"{figure.name}: opening {agents} streams twice")
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(ground.database())
        await database.adopt(hold_lease=True)
        settings = QUIET | {"TAIL_ROWS": str(shape.per_round), "TAIL_POLL_S": "5"}
        relay = await stack.enter_async_context(ground.relay(database, **settings))
        reader, bare_reader, bare = [
            await stack.enter_async_context(running(module)) for module in ("reader", "reader", "bare")
        ]
        opening = {"requests": ground.stream_requests(agents), "frames": OPENING_FRAMES, "timeout_s": READ_LIMIT_S}
        await reader.do("open", address=["127.0.0.1", relay.port], **opening)
        listening = await bare.do("listen")
        await bare_reader.do("open", address=["127.0.0.1", listening["port"]], **opening)
        await bare.do("prepare", load=shape.load.document(), per_round=shape.per_round)
        for number in progress.runs(figure.name, runs):
            bare_s = await _write(bare, bare_reader, shape)
            await rest()
            ours_s = await _release(database, reader, shape, run=number)
            await rest()
            figure.add(ours=shape.deliveries / ours_s, bare=shape.deliveries / bare_s)
    return figure


async def _write(bare: Child, reader: Child, shape: Shape) -> float:
    """One run of the baseline; answers its time in s, to the last byte read."""
    reading = asyncio.create_task(reader.do("read", frames=shape.frames_each, timeout_s=READ_LIMIT_S))
    wrote = await bare.do("write")
    read = await reading
    assert read["frames"] == shape.deliveries, read
    return float(read["at_ns"] - wrote["started_ns"]) / 1e9


async def _release(database: FreshDatabase, reader: Child, shape: Shape, *, run: int) -> float:
    """One run of the relay; answers its time in s, from the moving of the watermark to the last byte read."""
    after_seq = (run - 1) * shape.load.events
    load = Load(**shape.load.document() | {"seed": run})  # ids are stored once
    await database.copy(rows(list(make_events(load)), after_seq=after_seq))
    await database.settle()
    reading = asyncio.create_task(reader.do("read", frames=shape.frames_each, timeout_s=READ_LIMIT_S))
    started_ns = await database.move_watermark(pack(ORDINAL, after_seq + load.events))
    await database.hint()
    read = await reading
    assert read["frames"] == shape.deliveries, read
    return float(read["at_ns"] - started_ns) / 1e9
