"""What Postgres has under events' ids, and whether it says the same: by digests, however large and many they are."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from system import sql
from system.cursor import Position
from system.event import Event, same_content


class Stored(NamedTuple):
    """An event that is stored under an id."""

    pos: Position
    is_same: bool
    """Whether it says the same as the one that was asked about."""


async def look_up(connection: Any, events: Sequence[Event]) -> dict[str, Stored]:
    """What is stored under the ids of events, by id. Raises as asyncpg does.

    Nearly every repeat is the same to the byte; what is not is read, one at a time.
    """
    by_id = {event.id: event for event in events}
    found: dict[str, Stored] = {}
    for row in await connection.fetch(sql.READ_STORED_MANY, list(by_id)):
        event_id, text = row["id"], by_id[row["id"]].text
        is_same = row["digest"] == sha256(text.encode()).hexdigest()
        if not is_same:
            other = await connection.fetchrow(sql.READ_STORED, event_id)
            if other is None:
                continue  # swept meanwhile
            is_same = same_content(other["payload"], text)
        found[event_id] = Stored(Position(row["pos"]), is_same)
    return found
