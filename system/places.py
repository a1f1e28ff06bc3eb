"""Where agents stand, read from Postgres: resolving a wish to a position, reading pages, storing acks.

The thin driver under `session.py`: one statement each, every answer of one snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

from system import sql
from system.cursor import ORDINAL_MAX, SEQ_MAX, Cursor, Position, ordinal_of, pack, seq_of
from system.database import Database
from system.link import NatsLink
from system.session import Floors, Page, PageRow
from system.settings import Settings
from system.stream import read_last_seq

NOTHING, EVERYTHING = Position(0), pack(ORDINAL_MAX, SEQ_MAX)
"""What an agent may know to be gone, at least and at most."""
_POS = itemgetter("pos")
ACK_PAUSE_MIN_S = 0.02
"""Between two looks whether pg-writer has stored what is acknowledged: about a commit's time at first."""


class NotReady(Exception):
    """What is asked for can't be told yet, and the message says why: the same again, soon."""


class CursorForeign(Exception):
    """The cursor belongs to another epoch, or lies ahead of the stream; a 410 with that reason."""

    def __init__(self, reason: str, place: Place) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a session begins, with what is gone and known at that moment."""

    position: Position
    knows: Position
    """What is gone up to here counts as told: everything, for those who ask for 'what there is'."""
    floors: Floors
    head: Position

    @property
    def told(self) -> Floors:
        """The floors of which no word is owed."""
        return Floors(min(self.floors.critical, self.knows), min(self.floors.standard, self.knows))


class Places:
    """Reads and writes agents' positions."""

    def __init__(self, settings: Settings, database: Database, link: NatsLink) -> None:
        self._settings = settings
        self._database = database
        self._link = link
        self._ordinals: dict[str, int] = {}
        self._tags: dict[int, str] = {}
        self._learning = asyncio.Lock()
        self._gate = asyncio.Semaphore(settings.replays_max)

    async def resolve(self, agent: str, wish: str | None, told: Cursor | None = None) -> Place:
        """The place that a request asks for: a cursor, `earliest`, `now`, `acked`, or None for acked-else-earliest.

        `told` is a head that the agent was given: in the life of the stream that it is of, the agent has been told that
        former ones are over, and a cursor of theirs is but a place among what is retained of them. `earliest` with it
        is what such an agent goes on with: what has gone since then it has yet to be told.

        The position may lie ahead of the watermark, if the stream is that far: a publisher has the cursor of its event
        before pg-writer has it.

        Raises CursorMalformed, CursorForeign, NotReady, DatabaseUnavailable, NatsUnavailable.
        """
        cursor = None if wish in (None, "earliest", "now", "acked") else Cursor.parse(str(wish))
        row = await self._database.fetchrow(sql.READ_PLACE, self._settings.stream, agent)
        if row is None:
            raise NotReady("the relay has not adopted the stream yet")
        floors = Floors(row["critical"], row["standard"])
        head = Position(row["watermark"])
        earliest = Place(position=Position(0), knows=EVERYTHING, floors=floors, head=head)
        if cursor is not None:
            position = await self._position(cursor, told, epoch=row["epoch"], earliest=earliest)
            return Place(position=position, knows=NOTHING, floors=floors, head=head)
        if wish == "now":
            return Place(position=head, knows=EVERYTHING, floors=floors, head=head)
        if wish == "earliest" or row["acked"] is None:
            if told is None:
                return earliest
            knows = await self._position(told, None, epoch=row["epoch"], earliest=earliest)
            return Place(position=earliest.position, knows=knows, floors=floors, head=head)
        if ordinal_of(row["acked"]) != row["epoch"]:
            raise CursorForeign("wrong_epoch", earliest)
        return Place(position=Position(row["acked"]), knows=NOTHING, floors=floors, head=head)

    async def read_page(self, agent: str, after: Position, rows_max: int) -> Page:
        """A page of the agent's events after a position. Raises NotReady, DatabaseUnavailable."""
        async with self._gate:
            rows = await self._database.fetch(sql.READ_PAGE, self._settings.stream, agent, after, rows_max)
        if not rows:
            raise NotReady("the relay has not adopted the stream yet")
        first = rows[0]
        assert first["pos"] is None, "expected the stream's own row first"
        # in order but for what SQL promises; to see that costs next to nothing
        events = [PageRow(pos, kind, text) for _, _, _, pos, kind, text in sorted(rows[1:], key=_POS)]
        return Page(
            rows=events,
            floors=Floors(first["critical"], first["standard"]),
            watermark=first["watermark"],
            full=len(events) >= rows_max,
        )

    async def store_ack(self, agent: str, cursor: Cursor) -> Position:
        """Store a cumulative acknowledgement; answers the highest one. Raises as `resolve`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.request_timeout_s
        pause_s = ACK_PAUSE_MIN_S
        while True:
            ordinal = self._ordinals.get(cursor.epoch)
            if ordinal is not None:
                position = pack(ordinal, cursor.seq)
                row = await self._database.fetchrow(sql.STORE_ACK, self._settings.stream, agent, position)
                if row["acked"] is not None:
                    return Position(row["acked"])
            place = await self.resolve(agent, str(cursor))  # it says why, or there was an epoch to learn
            if place.position > place.head:
                # a replica of another transport may have delivered it before pg-writer has it
                if loop.time() >= deadline:
                    raise NotReady("pg-writer has not stored what is acknowledged yet; acknowledge again shortly")
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, self._settings.tail_poll_s)

    async def learn_epochs(self) -> None:
        """Read all epochs' tags; the tail calls this when it sees a new one.

        One reading after the other: an older one that was late would take a new epoch's tag away again.
        """
        async with self._learning:
            rows = await self._database.fetch(sql.READ_EPOCHS)
            self._tags = {row["ordinal"]: row["tag"] for row in rows}
            self._ordinals = {row["tag"]: row["ordinal"] for row in rows}

    async def ensure_tag(self, position: Position) -> None:
        """Make sure that `cursor_of` knows this position's epoch."""
        if ordinal_of(position) not in self._tags and position:
            await self.learn_epochs()

    def cursor_of(self, position: Position) -> str:
        """A position as clients see it; `ensure_tag` must have seen its epoch."""
        return f"{self._tags[ordinal_of(position)]}-{seq_of(position)}"

    @property
    def tags(self) -> Mapping[int, str]:
        """The epochs' tags by ordinal; `ensure_tag` must have seen those that are asked for."""
        return self._tags

    def prefix_of(self, ordinal: int) -> str:
        """The part of a cursor before its sequence, for building many."""
        return f"{self._tags[ordinal]}-"

    async def _position(self, cursor: Cursor, told: Cursor | None, *, epoch: int, earliest: Place) -> Position:
        if cursor.epoch not in self._ordinals or epoch not in self._tags:
            await self.learn_epochs()
        ordinal = self._ordinals.get(cursor.epoch)
        if ordinal is not None and ordinal < epoch and told is not None and told.epoch == self._tags[epoch]:
            return pack(ordinal, cursor.seq)
        if ordinal != epoch:
            raise CursorForeign("wrong_epoch", earliest)
        position = pack(epoch, cursor.seq)
        if position > earliest.head and cursor.seq > await read_last_seq(self._link, self._settings.stream):
            raise CursorForeign("ahead", earliest)
        return position
