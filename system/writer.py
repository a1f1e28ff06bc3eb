"""pg-writer: from the stream into `agent_events`, in order, once, behind a fence.

It commits, then acknowledges. After any failure it forgets everything and begins again from the watermark in Postgres,
which alone says what is decided; so a lost answer to COMMIT needs no case of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import asyncpg
import structlog
from nats.errors import Error as NatsError

from system import hints, intake, sql
from system.batch import (
    PIECE_BYTES_MAX,
    PIECE_BYTES_MIN,
    Batch,
    Former,
    Incoming,
    columns,
    contiguous,
    decide,
    lineage_break,
    pieces,
    without_stored,
)
from system.cursor import Position, ordinal_of, pack, seq_of, tag_from
from system.database import Database, DatabaseUnavailable
from system.direct import Delivered
from system.event import RetentionClass
from system.host import Host
from system.link import Connection, NatsLink, NatsUnavailable, describe, heed_cancellation
from system.metrics import Metrics
from system.pull import PullEnded, PullReader
from system.settings import Settings
from system.stored import look_up
from system.stream import WRITER, StreamState, StreamUnsafe, ensure_consumer, ensure_stream, read_state, stream_config

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another replica holds the fence; this one must stop writing."""


class FallenBehind(Exception):
    """Messages left the stream between two that were delivered; to begin anew tells of all of them at once."""


LOOK_AHEAD = 100_000
"""So many messages behind a loss are looked at for others that one epoch can tell of."""


