"""Memory: what one idle SSE connection adds to the relay's process, beside a bare uvloop protocol's.

Each run has a fresh process, for memory once used is used again. A few connections come first, so that what a process
takes once is not counted; then the growth over many is divided by their number.
"""

from __future__ import annotations

import asyncio
import contextlib

from faults.bench.child import Child, rss_bytes, running
from faults.bench.figures import Figure, Target
from faults.bench.ground import FreshDatabase, Ground
from faults.bench.progress import Progress

WARM_UP = 50
OPENING_FRAMES = 1
SETTLE_S = 1.5
"""Past a tick of the sessions' clock and one of the guard's."""
LIMIT_S = 60.0


async def measure(ground: Ground, progress: Progress, *, runs: int, connections: int) -> list[Figure]:
    """The figure for so many idle connections."""
    figure = Figure(
        name="memory per connection",
        unit="KB",
        ours=f"relay: growth of its RSS over {connections} idle SSE connections",
        bare=f"a uvloop server: the same over {connections} accepted sockets that were answered",
        more_is_better=False,
        target=Target(ours_max=30.0),
    )
    async with ground.database() as database:
        await database.adopt(hold_lease=True)
        for _ in progress.runs(figure.name, runs):
            figure.add(ours=await _relay_kb(ground, database, connections), bare=await _bare_kb(ground, connections))
    return [figure]


async def _relay_kb(ground: Ground, database: FreshDatabase, connections: int) -> float:
    async with ground.relay(database) as relay, running("reader") as reader:
        assert relay.pid is not None
        return await _growth_kb(ground, reader, port=relay.port, pid=relay.pid, connections=connections)


async def _bare_kb(ground: Ground, connections: int) -> float:
    async with contextlib.AsyncExitStack() as stack:
        bare, reader = [await stack.enter_async_context(running(module)) for module in ("bare", "reader")]
        port = (await bare.do("listen"))["port"]
        return await _growth_kb(ground, reader, port=port, pid=bare.pid, connections=connections)


async def _growth_kb(ground: Ground, reader: Child, *, port: int, pid: int, connections: int) -> float:
    """What a connection adds to a process, in KB of 1,024 bytes."""
    requests = ground.stream_requests(WARM_UP + connections)
    opening = {"address": ["127.0.0.1", port], "timeout_s": LIMIT_S}
    await reader.do("open", requests=requests[:WARM_UP], frames=OPENING_FRAMES, **opening)
    await asyncio.sleep(SETTLE_S)
    before = rss_bytes(pid)
    await reader.do("open", requests=requests[WARM_UP:], frames=OPENING_FRAMES, **opening)
    await asyncio.sleep(SETTLE_S)
    return max(0.01, (rss_bytes(pid) - before) / connections / 1024)
