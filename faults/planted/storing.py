"""Bugs on the way in: publishing, pg-writer, and how it uses Postgres."""

from __future__ import annotations

import asyncio
from typing import Any

from faults.planted import texts
from faults.planted.plant import WITHOUT_REPEATS, plant, replace
from system import batch, sql, stream, writer
from system.batch import Batch
from system.cursor import pack
from system.database import Database
from system.event import RetentionClass, class_of
from system.http import publish
from system.stream import Published
from system.transport.names import TransportName
from system.writer import LeaseLost


def _trust_the_consumer() -> None:
    """Take what arrives for all there is: notice no hole, and don't read what was in flight to another writer."""
    ensure = stream.ensure_consumer

    def trusting(watermark_seq: int, incoming: Any) -> Any:
        return [message for message in incoming if message.seq > watermark_seq], None

    async def nothing_to_fill(js: Any, name: str, **options: Any) -> int:
        await ensure(js, name, **options)
        return 0

    replace(writer, "contiguous", trusting)
    replace(writer, "ensure_consumer", nothing_to_fill)


@plant(
    "ack-before-commit",
    "pg-writer acknowledges before it commits, and trusts the consumer instead of the watermark",
    "G1",
    "G2",
)
def _ack_before_commit() -> None:
    write, read = writer.Writer._write, writer.Writer._read
    last_reply = [""]

    async def ack_first(self: Any, connection: Any, place: Any, arrived: Any) -> Any:
        if arrived:
            # the ack that should follow the commit, and the time in which a crash loses the batch
            await connection.nc.publish(last_reply[0], b"")
            await asyncio.sleep(0.3)
        return await write(self, connection, place, arrived)

    def keep_reply(self: Any, message: Any) -> Any:
        last_reply[0] = message.reply
        return read(self, message)

    replace(writer.Writer, "_write", ack_first)
    replace(writer.Writer, "_read", keep_reply)
    _trust_the_consumer()


@plant(
    "nothing-stored",
    "pg-writer takes each fence that it was given for another's, and never stores anything",
    "G6",
    not_over={TransportName.REDIS: "nobody is ever ready there: its leader feeds Redis only once pg-writer has begun"},
)
def _nothing_stored() -> None:
    async def begin(self: Any, connection: Any, fence: int) -> Any:
        raise LeaseLost(f"the fence {fence} is no longer ours")

    replace(writer.Writer, "_begin", begin)


@plant("watermark-over-a-hole", "the watermark passes over messages that another writer was given", "G1", "G2")
def _watermark_over_a_hole() -> None:
    _trust_the_consumer()


@plant(
    "zombie-writer",
    "a writer that lost its lease in a pause writes on: nothing checks its fence",
    "G1",
    "G2",
    "G6",
)
def _zombie_writer() -> None:
    begin = writer.Writer._begin

    async def begin_anywhere(self: Any, connection: Any, fence: int) -> Any:
        row = await self._database.fetchrow(sql.READ_STATE, self._settings.stream)
        return await begin(self, connection, row["fence"])

    replace(sql, "WRITE_BATCH", texts.WRITE_UNFENCED)
    replace(writer.Writer, "_begin", begin_anywhere)
    _trust_the_consumer()


@plant(
    "reused-connection",
    "a connection is used again after a timeout, its BEGIN perhaps still open",
    "G1",
    "G2",
    "G6",
)
def _reused_connection() -> None:
    use, give_back = Database.use, Database._give_back

    async def in_transaction(self: Any, work: Any, *, timeout_s: float | None = None) -> Any:
        async def transacted(connection: Any) -> Any:
            async with connection.transaction():
                return await work(connection)

        return await use(self, transacted, timeout_s=timeout_s)

    def kept(self: Any, connection: Any, *, sound: bool) -> None:
        give_back(self, connection, sound=True)

    replace(Database, "use", in_transaction)
    replace(Database, "_give_back", kept)


@plant("wrong-class", "one critical type is stored as a standard one, and swept when those are", "G1", "G2")
def _wrong_class() -> None:
    def mistaken(event_type: str, critical_types: frozenset[str]) -> RetentionClass:
        return class_of(event_type, critical_types - {"task.mentioned"})

    replace(batch, "class_of", mistaken)


@plant(
    "dedupe-only-by-the-stream",
    "the table knows no event by its id, only the stream does, for its window",
    "G4",
    not_over=WITHOUT_REPEATS,
)
def _dedupe_only_by_the_stream() -> None:
    columns = batch.columns

    def unrecognisable(one: Batch, ordinal: int, critical_types: frozenset[str]) -> Any:
        made = columns(one, ordinal, critical_types)
        made[3] = [f"{pack(ordinal, seq)}:{event.id}" for seq, event in one.events]
        return made

    replace(writer, "columns", unrecognisable)


@plant(
    "repeat-drops-its-batch",
    "a batch with an id that is stored already is passed over as a whole",
    "G1",
    "G2",
    not_over=WITHOUT_REPEATS,
)
def _repeat_drops_its_batch() -> None:
    def nothing_left(one: Batch, stored: Any) -> Batch:
        return Batch(one.first_seq, one.last_seq, one.mark_ns, [], list(one.dead), one.repeats)

    replace(writer, "without_stored", nothing_left)


@plant(
    "answered-before-stored", "a publish is answered with 202 though the stream never confirmed it", "G1", "G3", "G4"
)
def _answered_before_stored() -> None:
    publish_all = stream.publish_all
    highest = [0]

    async def hopeful(connection: Any, name: str, events: Any, *, timeout_s: float, **more: Any) -> Any:
        answers = await publish_all(connection, name, events, timeout_s=timeout_s, **more)
        hoped = []
        for answer in answers:
            if isinstance(answer, Published):
                highest[0] = max(highest[0], answer.seq)
                hoped.append(answer)
            else:
                highest[0] += 1
                hoped.append(Published(seq=highest[0], duplicate=False))
        return hoped

    replace(publish, "publish_all", hopeful)
