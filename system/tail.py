"""The live tail: follows the watermark in Postgres and releases what lies below it to the hub.

It reads Postgres, not the stream: an event is released exactly when it is decided (stored once, in order, with its
repeats and dead letters left out), so that live and replay can never disagree, and a slow or reset consumer can lose
nothing. A hint over NATS wakes it within a millisecond of a commit. Hints may be lost, so it also polls: often where
hints can't come or the stream is known to be ahead, seldom where nothing says that there is anything to read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog

from system import hints, sql
from system.cursor import Position, ordinal_of, seq_of
from system.database import Database, DatabaseUnavailable
from system.frames import event_frame
from system.host import Host
from system.hub import Hub, Released
from system.link import NatsLink, describe
from system.metrics import Metrics
from system.places import Places
from system.settings import Settings

log = structlog.get_logger(__name__)

_FAR = Position(1 << 62)


class _Reading(NamedTuple):
    """What one statement found: the stream's own row, then at most so many events."""

    rows_max: int
    rows: Sequence[Any]


class Tail:
    """Feeds the hub of one replica."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        link: NatsLink,
        host: Host,
        metrics: Metrics,
        *,
        places: Places,
        hub: Hub,
        on_epoch: Callable[[], None],
        on_moved: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._link = link
        self._host = host
        self._metrics = metrics
        self._places = places
        self._hub = hub
        self._on_epoch = on_epoch
        self._on_moved = on_moved
        self._rows_limit = settings.tail_rows if settings.transport == "cursor" else 0
        """Nought where sessions read elsewhere: then only the watermark and the epoch are followed."""
        self._rows_max = self._rows_limit
        self._ahead: asyncio.Task[_Reading] | None = None
        self._is_hinted = False
        self._expected_at: float | None = None
        """Loop time at which the stream was first heard to be ahead of what was read last."""
        self._stir = asyncio.Event()
        self._moved = asyncio.Event()
        self._read_again = asyncio.Event()
        self._is_listening = False
        self.read_at: float | None = None
        """Loop time of the last answer of Postgres about the watermark, in s; readiness looks at it."""

    async def run(self) -> None:
        """Follow the watermark for ever."""
        self._link.on_stored = self._expect
        try:
            async with asyncio.TaskGroup() as group:
                listening = hints.listen(self._link, hints.WATERMARK_SUBJECT, hint=self._hint, listening=self._listens)
                group.create_task(listening, name="tail-hints")
                group.create_task(self._follow(), name="tail")
        finally:
            if self._ahead is not None:
                self._ahead.cancel()

    def announce(self) -> None:
        """A head has moved that sessions are marked by: ours, or a transport's own."""
        self._on_moved()

    async def wait_moved(self, timeout_s: float) -> None:
        """Wait until the head moves, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()

    def heard(self, watermark: Position) -> None:
        """Take a watermark that another statement has read: as good as a poll, and a hint if it is not the head."""
        self.read_at = asyncio.get_running_loop().time()
        if watermark != self._hub.head:
            self._hint()

    async def prove(self, silence_s: float) -> None:
        """If nothing was read for so long, read, and wait until that is done, for as long as it takes."""
        while self.read_at is None or asyncio.get_running_loop().time() - self.read_at > silence_s:
            self._read_again.clear()
            self._hint()
            await self._read_again.wait()

    def _hint(self) -> None:
        """It is worth to read now."""
        self._is_hinted = True
        self._stir.set()

    def _expect(self) -> None:
        """A hint is to come: one that does not is not waited for as long as if nothing was known."""
        if self._is_behind() and self._expected_at is None:
            self._expected_at = asyncio.get_running_loop().time()
            self._stir.set()

    def _is_behind(self) -> bool:
        return self._link.last_seq > seq_of(self._hub.head)

    def _listens(self, is_listening: bool) -> None:
        self._is_listening = is_listening

    async def _follow(self) -> None:
        while True:
            try:
                more = await self._step()
            except DatabaseUnavailable as error:
                # what did not come through within the limit is asked for in smaller pieces
                self._rows_max = max(min(1, self._rows_limit), self._rows_max // 4)
                log.warning("tail.database_unavailable", error=describe(error))
                await asyncio.sleep(self._host.rng.uniform(0.1, 0.5))
                continue
            if not more:
                await self._wait_for_hint()

    async def _wait_for_hint(self) -> None:
        """Wait for a hint, or until nothing was heard of the watermark for too long."""
        loop = asyncio.get_running_loop()
        while not self._is_hinted:
            due = max(self.read_at or 0.0, self._expected_at or 0.0) + self._poll_s()
            if due <= loop.time():
                break
            self._stir.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._stir.wait()
        self._is_hinted = False

    def _poll_s(self) -> float:
        """How long to wait for a hint: long only if one would come, and there is nothing known to wait for."""
        settings = self._settings
        if not self._is_listening or self._hub.start is None or self._is_behind():
            return settings.tail_poll_s
        # whoever looks after the lease reads the watermark within `idle_check_s` and tells: this is for when it can't
        return max(settings.tail_poll_s, 2 * settings.idle_check_s)

    async def _step(self) -> bool:
        """Read and release the next events; answers whether there may be more at once."""
        hub = self._hub
        ahead, self._ahead = self._ahead, None
        reading = await (ahead or self._read(_FAR if hub.start is None else hub.head))
        self._rows_max = min(self._rows_limit, reading.rows_max * 2)
        self.read_at = asyncio.get_running_loop().time()
        self._read_again.set()
        self._expected_at = None
        if not reading.rows:
            return False  # the stream is not adopted yet
        watermark = Position(reading.rows[0]["watermark"])
        self._metrics.watermark.set(seq_of(watermark))
        await self._places.ensure_tag(watermark)
        if not self._goes_on(watermark, reading.rows[0]["swept"]):
            return False
        full = len(reading.rows) > 1 and reading.rows[0]["has_more"]
        head = Position(reading.rows[-1]["pos"]) if full else watermark
        if full:
            await self._read_ahead(head)
        elif head == hub.head:
            return False
        prefix = self._places.prefix_of(ordinal_of(watermark))
        hub.release(
            [
                Released(pos, agent, kind, event_frame(f"{prefix}{seq_of(pos)}", kind, text))
                for _, _, _, pos, agent, kind, text in reading.rows[1:]
            ],
            head,
        )
        self._tell_moved()
        self._on_moved()
        return full

    def _goes_on(self, watermark: Position, swept: int) -> bool:
        """Whether what was read follows the hub's head without a hole; if not, the hub is set to where it does."""
        hub = self._hub
        if hub.start is None:
            self._reset(watermark)
            return False
        if ordinal_of(watermark) != ordinal_of(hub.head):
            log.error("tail.new_epoch", watermark=seq_of(watermark))
            self._reset(watermark)
            self._on_epoch()
            return False
        if watermark < hub.head:
            # an older state of the database (a failover that lost commits); the same positions will come again
            log.error("tail.watermark_moved_back", head=seq_of(hub.head), watermark=seq_of(watermark))
            return False
        if swept > hub.head:
            # a sweep got ahead of us: what it deleted was never released here; replay tells each agent exactly
            self._metrics.hub_resets.inc()
            log.warning("tail.overtaken_by_sweep", head=seq_of(hub.head), swept=seq_of(Position(swept)))
            self._reset(watermark)
            return False
        return True

    def _reset(self, watermark: Position) -> None:
        self._hub.reset(watermark)
        self._tell_moved()

    def _tell_moved(self) -> None:
        self._moved.set()
        self._moved.clear()

    async def _read(self, after: Position) -> _Reading:
        rows_max, settings = self._rows_max, self._settings
        rows = await self._database.fetch(sql.READ_TAIL, settings.stream, after, rows_max, settings.page_bytes)
        return _Reading(rows_max, rows)

    async def _read_ahead(self, after: Position) -> None:
        """Have Postgres look for the next events while these are made into frames and sent."""
        self._ahead = asyncio.get_running_loop().create_task(self._read(after), name="tail-ahead")
        for _ in range(2):  # once for the task to ask, once for what it asked to leave
            await asyncio.sleep(0)
