"""One session's way into the stream: a consumer of its own, made anew from the session's place whenever it is gone.

What has come waits here, bounded, until the session asks for a page. Three rules make its pages as good as the table's:

1. **Below the boundary the table tells.** What the stream no longer has, what is partly gone by the floors, what an
   epoch reads again that the one before had decided, and what pg-writer stored late, is read from Postgres as with
   option C. Beyond the boundary everything is read from the stream.
2. **First the messages, then the floors.** What is gone is decided by Postgres alone, whose floors are read after the
   messages of the page: what lies at or below them and is not stored is gone though the stream may still have it. The
   stream keeps events longer than Postgres, by the margin, so what it does not have any more lies below a floor, as
   long as the floors are not older than half the margin; if they are, nothing is told at all (NotReady).
3. **Who is caught up needs no floors.** Messages that come while less than the shortest retention has passed since
   nothing was left to come can't have been preceded by one that expired unseen. So Postgres may be away meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import structlog
from nats.errors import Error as NatsError

from system import sql
from system.cursor import Position, ordinal_of, pack, seq_of
from system.direct import Delivered
from system.event import EventInvalid, read_message
from system.hub import LiveSession, Released
from system.link import Connection, NatsUnavailable, describe, heed_cancellation
from system.places import NotReady
from system.pull import PullEnded, PullReader
from system.session import NOTHING_TOLD, Page, PageRow
from system.stream import read_state
from system.transport.arrivals import Arrival, Arrivals, Cut
from system.transport.consumer import consumer_name, make_consumer
from system.transport.ground import Ground, doubtful
from system.transport.parts import Parts, Registry

log = structlog.get_logger(__name__)

BATCH = 64
"""Messages of one pull request: two of these may wait beyond the limits below."""
WAITING_MAX = 512
"""Messages that wait for a session whose client is slow; then nothing more is pulled."""
BATCH_BYTES_MAX = 512 * 1024
GATHER_S = 0.05
"""How long a page that has something waits for more that the consumer has promised."""
ANSWER_LIMIT_S = 5.0
"""How long a page waits for a consumer that says nothing."""
RETRY_S = 0.5
LIFE_MAX_S = 60.0
"""Of a pull request that waits for an agent's next event: a request and its end for each session in that time."""