@dataclass(frozen=True, slots=True)
class _Told:
    """Which of the missing messages an epoch has told of: it began when these were gone already."""

    ordinal: int
    until: int
    """Everything up to this sequence."""
    gone: frozenset[int] = frozenset()
    """And these."""

    def untold(self, one: Incoming) -> int:
        """How many of the messages that it stands for are missing, and were not told; in the same epoch."""
        span = range(max(one.seq, self.until + 1), one.lost_until + 1)
        if len(span) <= len(self.gone):
            return len(span) - sum(seq in self.gone for seq in span)
        return len(span) - sum(seq in span for seq in self.gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where writing stands: the fence that we hold and the watermark that must not have moved."""

    fence: int
    ordinal: int
    watermark: int
    former: Former | None
    clock_ns: int
    """Postgres's clock less the event loop's, as it was when writing began."""


class Writer:
    """The one writer of `agent_events`, as long as its fence holds."""

    def __init__(self, settings: Settings, database: Database, link: NatsLink, host: Host, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._link = link
        self._host = host
        self._metrics = metrics
        self._piece_bytes = PIECE_BYTES_MAX
        self._told = _Told(0, 0)
        """Outlives a failed write, which must not tell once more."""
        self.problem: str | None = None
        """Why nothing can be written at all, for readiness; None when all is well."""

    async def run(self, fence: int) -> None:
        """Write until the lease is lost. Raises LeaseLost."""
        try:
            while True:
                heed_cancellation()
                connection = await self._link.wait_connected()
                await self._try(connection, fence)
                self._metrics.writer_restarts.inc()
                await asyncio.sleep(self._host.rng.uniform(0.05, 0.5))
        finally:
            self.problem = None  # from here on the next leader's

    async def _try(self, connection: Connection, fence: int) -> None:
        """Write until something fails. Raises LeaseLost."""
        try:
            await self._write_from(connection, await self._begin(connection, fence))
        except StreamUnsafe as error:
            self.problem = str(error)
            log.error("writer.stream_unsafe", problem=self.problem)
        except (DatabaseUnavailable, FallenBehind, NatsUnavailable, PullEnded, NatsError, TimeoutError) as error:
            if isinstance(error, DatabaseUnavailable):
                # what did not get through within the limit must come in smaller pieces, or it never will
                self._piece_bytes = max(PIECE_BYTES_MIN, self._piece_bytes // 4)
            log.warning("writer.restarted", error=describe(error))

    async def _begin(self, connection: Connection, fence: int) -> _Place:
        """Find the watermark, check that the stream is still the one it belongs to, and fill what was in flight."""
        settings = self._settings
        await ensure_stream(connection.js, stream_config(settings.stream, **settings.stream_limits()))
        state = await read_state(connection.nc, settings.stream)
        row = await self._database.fetchrow(sql.READ_STATE, settings.stream)
        if row["fence"] != fence:
            raise LeaseLost(f"the fence is {row['fence']}, ours was {fence}")
        place = _Place(
            fence=fence,
            ordinal=row["epoch"],
            watermark=row["watermark"],
            former=former_of(settings, row["decided_ns"], row["now_ns"]),
            clock_ns=row["now_ns"] - round(asyncio.get_running_loop().time() * 1e9),
        )
        reason = lineage_break(
            known_created=row["created"],
            watermark_seq=seq_of(place.watermark),
            created=state.created,
            last_seq=state.last_seq,
            mark_ns=row["mark_ns"],
            found_ns=await intake.message_time_ns(connection.js, settings.stream, seq_of(place.watermark)),
        )
        if reason is not None:
            await self._new_epoch(connection, place, state, reason)
            return await self._begin(connection, fence)
        delivered = await ensure_consumer(
            connection.js, settings.stream, after_seq=seq_of(place.watermark), pending_max=settings.writer_batch * 8
        )
        self.problem = None
        place = await self._catch_up(connection, place, state, delivered)
        await self._hint(connection, place)
        return place

    async def _catch_up(self, connection: Connection, place: _Place, state: StreamState, delivered: int) -> _Place:
        """Read directly what was delivered to a writer that may be dead, instead of waiting for its ack to time out."""
        first, until = seq_of(place.watermark) + 1, min(delivered, state.last_seq)
        if state.first_seq > first:
            # the stream has left us behind: one record for all that is gone, not one look-up each
            gone = [Incoming(first, 0, None, "", lost_until=state.first_seq - 1)]
            place = await self._commit(await self._tell_lost(connection, place, gone, state), gone)
            first = state.first_seq
        while first <= until:
            last = min(first + self._settings.writer_batch - 1, until)
            filled = await self._fill(connection, first, last)
            place = await self._commit(await self._tell_lost(connection, place, filled, state), filled)
            first = last + 1
        return place

    async def _write_from(self, connection: Connection, place: _Place) -> None:
        settings = self._settings
        log.info("writer.began", fence=place.fence, epoch=place.ordinal, watermark=seq_of(place.watermark))
        reader = PullReader[tuple[Incoming, Delivered]](
            connection,
            settings.stream,
            WRITER,
            prepare=self._read,
            batch=settings.writer_batch,
            expires_s=settings.idle_check_s / 2,
        )
        async with reader:
            while True:
                heed_cancellation()
                arrived = await reader.next_batch(timeout_s=settings.idle_check_s)
                if not arrived:
                    continue
                place = await self._write(connection, place, [incoming for incoming, _ in arrived])
                last_seq, last = arrived[-1][0].seq, arrived[-1][1]
                # after the commit, and never for more than is decided
                assert last_seq <= seq_of(place.watermark), (last_seq, place)
                await connection.nc.publish(last.reply, b"")

    async def _write(self, connection: Connection, place: _Place, arrived: list[Incoming]) -> _Place:
        self._metrics.writer_redelivered.inc(sum(one.seq <= seq_of(place.watermark) for one in arrived))
        while True:
            taken, hole = contiguous(seq_of(place.watermark), arrived)
            if taken:
                place = await self._commit(place, taken)
            if hole is None:
                await self._hint(connection, place)
                return place
            first, last = hole
            last = min(last, first + self._settings.writer_batch - 1)
            filled = await self._fill(connection, first, last)
            if any(map(self._told_in(place).untold, filled)):
                raise FallenBehind(f"the stream no longer has what pg-writer was to store from {first} on")
            place = await self._commit(place, filled)

    async def _hint(self, connection: Connection, place: _Place) -> None:
        await connection.nc.publish(hints.WATERMARK_SUBJECT, str(place.watermark).encode())

    async def _commit(self, place: _Place, taken: list[Incoming]) -> _Place:
        """Write contiguous messages and move the watermark over them, a piece of bounded size at a time."""
        for piece in pieces(taken, self._piece_bytes):
            place = await self._commit_piece(place, piece)
            self._piece_bytes = min(PIECE_BYTES_MAX, self._piece_bytes * 2)
        return place

    async def _commit_piece(self, place: _Place, taken: list[Incoming]) -> _Place:
        """Write contiguous messages and move the watermark over them, in one statement."""
        if self._is_late(place, taken[0]):
            await self._database.execute(sql.TELL_BY_TABLE, self._settings.stream, place.fence, taken[-1].seq)
        batch = decide(taken, former=place.former, critical_types=self._settings.critical_types)
        try:
            after = await self._execute(place, batch)
        except asyncpg.UniqueViolationError:
            events = [event for _, event in batch.events]
            stored = await self._database.use(lambda connection: look_up(connection, events))
            batch = without_stored(batch, {event_id: one.is_same for event_id, one in stored.items()})
            after = await self._execute(place, batch)
        self._metrics.wrote(batch)
        for letter in batch.dead:
            log.error("writer.dead_letter", seq=letter.seq, reason=letter.reason, detail=letter.detail)
        return after

    def _is_late(self, place: _Place, first: Incoming) -> bool:
        """Where sessions read the stream, an event must not leave it before the table tells that it is gone.

        One half of the margin is for pg-writer, one for a sweep that comes late; what takes longer the table tells.
        """
        settings = self._settings
        if settings.transport != "jetstream" or not first.ts_ns:
            return False
        now_ns = place.clock_ns + round(asyncio.get_running_loop().time() * 1e9)
        late_s = (now_ns - first.ts_ns) / 1e9
        if late_s <= settings.expiry_margin_s / 2:
            return False
        self._metrics.writer_late.inc()
        log.error("writer.late", seq=first.seq, late_s=round(late_s, 1), expiry_margin_s=settings.expiry_margin_s)
        return True

    async def _execute(self, place: _Place, batch: Batch) -> _Place:
        settings = self._settings
        after = pack(place.ordinal, batch.last_seq)
        row = await self._database.fetchrow(
            sql.WRITE_BATCH,
            settings.stream,
            place.fence,
            place.watermark,
            after,
            *columns(batch, place.ordinal, settings.critical_types),
            batch.mark_ns,
            settings.lease_s,
            settings.redispatch_after_s,
        )
        if row["count"] != 1:
            raise LeaseLost(f"the fence {place.fence} or the watermark {place.watermark} is no longer ours")
        return replace(place, watermark=after)

    async def _new_epoch(self, connection: Connection, place: _Place, state: StreamState, reason: str) -> None:
        """Begin an epoch ahead of the stream's first message; what of it is stored already is recognised by its id."""
        first_before = max(0, state.first_seq - 1)
        tag = tag_from(self._host.new_id())
        row = await self._database.fetchrow(
            sql.NEW_EPOCH, self._settings.stream, place.fence, tag, reason, state.created, first_before, state.last_seq
        )
        if row is None:
            raise LeaseLost(f"the fence {place.fence} is no longer ours")
        log.error("writer.new_epoch", reason=reason, tag=tag, old_watermark=seq_of(place.watermark))
        # what is missing was stored and has expired, or is told by this epoch; what expires while the stream is read
        # again can't be told from what was stored
        self._told = _Told(ordinal_of(row["watermark"]), state.last_seq)
        await self._hint(connection, replace(place, watermark=row["watermark"]))

    def _told_in(self, place: _Place) -> _Told:
        """What the place's epoch has told of, as far as this process knows."""
        return self._told if self._told.ordinal == place.ordinal else _Told(place.ordinal, 0)

    async def _tell_lost(
        self, connection: Connection, place: _Place, taken: list[Incoming], state: StreamState
    ) -> _Place:
        """Begin an epoch ahead of what left the stream before it was stored, so that no cursor passes it in silence.

        Nobody can say any more whose events those were: everybody is told, and reads again what is stored. One epoch
        tells of all that is gone from here on, as far as one can look ahead.
        """
        told = self._told_in(place)
        lost = sum(map(told.untold, taken))
        if not lost:
            return place
        last = taken[-1].lost_until or taken[-1].seq
        ahead = await self._gone_ahead(connection, last + 1, min(state.last_seq, last + LOOK_AHEAD))
        stream, seq = self._settings.stream, seq_of(place.watermark)
        tag = tag_from(self._host.new_id())
        row = await self._database.fetchrow(
            sql.LOST_EPOCH, stream, place.fence, place.watermark, tag, "messages_lost", seq, state.last_seq
        )
        if row is None:
            raise LeaseLost(f"the fence {place.fence} or the watermark {place.watermark} is no longer ours")
        watermark = Position(row["watermark"])
        place = replace(place, ordinal=ordinal_of(watermark), watermark=watermark)
        until = max((one.lost_until for one in taken if one.lost_until > one.seq), default=seq)
        self._told = _Told(place.ordinal, until, ahead | {one.seq for one in taken if one.lost_until})
        lost += len(ahead - told.gone)
        self._metrics.writer_lost.inc(lost)
        log.error("writer.messages_lost", after=seq, lost=lost, tag=tag)
        await self._hint(connection, place)
        return place

    async def _gone_ahead(self, connection: Connection, first: int, last: int) -> frozenset[int]:
        """Which of a range of messages the stream no longer has."""
        gone: set[int] = set()
        batch = self._settings.writer_batch
        for start in range(first, last + 1, batch):
            filled = await self._fill(connection, start, min(start + batch - 1, last))
            gone.update(one.seq for one in filled if one.lost_until)
        return frozenset(gone)

    async def _fill(self, connection: Connection, first: int, last: int) -> list[Incoming]:
        """Read a hole's messages directly; those that the stream no longer has come back as lost."""
        settings = self._settings
        filled = await intake.fill(connection, settings.stream, first, last, bytes_max=settings.event_bytes_max)
        log.warning("writer.filled", first=first, last=last, lost=sum(one.lost_until > 0 for one in filled))
        return filled

    def _read(self, message: Delivered) -> tuple[Incoming, Delivered]:
        return intake.read_message(message, bytes_max=self._settings.event_bytes_max), message


def former_of(settings: Settings, decided_ns: int | None, now_ns: int) -> Former | None:
    """What is known of an earlier epoch of the same stream, by READ_STATE's columns."""
    if decided_ns is None:
        return None
    kept_since_ns = {one: now_ns - round(settings.retention_s(one) * 1e9) for one in RetentionClass}
    return Former(decided_ns=decided_ns, kept_since_ns=kept_since_ns)
