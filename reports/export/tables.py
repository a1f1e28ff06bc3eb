"""The relay's tables as of one moment: what is stored, what was deleted, and what agents acknowledged.

One read-only transaction with one snapshot, so that events, floors and dead letters agree; events come through a
server-side cursor, however many there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from system.cursor import Cursor, CursorMalformed, ordinal_of, pack, seq_of

CRITICAL = 1
"""As the tables number the classes; 2 is standard."""
EVENTS_A_FETCH = 5_000
CONNECT_TIMEOUT_S = 10.0

_NOW = """SELECT now() AS now, current_setting('server_version') AS version,
       (SELECT watermark FROM event_stream WHERE name = $1) AS watermark"""
_EPOCHS = "SELECT ordinal, tag, began_at FROM stream_epoch ORDER BY ordinal"
_FLOORS = "SELECT agent, class, floor FROM agent_floors ORDER BY agent, class"
_ACKS = "SELECT agent, acked, acked_at FROM agent_acks WHERE acked_at >= $1 AND acked_at <= $2 ORDER BY acked_at, agent"
_DEAD = """SELECT reason, count(*) AS letters, sum(last_pos - pos + 1)::bigint AS messages FROM dead_letters
WHERE recorded_at >= $1 AND recorded_at <= $2 GROUP BY reason ORDER BY reason"""
_BOUNDS = """SELECT min(pos) FILTER (WHERE persisted_at >= $1) AS low,
       max(pos) FILTER (WHERE persisted_at <= $2) AS high
FROM agent_events"""
_EARLIEST = "SELECT min(persisted_at) AS at, count(*) AS events FROM agent_events WHERE pos >= $1 AND pos <= $2"
_EVENTS = """SELECT pos, agent, class, id, type, persisted_at FROM agent_events
WHERE pos >= $1 AND pos <= $2 ORDER BY pos"""
_FACTS = "SELECT pos, agent, id, type FROM agent_events WHERE pos = ANY($1::text[]::bigint[])"


class TablesUnreadable(Exception):
    """The relay's tables can't be read: what was expected, and why not."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One row of `agent_events`, without its payload."""

    pos: int
    agent: str
    is_critical: bool
    id: str
    type: str
    persisted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochKnown:
    """One life of the stream."""

    ordinal: int
    tag: str
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """What could not become an event, by reason."""

    reason: str
    messages: int


class Tables(ABC):
    """The tables as of one moment, wherever they are; those of a database are opened with `reading`."""

    def __init__(
        self,
        *,
        now: datetime,
        version: str,
        watermark: int,
        epochs: Sequence[EpochKnown],
        floors: Mapping[tuple[str, bool], int],
    ) -> None:
        self.now = now
        """By Postgres's clock, which ages count on."""
        self.version = version
        self.watermark = watermark
        """Up to here pg-writer had decided of every message."""
        self.epochs = epochs
        self.floors = floors
        """The highest deleted position, by addressee and whether it is critical."""
        self._tags = {one.ordinal: one.tag for one in epochs}
        self._ordinals = {one.tag: one.ordinal for one in epochs}

    def cursor_of(self, position: int) -> str:
        """A position as agents see it."""
        return f"{self._tags[ordinal_of(position)]}-{seq_of(position)}"

    def position_of(self, text: str | None) -> int | None:
        """The position that a cursor names; None for none, and for one of another database."""
        try:
            cursor = Cursor.parse(text or "")
        except CursorMalformed:
            return None
        ordinal = self._ordinals.get(cursor.epoch)
        return None if ordinal is None else pack(ordinal, cursor.seq)

    @abstractmethod
    async def bounds(self, since: datetime, until: datetime) -> tuple[int | None, int | None]:
        """The lowest position stored since one time, and the highest stored until another."""

    @abstractmethod
    async def earliest(self, low: int, high: int) -> tuple[datetime | None, int]:
        """When the first event between two positions was stored, and how many there are."""

    @abstractmethod
    def events(self, low: int, high: int) -> AsyncIterator[StoredEvent]:
        """The events stored between two positions, by position."""

    @abstractmethod
    def facts(self, positions: Iterable[int]) -> AsyncIterator[tuple[int, str, str, str]]:
        """(position, addressee, id, type) of what is stored of these positions."""

    @abstractmethod
    async def acks(self, since: datetime, until: datetime) -> list[tuple[str, int, datetime]]:
        """(agent, position, when) of every agent's last acknowledgement, if it came between two times."""

    @abstractmethod
    async def dead_letters(self, since: datetime, until: datetime) -> list[DeadLetters]:
        """What was put to the dead letters between two times."""


class _Snapshot(Tables):
    """Those of a database, in one transaction."""

    def __init__(self, connection: Any, **known: Any) -> None:
        super().__init__(**known)
        self._connection = connection

    async def bounds(self, since: datetime, until: datetime) -> tuple[int | None, int | None]:
        row = await self._connection.fetchrow(_BOUNDS, since, until)
        return row["low"], row["high"]

    async def earliest(self, low: int, high: int) -> tuple[datetime | None, int]:
        row = await self._connection.fetchrow(_EARLIEST, low, high)
        return row["at"], row["events"]

    async def events(self, low: int, high: int) -> AsyncIterator[StoredEvent]:
        async for row in self._connection.cursor(_EVENTS, low, high, prefetch=EVENTS_A_FETCH):
            yield StoredEvent(
                row["pos"], row["agent"], row["class"] == CRITICAL, row["id"], row["type"], row["persisted_at"]
            )

    async def facts(self, positions: Iterable[int]) -> AsyncIterator[tuple[int, str, str, str]]:
        wanted = sorted(set(positions))
        for first in range(0, len(wanted), EVENTS_A_FETCH):
            piece = [str(one) for one in wanted[first : first + EVENTS_A_FETCH]]
            for row in await self._connection.fetch(_FACTS, piece):
                yield row["pos"], row["agent"], row["id"], row["type"]

    async def acks(self, since: datetime, until: datetime) -> list[tuple[str, int, datetime]]:
        rows = await self._connection.fetch(_ACKS, since, until)
        return [(row["agent"], row["acked"], row["acked_at"]) for row in rows]

    async def dead_letters(self, since: datetime, until: datetime) -> list[DeadLetters]:
        rows = await self._connection.fetch(_DEAD, since, until)
        return [DeadLetters(reason=row["reason"], messages=row["messages"]) for row in rows]


@asynccontextmanager
async def reading(dsn: str, stream: str) -> AsyncIterator[Tables]:
    """One snapshot of a relay's tables. Raises TablesUnreadable, also for what fails within."""
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        raise _unreadable(error) from error
    try:
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                now = await connection.fetchrow(_NOW, stream)
                if now["watermark"] is None:
                    raise TablesUnreadable(f"expected the relay's tables with the stream {stream}, got none of it")
                epochs = [EpochKnown(**dict(row)) for row in await connection.fetch(_EPOCHS)]
                floors = {
                    (row["agent"], row["class"] == CRITICAL): row["floor"] for row in await connection.fetch(_FLOORS)
                }
                yield _Snapshot(
                    connection,
                    now=now["now"],
                    version=now["version"],
                    watermark=now["watermark"],
                    epochs=epochs,
                    floors=floors,
                )
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> TablesUnreadable:
    return TablesUnreadable(f"expected to read the relay's tables at MESHRELAY_POSTGRES_DSN; got {error!r}")
