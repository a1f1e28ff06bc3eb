"""The redispatcher: publishes a `task.assigned` again that its agent has not acknowledged within the limit.

The copy's id follows from the original's id and the count, so that a retry after an unknown outcome, or by another
replica, is recognised by the stream and by the table.
"""

from __future__ import annotations

import asyncio

import structlog

from system import sql
from system.database import Database, DatabaseUnavailable
from system.event import Event, redispatch_text
from system.host import Host
from system.link import NatsLink, NatsUnavailable, describe, heed_cancellation
from system.metrics import Metrics
from system.settings import Settings
from system.stream import Published, TooLarge, publish_all

log = structlog.get_logger(__name__)

BATCH = 100


class Redispatcher:
    """Looks for overdue assignments every interval, for as long as its replica leads."""

    def __init__(self, settings: Settings, database: Database, link: NatsLink, host: Host, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._link = link
        self._host = host
        self._metrics = metrics

    async def run(self) -> None:
        """Redispatch for ever; what is away is tried again at the next interval."""
        interval_s = max(0.5, min(self._settings.redispatch_after_s / 4, 600.0))
        while True:
            try:
                while await self.redispatch_once() == BATCH:
                    pass
            except (DatabaseUnavailable, NatsUnavailable) as error:
                log.warning("redispatcher.unavailable", error=describe(error))
            await asyncio.sleep(interval_s * self._host.rng.uniform(0.8, 1.2))

    async def redispatch_once(self) -> int:
        """Publish at most a batch of overdue assignments again; returns how many are done with: confirmed, or given up.

        A copy that NATS does not take for its size never will be taken: its assignment is marked as redispatched as
        often as may be, or it would be asked for again and again ahead of the others.
        """
        rows = await self._database.fetch(sql.READ_OVERDUE, self._settings.redispatch_max, BATCH)
        if not rows:
            return 0
        events = []
        for row in rows:
            event_id, text = redispatch_text(row["payload"], count=row["count"] + 1)
            events.append(Event(event_id, "task.assigned", row["agent"], text))
        answers = await publish_all(
            self._link.current(),
            self._settings.stream,
            events,
            timeout_s=self._settings.publish_timeout_s,
            ttl_s=self._settings.ttl_rule(allowed=self._link.allows_ttl),
        )
        heed_cancellation()
        done = 0
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, TooLarge):
                await self._database.execute(sql.MARK_REDISPATCHED, row["pos"], self._settings.redispatch_max, 0.0)
                self._metrics.not_redispatched.inc()
                done += 1
                log.warning("redispatcher.too_large", agent=row["agent"], pos=row["pos"], error=describe(answer))
            if not isinstance(answer, Published):
                continue
            await self._database.execute(
                sql.MARK_REDISPATCHED, row["pos"], row["count"] + 1, self._settings.redispatch_after_s
            )
            self._metrics.redispatched.inc()
            done += 1
            log.warning("redispatcher.redispatched", agent=row["agent"], count=row["count"] + 1)
        return done
