"""Sessions' log lines as the records of a history: one client a connection, for a relay does not know whose it is.

Two clients of one agent have each its own cursor, and nothing in a log tells them apart; so every connection stands for
itself (`ann#a1b2c3d4.17`), and what the judge holds against one is what that relay did on that one connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from reports.export.logs import Closed, Line, LogInvalid, Opened, SentCursors, Told
from reports.history import (
    CLIENT_MARK,
    Bookmark,
    Connect,
    Connected,
    Deliver,
    Disconnect,
    Floors,
    Gap,
    Gone,
    Record,
    Sent,
)

SINCE_FORGOTTEN = "told"
"""What a refusal's connection is named after, for it had none."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What the tables know of an event that was sent."""

    id: str
    type: str
    addressee: str


@dataclass(slots=True, kw_only=True)
class Connection:
    """Everything logged of one connection."""

    agent: str
    name: str
    opened: Opened | None = None
    closed: Closed | None = None
    told: list[Told] = field(default_factory=list)
    sent: list[SentCursors] = field(default_factory=list)
    numbered: dict[int, Line] = field(default_factory=dict)
    """Those of its lines that have a number, by it."""

    def take(self, line: Line) -> None:
        """Keep one of its lines; the same one may come again, out of a log that was given twice. Raises LogInvalid."""
        before: Line | None = self.closed if isinstance(line, Closed) else None
        if line.line is not None:
            before = self.numbered.get(line.line, before)
        if before == line:
            return
        if before is not None:
            raise LogInvalid(
                f"connection {self.name} of {self.agent}: expected one {_said(line)}, got one at {before.timestamp} "
                f"and one at {line.timestamp}; are these logs of one deployment?"
            )
        if line.line is not None:
            self.numbered[line.line] = line
        if isinstance(line, Opened):
            self.opened = line
        elif isinstance(line, Told):
            self.told.append(line)
        elif isinstance(line, SentCursors):
            self.sent.append(line)
        else:
            self.closed = line

    @property
    def is_whole(self) -> bool:
        """Whether the logs have all of its lines up to the last one that they have, as far as these are numbered."""
        return len(self.numbered) == max(self.numbered, default=0)

    @property
    def within(self) -> list[Told | SentCursors]:
        """What it was told and sent, in the order of its relay, whose clock may have been put back meanwhile.

        Lines without a number are in that of their times: a log that was rotated may be given in any order.
        """
        lines: list[Told | SentCursors] = [*self.told, *(self.sent if self.is_logged else [])]
        return sorted(lines, key=lambda one: (one.line or 0, one.timestamp))

    @property
    def began_at(self) -> datetime:
        """When it began, or was first heard of."""
        lines: list[Line] = [one for one in (self.opened, *self.told, *self.sent, self.closed) if one is not None]
        return min(one.timestamp for one in lines)

    @property
    def start(self) -> str | None:
        """Behind which cursor it began."""
        line = self.opened or self.closed
        return None if line is None else line.start

    @property
    def is_logged(self) -> bool:
        """Whether its deliveries can be told one by one: all were logged, and none was left out by its types."""
        logged = sum(len(one.cursors) for one in self.sent)
        return self.closed is not None and not self.closed.types and self.closed.count == logged > 0

    @property
    def presented(self) -> str | None:
        """What it began at: the cursor that it presented, else where its wish led; None is the beginning."""
        wish = self.opened.presented if self.opened is not None else None
        return wish if wish is not None and "-" in wish else self.start


def gathered(lines: Iterable[Line]) -> list[Connection]:
    """The connections of some logs, in the order in which they began.

    Raises LogInvalid if two lines exclude each other, such as two ends of one connection.
    """
    found: dict[str, Connection] = {}
    refused = 0
    for line in lines:
        name = line.conn
        if name is None:
            refused += 1
            name = f"{SINCE_FORGOTTEN}.{refused}"
        found.setdefault(name, Connection(agent=line.agent, name=name)).take(line)
    return sorted(found.values(), key=lambda one: one.began_at)


def _said(line: Line) -> str:
    return "end" if isinstance(line, Closed) else f"line {line.line}"


def records_of(one: Connection, facts: Mapping[str, Fact], ns: NanosecondsOf) -> Iterator[Record]:
    """A connection as records, in their order; `facts` are by cursor, of what is stored still.

    Their times never fall, whatever the replica's clock did meanwhile.
    """
    latest_ns = 0
    for record in _records_of(one, facts, ns):
        latest_ns = max(latest_ns, record.t_ns)
        yield record if record.t_ns == latest_ns else msgspec.structs.replace(record, t_ns=latest_ns)


def _records_of(one: Connection, facts: Mapping[str, Fact], ns: NanosecondsOf) -> Iterator[Record]:
    client, began_ns = f"{one.agent}{CLIENT_MARK}{one.name}", ns(one.began_at)
    is_refused = one.opened is None and one.closed is None and not one.sent
    presented = one.told[0].cursor if is_refused else one.presented
    status = 410 if is_refused and one.told[0].via == "status" else 200
    told = None if one.opened is None else one.opened.told
    yield Connect(t_ns=began_ns, agent=client, conn=one.name, cursor=presented or "earliest", told=told)
    yield Connected(t_ns=began_ns, agent=client, conn=one.name, status=status)
    for line in one.within:
        if isinstance(line, Told):
            yield _notice(line, client, one.name, ns(line.timestamp))
            continue
        for cursor in line.cursors:
            fact = facts.get(cursor)
            if fact is not None:
                yield Deliver(
                    t_ns=ns(line.timestamp), agent=client, conn=one.name, cursor=cursor,
                    id=fact.id, type=fact.type, addressee=fact.addressee,
                )  # fmt: skip
    if one.closed is not None:
        yield from _ending(one, one.closed, client, ns(one.closed.timestamp))
    elif is_refused:
        yield Disconnect(t_ns=began_ns, agent=client, conn=one.name, why="refused")


def _ending(one: Connection, closed: Closed, client: str, t_ns: int) -> Iterator[Record]:
    if one.is_logged and closed.reached is not None:
        yield Bookmark(t_ns=t_ns, agent=client, conn=one.name, cursor=closed.reached)
    yield Sent(
        t_ns=t_ns,
        agent=client,
        conn=one.name,
        count=closed.count,
        sum=closed.sum,
        start=closed.start,
        reached=closed.reached,
        first=closed.first,
        last=closed.last,
        types=closed.types,
    )
    yield Disconnect(t_ns=t_ns, agent=client, conn=one.name, why=closed.why)


def _notice(line: Told, client: str, conn: str, t_ns: int) -> Record:
    floors = Floors(critical=line.critical, standard=line.standard)
    cursor = line.cursor if line.cursor is not None and "-" in line.cursor else None
    if line.notice == "gap":
        return Gap(t_ns=t_ns, agent=client, conn=conn, cursor=cursor, floors=floors)
    return Gone(t_ns=t_ns, agent=client, conn=conn, cursor=cursor, reason=line.reason, via=line.via, floors=floors)


@dataclass(frozen=True, slots=True)
class NanosecondsOf:
    """Times of day as nanoseconds since the history began; nothing is before it."""

    began_at: datetime

    def __call__(self, at: datetime) -> int:
        """Raises TypeError for a time without its zone."""
        away = at - self.began_at
        return max(0, ((away.days * 86_400 + away.seconds) * 1_000_000 + away.microseconds) * 1_000)
