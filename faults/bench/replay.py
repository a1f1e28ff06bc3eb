"""Replay: how fast an agent that was long away is caught up, beside plain cursor reads of the same rows.

The relay's side begins when the agent connects and ends with its last event read: HTTP, token, place, pages, frames and
the socket. The baseline reads position, type and payload by a server-side cursor, a relay's page at a time, and throws
them away.
"""

from __future__ import annotations

import contextlib
import time

from faults.bench.child import running
from faults.bench.figures import Figure, Target
from faults.bench.ground import QUIET, FreshDatabase, Ground, rest
from faults.bench.load import ORDINAL, Load, agent_name, make_events, rows
from faults.bench.progress import Progress
from system.cursor import pack

READ_LIMIT_S = 120.0
FRAMES_BESIDE = 1
"""The bookmark at the end of the replay."""
BARE_SELECT = "SELECT pos, type, payload FROM agent_events WHERE agent = $1 ORDER BY pos"


async def measure(ground: Ground, progress: Progress, *, runs: int, events: int) -> list[Figure]:
    """The figure for one agent with so many retained events."""
    page_rows = ground.settings.page_rows
    figure = Figure(
        name="replay",
        unit="events/s",
        ours=f"relay: {events} events to one agent over SSE, from connecting to the last byte read",
        bare=f"asyncpg cursor over the same rows, {page_rows} a fetch, thrown away",
        more_is_better=True,
        target=Target(ratio_min=0.4),
    )
    async with contextlib.AsyncExitStack() as stack:
        progress.say(f"storing {events} events")
        database = await stack.enter_async_context(ground.database())
        await database.adopt(hold_lease=True)
        await database.copy(rows(list(make_events(Load(events=events, agents=1)))))
        await database.move_watermark(pack(ORDINAL, events))
        await database.settle()
        relay = await stack.enter_async_context(ground.relay(database, **QUIET))
        reader = await stack.enter_async_context(running("reader"))
        requests = ground.stream_requests(1, cursor="earliest")
        for _ in progress.runs("replay", runs):
            bare_s = await _read_rows(database, page_rows=page_rows, events=events)
            await rest()
            read = await reader.do(
                "open",
                address=["127.0.0.1", relay.port],
                requests=requests,
                frames=events + FRAMES_BESIDE,
                timeout_s=READ_LIMIT_S,
            )
            await reader.do("close")
            await rest()
            figure.add(ours=events * 1e9 / (read["at_ns"] - read["started_ns"]), bare=events / bare_s)
    return [figure]


async def _read_rows(database: FreshDatabase, *, page_rows: int, events: int) -> float:
    """One run of the baseline; answers its time in s."""
    started = time.monotonic()
    count = 0
    async with database.connection.transaction(readonly=True):
        cursor = await database.connection.cursor(BARE_SELECT, agent_name(0))
        while page := await cursor.fetch(page_rows):
            count += len(page)
    took_s = time.monotonic() - started
    assert count == events, (count, events)
    return took_s
