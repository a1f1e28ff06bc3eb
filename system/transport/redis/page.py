"""A page of one agent's events from Redis: one transaction, so one snapshot of events, floors and watermark."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from system.cursor import Position
from system.event import ALL_AGENTS, RetentionClass
from system.places import NotReady
from system.session import Floors, Page, PageRow
from system.transport.redis.keys import Keys, entry_id, position_of
from system.transport.redis.link import Command

_POS = attrgetter("pos")
_ADDRESSES = 2
"""An agent's own name, and that of all."""


def floors_commands(keys: Keys, agent: str) -> list[Command]:
    """What reads an agent's floors: its own and those of what was for all, critical ones first."""
    return [("HMGET", keys.floors(kept_class), agent, ALL_AGENTS) for kept_class in RetentionClass]


def read_floors(answers: Sequence[Sequence[bytes | None]]) -> Floors:
    """The floors within the answers to `floors_commands`."""
    critical, standard = (Position(max(int(one or 0) for one in answer)) for answer in answers)
    return Floors(critical, standard)


def page_commands(keys: Keys, agent: str, after: Position, rows_max: int) -> list[Command]:
    """What reads a page: to be run as one transaction."""
    start = f"({entry_id(after)}"
    return [
        ("HGET", keys.feed, "watermark"),
        *floors_commands(keys, agent),
        *(
            ("XRANGE", keys.events(one, kept_class), start, "+", "COUNT", rows_max)
            for one in (agent, ALL_AGENTS)
            for kept_class in RetentionClass
        ),
    ]


def read_page(answers: Sequence[Any], rows_max: int) -> Page:
    """The page within the answers to `page_commands`. Raises NotReady if nothing was ever fed."""
    watermark, critical, standard, *ranges = answers
    if watermark is None:
        raise NotReady("Redis is not filled yet; the leading replica does it as soon as it can")
    assert len(ranges) == _ADDRESSES * len(RetentionClass), len(ranges)
    rows = [
        PageRow(position_of(entry), fields[1].decode(), fields[3].decode())
        for entries in ranges
        for entry, fields in entries
    ]
    rows.sort(key=_POS)
    return Page(
        rows=rows[:rows_max],
        floors=read_floors([critical, standard]),
        watermark=Position(int(watermark)),
        full=len(rows) >= rows_max,
    )
