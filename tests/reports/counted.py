"""A history as relays would have counted it: for each connection one `sent` record instead of its deliveries."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.bench.source import EPOCH
from reports.history import (
    Bookmark,
    Connect,
    Connected,
    Deliver,
    Disconnect,
    Gap,
    Gone,
    Publish,
    Published,
    Record,
    Run,
    Sent,
)
from tests.reports.mutate import seq_of


def as_counted(correct: Sequence[Record], broken: Sequence[Record]) -> list[Record]:
    """What an export of counts would hold of a broken history; how far each connection got is the correct one's.

    Each connection is a client of its own.
    """
    sent: dict[tuple[str, str], list[int]] = {}
    reached: dict[tuple[str, str], str] = {}
    for record in correct:
        if isinstance(record, Deliver | Bookmark):
            reached[record.agent, record.conn] = record.cursor
    for record in broken:
        if isinstance(record, Deliver):
            sent.setdefault((record.agent, record.conn), []).append(seq_of(record.cursor))
    start: dict[tuple[str, str], str | None] = {}
    made: list[Record] = []
    last_ns = broken[-1].t_ns
    for record in broken:
        if isinstance(record, Run):
            made.append(msgspec.structs.replace(record, world="production"))
        elif isinstance(record, Publish | Published):
            made.append(record)
        elif isinstance(record, Connect | Connected | Gap | Gone):
            made.append(msgspec.structs.replace(record, agent=f"{record.agent}#{record.conn}"))
            if isinstance(record, Connect):
                start[record.agent, record.conn] = record.cursor if record.cursor != "earliest" else None
        elif isinstance(record, Disconnect):
            made += _ended(record.agent, record.conn, record.t_ns, start, sent, reached)
    return [*made, *(one for agent, conn in list(start) for one in _ended(agent, conn, last_ns, start, sent, reached))]


def _ended(
    agent: str,
    conn: str,
    t_ns: int,
    start: dict[tuple[str, str], str | None],
    sent: dict[tuple[str, str], list[int]],
    reached: dict[tuple[str, str], str],
) -> list[Record]:
    began = start.pop((agent, conn))
    seqs = sent.get((agent, conn), [])
    return [
        Sent(
            t_ns=t_ns,
            agent=f"{agent}#{conn}",
            conn=conn,
            start=began,
            reached=reached.get((agent, conn), began),
            count=len(seqs),
            sum=sum(seqs),
            first=f"{EPOCH}-{min(seqs)}" if seqs else None,
            last=f"{EPOCH}-{max(seqs)}" if seqs else None,
        ),
        Disconnect(t_ns=t_ns, agent=f"{agent}#{conn}", conn=conn, why="reset"),
    ]