class JetStreamSource:
    """A source that reads the stream itself (Source)."""

    __slots__ = (
        "_agent", "_arrivals", "_boundary", "_changed", "_current_at", "_floors", "_given",
        "_given_by_consumer", "_ground", "_joined",
        "_loop", "_needs_floors", "_parts", "_problem", "_reader", "_registry", "_room", "_task", "_woken",
    )  # fmt: skip

    def __init__(self, agent: str, parts: Parts, registry: Registry) -> None:
        self._agent = agent
        self._parts = parts
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._reader: PullReader[Arrival] | None = None
        self._ground: Ground | None = None
        self._arrivals = Arrivals(0)
        self._boundary = Position(0)
        """Up to here the table tells; known once the stream's state is."""
        self._given: Position | None = None
        """Where the last page ended; None before the first."""
        self._floors = NOTHING_TOLD
        self._needs_floors = True
        self._current_at: float | None = None
        """Loop time at which nothing was left to come, in s."""
        self._joined: LiveSession | None = None
        self._given_by_consumer = 0
        """How many messages of the consumer that there is have come."""
        self._problem = ""
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    # Pages

    async def read_page(self, after: Position, rows_max: int) -> Page:
        """A page of the stream, or below the boundary of the table, with its floors (Source)."""
        await self._registry.wait_fit()
        if not self._goes_on(after):
            await self._restart(after)
        assert self._ground is not None
        if not self._boundary:
            await self._wait_for(lambda: bool(self._boundary), "the stream's state")
        if after < self._boundary:
            return await self._table_page(after, rows_max)
        return await self._stream_page(rows_max)

    def _goes_on(self, after: Position) -> bool:
        """Whether a page goes on where the last one ended, or beyond, where there was nothing to give."""
        return after == self._given or (self._given is not None and self._given < after <= self.reached(self._given))

    async def _restart(self, after: Position) -> None:
        """Read from a position that is not where the last page ended; the first page always does."""
        self._stop()
        ground = await self._read_ground()
        if after and ordinal_of(after) > ground.epoch:
            raise NotReady("the database tells of an epoch before the cursor's; it may be a copy that lags behind")
        if after and ordinal_of(after) < ground.epoch and self._given is not None:
            raise NotReady("the stream has begun a new epoch")
        self._ground, self._given = ground, after
        self._arrivals = Arrivals(seq_of(after) if ordinal_of(after) == ground.epoch else 0)
        self._boundary = Position(0)
        self._needs_floors, self._current_at = True, None
        self._registry.begun(self)
        self._task = self._loop.create_task(self._follow(), name="session-consumer")

    async def _table_page(self, after: Position, rows_max: int) -> Page:
        """What lies up to the boundary, from Postgres."""
        parts = self._parts
        page = await parts.places.read_page(self._agent, after, rows_max)
        rows = [row for row in page.rows if row.pos <= self._boundary]
        if page.full and len(rows) == len(page.rows):
            reached = rows[-1].pos
        else:
            reached = Position(max(after, min(page.watermark, self._boundary)))
        if reached == after:
            # pg-writer has yet to decide what lies between
            await parts.tail.wait_moved(parts.settings.tail_poll_s)
        self._given = reached
        return Page(rows, page.floors, Position(max(page.watermark, reached)), full=True, reached=reached)

    async def _stream_page(self, rows_max: int) -> Page:
        await self._gather(rows_max)
        cut = self._arrivals.cut(rows_max)
        rows = cut.rows
        if self._needs_floors:
            self._needs_floors = cut.has_more  # before the wait: meanwhile there may come a reason to need them again
            try:
                rows = await self._told(rows)
            except BaseException:
                self._needs_floors = True
                raise
        return self._give(cut, rows)

    async def _told(self, rows: Sequence[PageRow]) -> Sequence[PageRow]:
        """The rows less what is gone, which the floors tell: what lies at or below one and is not stored.

        What is stored is asked for after the floors, so that what has gone since is told too. Raises NotReady.
        """
        assert self._ground is not None
        parts = self._parts
        ground = await self._read_ground()
        problem = ground.problem(self._ground, swept_within_s=parts.settings.expiry_margin_s / 2)
        if problem is not None:
            raise NotReady(problem)
        if pack(ground.epoch, ground.last_seq) > max(self._boundary, self._given or 0):
            self._given = None  # begin anew, with what the table tells
            raise NotReady("pg-writer has fallen behind; up to where it has, replay is to come from the table")
        self._floors = ground.floors
        asked = doubtful(rows, ground.floors, parts.settings.critical_types)
        if not asked:
            return rows
        async with parts.gate:
            found = await parts.database.fetch(sql.READ_KEPT, [str(position) for position in asked])
        gone = {*asked} - {row["pos"] for row in found}
        return [row for row in rows if row.pos not in gone]

    def _give(self, cut: Cut, rows: Sequence[PageRow]) -> Page:
        assert self._ground is not None
        self._arrivals.give(cut)
        self._room.set()
        reached = self._given = pack(self._ground.epoch, cut.reached_seq)
        head = Position(max(self._ground.watermark, reached))
        return Page(rows, self._floors, head if cut.has_more else reached, full=cut.has_more, reached=reached)

    async def _gather(self, rows_max: int) -> None:
        """Wait until there is a page's worth, or all, or something and no more for a while."""
        arrivals, bytes_max = self._arrivals, self._parts.settings.page_bytes

        def is_enough() -> bool:
            return arrivals.is_whole or len(arrivals) >= min(rows_max, WAITING_MAX) or arrivals.bytes >= bytes_max

        if not is_enough() and len(arrivals):
            with contextlib.suppress(NatsUnavailable):
                await self._wait_for(is_enough, "more", limit_s=GATHER_S)
        elif not is_enough():
            await self._wait_for(lambda: is_enough() or len(arrivals) > 0, "the stream's events")
            if not is_enough():
                await self._gather(rows_max)

    async def _wait_for(self, condition: Any, what: str, *, limit_s: float = ANSWER_LIMIT_S) -> None:
        """Wait until something has come that makes the condition true. Raises NatsUnavailable, NotReady."""
        try:
            async with asyncio.timeout(limit_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            if self._problem:
                raise NotReady(self._problem) from None
            raise NatsUnavailable(f"expected {what} from NATS within {limit_s:g} s, got nothing") from None

    async def _read_ground(self) -> Ground:
        parts = self._parts
        async with parts.gate:
            row = await parts.database.fetchrow(sql.READ_GROUND, parts.settings.stream, self._agent)
        if row is None:
            raise NotReady("the relay has not adopted the stream yet")
        return Ground.of(row)

    # Live

    def is_ahead(self, position: Position) -> bool:
        """Never: the stream is one for all replicas (Source)."""
        return False

    async def wait_moved(self, timeout_s: float) -> None:
        """As for pages of the table (Source)."""
        await self._parts.tail.wait_moved(timeout_s)

    def covers(self, position: Position) -> bool:
        """Whether nothing waits, and what comes next comes here (Source)."""
        return self._goes_on(position) and not len(self._arrivals) and not self._needs_floors

    def since(self, position: Position) -> Sequence[Released]:
        """Nothing: what comes is read as a page (Source)."""
        return ()

    def join(self, session: LiveSession) -> None:
        """Have the session lose live when there is something to read (Source)."""
        self._joined = session

    def leave(self, session: LiveSession) -> None:
        """Tell it no more (Source)."""
        self._joined = None

    def reached(self, position: Position) -> Position:
        """Up to where the consumer has looked and had nothing to give: it loses live before anything is given (Source).

        But not where something may have expired unseen: that is told by a page.
        """
        if self._needs_floors or self._ground is None:
            return position
        return Position(max(position, pack(self._ground.epoch, self._arrivals.given_seq)))

    def close(self) -> None:
        """Stop reading; the consumer is deleted by whoever looks after all of them (Source)."""
        self._stop()

    # The consumer

    def end_reading(self, why: str) -> None:
        """Have a reader that waits notice that its connection is over."""
        if self._reader is not None:
            self._reader.end(why)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._registry.ended(self, self._task)
            self._task = None

    async def _follow(self) -> None:
        """Read from a consumer for ever; from one made anew when it is gone."""
        while True:
            heed_cancellation()
            connection = await self._parts.link.wait_connected()
            try:
                await self._read_from(connection)
            except (PullEnded, NatsError, NotReady, TimeoutError) as error:
                self._problem = str(error) if isinstance(error, NotReady) else ""
                log.info("session.consumer_over", agent=self._agent, error=describe(error))
            self._arrivals.closed()
            self._changed.set()
            await asyncio.sleep(self._parts.host.rng.uniform(0.2, 1.0) * RETRY_S)

    async def _read_from(self, connection: Connection) -> None:
        """One consumer's life. Raises NotReady, PullEnded, nats.errors.Error, TimeoutError."""
        parts, ground = self._parts, self._ground
        assert ground is not None
        stream = parts.settings.stream
        state = await read_state(connection.nc, stream)
        heed_cancellation()
        if state.created != ground.created or state.last_seq < self._arrivals.last_seq:
            raise NotReady(
                f"expected the stream that was created at {ground.created}, with {self._arrivals.last_seq} messages or "
                f"more, got one of {state.created} that ends at {state.last_seq}; pg-writer begins a new epoch"
            )
        after_seq = self._find_boundary(state.first_seq, ground)
        arrivals = self._arrivals
        name = consumer_name(self._agent, parts.host.new_id())
        life_s = min(LIFE_MAX_S, parts.settings.idle_check_s * 2, parts.settings.retention_standard_s / 8)
        self._given_by_consumer = 0
        asked_at = self._loop.time()
        try:
            pending = await make_consumer(
                connection, stream, self._agent, name, after_seq=after_seq, inactive_s=parts.settings.consumer_idle_s
            )
            parts.metrics.consumers_made.inc()
            heed_cancellation()
            # of several servers the consumer's may lag behind the one that told the stream's end
            self._opened(pending, end_seq=state.last_seq if state.replicas == 1 else 0, asked_at=asked_at)
            self._reader = PullReader[Arrival](
                connection,
                stream,
                name,
                prepare=self._prepare,
                batch=BATCH,
                expires_s=life_s,
                bytes_max=BATCH_BYTES_MAX,
                on_empty=self._emptied,
                on_beat=self._looked,
            )
            async with self._reader as reader:
                while True:
                    self._take(await reader.next_batch(timeout_s=life_s))
                    while len(arrivals) >= WAITING_MAX or arrivals.bytes >= parts.settings.page_bytes:
                        self._room.clear()
                        await self._room.wait()
        finally:
            self._reader = None
            self._registry.discard(name)

    def _find_boundary(self, first_seq: int, ground: Ground) -> int:
        """Where the stream itself is to be read from; once known, the boundary stays."""
        if not self._boundary:
            start = pack(ground.epoch, max(first_seq - 1, ground.last_seq, 0))
            self._boundary = max(start, ground.floors.critical, ground.floors.standard)
            seq = seq_of(self._boundary)
            if self._arrivals.last_seq < seq:
                self._arrivals = Arrivals(seq)
        return self._arrivals.last_seq

    def _opened(self, pending: int, *, end_seq: int, asked_at: float) -> None:
        self._arrivals.opened(pending=pending, end_seq=end_seq)
        self._problem = ""
        if self._is_stale():
            self._needs_floors = True
            self._lose_live()
        if not pending:
            self._current_at = asked_at
        self._changed.set()

    def _is_stale(self) -> bool:
        """Whether something may have expired between what had come and what comes now."""
        return (
            self._current_at is None or self._loop.time() - self._current_at > self._parts.settings.retention_standard_s
        )

    def _emptied(self) -> None:
        """A request ended because there was nothing left (PullReader)."""
        if self._reader is None or self._reader.at_hand:
            return  # what is at hand says for itself whether more is to come
        self._arrivals.emptied()
        if not self._needs_floors:
            self._current_at = self._loop.time()
        self._changed.set()

    def _looked(self, given: int, stream_seq: int) -> None:
        """The consumer waits: it has looked up to here for more than it has given (PullReader)."""
        if given == self._given_by_consumer and self._reader is not None and not self._reader.at_hand:
            self._arrivals.looked(stream_seq)
            if not self._needs_floors:
                self._current_at = self._loop.time()
            self._registry.moved()

    def _take(self, arrived: Sequence[Arrival]) -> None:
        if not arrived:
            return
        if self._is_stale():
            self._needs_floors = True
        self._arrivals.add(arrived)
        if self._arrivals.is_whole:
            self._current_at = self._loop.time()
        self._changed.set()
        self._lose_live()

    def _lose_live(self) -> None:
        session, self._joined = self._joined, None
        if session is not None:
            session.lose_live()

    def _prepare(self, message: Delivered) -> Arrival:
        assert self._ground is not None
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ts ns>.<pending>
        _, seq, number, _, pending = message.reply.rsplit(".", 4)
        self._given_by_consumer = int(number)
        row = None
        try:
            event = read_message(message.subject, message.data, bytes_max=self._parts.settings.event_bytes_max)
            row = PageRow(pack(self._ground.epoch, int(seq)), event.type, event.text)
        except EventInvalid as error:
            log.info("session.message_passed_over", seq=int(seq), why=str(error)[:200])  # pg-writer tells of it
        return Arrival(int(seq), int(pending), row, len(message.data))
