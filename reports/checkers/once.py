"""G4, once: a retried publish is stored and delivered once; a cursor never brings back what lies at or before it.

The same event on a *later* connection is no duplicate if that connection began before it: the agent asked for it
again. An event id under two cursors, in acks or deliveries, was stored twice, and is reported once for each id; but an
ack of one epoch and deliveries in another are the same storage, read again after the stream began a new epoch. An event
whose publish ended unknown may appear or not; if it appears, this holds for it too.

A client that has saved a cursor asks for nothing before it, unless it was told that its cursor leads nowhere, or has
lost it and says so (`acked`).
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.checkers.chain import Chain, Misplaced
from reports.checkers.findings import Finding, Guarantee, Judged, Kind
from reports.checkers.ranges import ranges_tried, surplus_of_ranges
from reports.handling import Forgotten
from reports.index import NONE, Index

_DETAIL = {
    Kind.DUPLICATE: "expected this event once on connection {conn}; got it twice",
    Kind.REPLAYED: "expected only what lies behind {presented}, presented on connection {conn}; got this event",
    Kind.DUPLICATE_STORAGE: "expected one cursor for this event id, {stored}; got it delivered under {cursor} too",
}


def check_once(index: Index, chains: Sequence[Chain]) -> Judged:
    """Judge G4."""
    events = index.events
    judged = Judged(
        Guarantee.G4,
        {
            "publishes retried": sum(attempts > 1 for attempts in events.attempts),
            "answered as duplicates": index.counts.duplicates_answered,
            "connections with a cursor": sum(one.start != NONE for chain in chains for one in chain.connections),
            "deliveries": index.counts.deliveries,
        }
        | ranges_tried(index),
    )
    for found in surplus_of_ranges(index, chains):
        judged.add(found)
    for one in index.handling.forgotten:
        judged.add(_forgotten(index, one))
    stored_twice: set[int] = set()
    for event, position, record in index.restored:
        if event not in stored_twice:
            stored_twice.add(event)
            judged.add(_acked_twice(index, event, position, record))
    for chain in chains:
        for misplaced in chain.misplaced:
            if misplaced.kind is Kind.DUPLICATE_STORAGE:
                if misplaced.event in stored_twice:
                    continue
                stored_twice.add(misplaced.event)
            if misplaced.kind in _DETAIL:
                judged.add(_finding(index, chain, misplaced))
    return judged


def _finding(index: Index, chain: Chain, misplaced: Misplaced) -> Finding:
    cursor = index.cursor_of(misplaced.position)
    standing = chain.connection(misplaced.conn)
    return Finding(
        kind=misplaced.kind,
        agent=chain.log.agent,
        event_id=index.events.ids[misplaced.event],
        cursor=cursor,
        t_ns=misplaced.t_ns,
        detail=_DETAIL[misplaced.kind].format(
            conn=chain.log.conns[misplaced.conn],
            presented=standing.presented,
            stored=index.cursor_of(index.events.position[misplaced.event]),
            cursor=cursor,
        ),
        evidence=tuple(record for record in (misplaced.other_record, misplaced.record) if record != NONE),
    )


def _forgotten(index: Index, one: Forgotten) -> Finding:
    return Finding(
        kind=Kind.SAVED_FORGOTTEN,
        agent=one.agent,
        event_id=None,
        cursor=index.cursor_of(one.saved),
        t_ns=one.t_ns,
        detail="expected a client to go on behind the cursor that it has saved; got one that asks for what lies before",
        evidence=(one.record,),
    )


def _acked_twice(index: Index, event: int, position: int, record: int) -> Finding:
    events = index.events
    return Finding(
        kind=Kind.DUPLICATE_STORAGE,
        agent=None,
        event_id=events.ids[event],
        cursor=index.cursor_of(position),
        t_ns=events.acked_ns[event],
        detail="expected every ack of this event id to name one cursor; "
        f"got {index.cursor_of(events.position[event])} and {index.cursor_of(position)}",
        evidence=tuple(sorted({events.publish_record[event], events.acked_record[event], record})),
    )
