"""What a replica logs of its sessions: two lines a connection, one a notice, and every cursor sent if it is asked to.

With the tables beside them, these lines are what can be said afterwards of who was sent what; names and fields are a
format that others read, so they only ever grow.

    session.opened   agent conn line presented told start types
    session.told     agent conn line notice via reason cursor critical standard
    session.sent     agent conn line cursors                    with MESHRELAY_DELIVERY_LOG
    session.closed   agent conn line start reached count sum first last types why

`line` numbers a connection's lines from 1: clocks are put back, and collectors lose lines and turn them round.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog

from system.account import Account, Burst
from system.cursor import Cursor, Position, ordinal_of
from system.places import Places

log = structlog.get_logger(__name__)


class SessionLog:
    """One session's lines."""

    __slots__ = ("_agent", "_lines", "_places", "_types", "name")

    def __init__(self, agent: str, types: Iterable[str], places: Places) -> None:
        self._agent = agent
        self._types = sorted(types)
        self._places = places
        self._lines = 0
        self.name = ""
        """Unique among the sessions of all replicas."""

    def opened(self, name: str, presented: str | None, told: Cursor | None, account: Account) -> None:
        """It begins; `presented` is what the client asked to begin at, `told` the head that it showed to know."""
        self.name = name
        log.info(
            "session.opened",
            agent=self._agent,
            conn=name,
            line=self._next(),
            presented=presented,
            told=None if told is None else str(told),
            start=self._shown(account.start),
            types=self._types,
        )

    def sent(self, burst: Burst) -> None:
        """It was sent these events."""
        cursors = [self._places.cursor_of(position) for position in burst.positions]
        log.info("session.sent", agent=self._agent, conn=self.name, line=self._next(), cursors=cursors)

    def told(self, notice: str, document: dict[str, Any]) -> None:
        """It was told in its stream that something is gone."""
        log_told(self._agent, self.name, notice, document, via="event", line=self._next())

    def closed(self, account: Account, why: str) -> None:
        """It is over, and this is what it was sent."""
        log.info(
            "session.closed",
            agent=self._agent,
            conn=self.name,
            line=self._next(),
            start=self._shown(account.start),
            reached=self._shown(account.reached),
            count=account.count,
            sum=account.seq_sum,
            first=self._shown(account.first),
            last=self._shown(account.last),
            types=self._types,
            why=why,
        )

    def _next(self) -> int:
        self._lines += 1
        return self._lines

    def _shown(self, position: Position) -> str | None:
        """A position as its cursor; None for the beginning, and for an epoch just begun, of which nothing was sent."""
        return self._places.cursor_of(position) if ordinal_of(position) in self._places.tags else None


def log_told(
    agent: str, conn: str | None, notice: str, document: dict[str, Any], *, via: str, line: int | None = None
) -> None:
    """An agent was told of something gone, by a status or in its stream; `conn` is its session, if it has one."""
    log.info(
        "session.told",
        agent=agent,
        conn=conn,
        line=line,
        notice=notice,
        via=via,
        reason=document["reason"],
        cursor=document["cursor"],
        critical=document["floors"]["critical"],
        standard=document["floors"]["standard"],
    )
