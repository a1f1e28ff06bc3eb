"""The sweeper: deletes what is past retention and raises the floors, in one statement, a bounded piece at a time.

Age is Postgres's own `now()` against its own `persisted_at`: no other clock can expire anything.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from system import sql
from system.database import Database, DatabaseUnavailable
from system.event import RetentionClass
from system.host import Host
from system.link import describe
from system.metrics import Metrics
from system.settings import SWEEP_JITTER, Settings

log = structlog.get_logger(__name__)

PRUNE_INTERVAL_S = 3_600.0
"""How often old dead letters are looked for, which are kept for weeks."""
PRUNE_LIMITS = 4
"""Of the usual limit: no index tells old ones, and after a flood there may be millions."""
CHUNK_ROWS = 1_000
"""One statement's work: 3 to 10 ms, so that locks and WAL stay small."""


class Sweeper:
    """Sweeps both classes every interval, for as long as its replica leads."""

    def __init__(self, settings: Settings, database: Database, host: Host, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._host = host
        self._metrics = metrics
        self._chunk_rows = CHUNK_ROWS

    async def run(self) -> None:
        """Sweep for ever; a database that is away is tried again at the next interval."""
        loop = asyncio.get_running_loop()
        prune_at = loop.time()
        while True:
            try:
                await self.sweep()
                if loop.time() >= prune_at:
                    await self._prune()
                    prune_at = loop.time() + PRUNE_INTERVAL_S
            except DatabaseUnavailable as error:
                # what did not come to its end within the limit is done in smaller pieces
                self._chunk_rows = max(1, self._chunk_rows // 4)
                log.warning("sweeper.database_unavailable", error=describe(error))
            await asyncio.sleep(self._settings.sweep_interval_s * self._host.rng.uniform(0.8, SWEEP_JITTER))

    async def sweep(self) -> int:
        """Delete everything past retention now; returns the number of rows deleted."""
        # noted only where it is asked for: a transport that reads the stream must know how old the floors are
        is_noted = self._settings.transport == "jetstream"
        begun = await self._database.fetchrow(sql.READ_CLOCK) if is_noted else None
        total = await self._sweep_all()
        if begun is not None:
            await self._database.execute(sql.NOTE_SWEPT, self._settings.stream, begun["now"])
        if total:
            log.info("sweeper.swept", rows=total)
        return total

    async def _prune(self) -> None:
        patient = self._database.patient(PRUNE_LIMITS * self._settings.database_timeout_s)
        try:
            await patient.execute(sql.PRUNE_DEAD_LETTERS, self._settings.dead_letter_retention_s)
        finally:
            await patient.close()

    async def _sweep_all(self) -> int:
        total = 0
        for kept_class in RetentionClass:
            # each sweep begins at the bottom, whatever Postgres's clock did since; within one, a piece begins where the
            # last one ended: while an old snapshot is open, passing over dead entries costs as much as reading rows
            since: datetime | None = None
            while True:
                rows_max = self._chunk_rows
                row = await self._database.fetchrow(
                    sql.SWEEP,
                    self._settings.stream,
                    kept_class.value,
                    self._settings.retention_s(kept_class),
                    rows_max,
                    since,
                )
                since = row["last"]
                total += row["count"]
                self._metrics.swept.labels(kept_class.name.lower()).inc(row["count"])
                self._chunk_rows = min(CHUNK_ROWS, rows_max * 2)
                if row["count"] < rows_max:
                    break
                # leaves room between pieces for readers and the writer
                await asyncio.sleep(self._settings.sweep_pause_s)
        return total
