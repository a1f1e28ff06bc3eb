"""G3, order: what an agent receives rises strictly by cursor, within and across connections.

Within a connection: a delivery or a bookmark behind the one before it is out of order. Across connections: a cursor
behind the last one is legitimate (the agent asked for it by presenting an older cursor), but an event that an earlier
connection had passed over by delivering something further on, or by a bookmark, comes too late. Two events under one
cursor have no order at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from reports.checkers.chain import Chain, Misplaced
from reports.checkers.findings import Finding, Guarantee, Judged, Kind
from reports.index import NONE, Index


def check_order(index: Index, chains: Sequence[Chain]) -> Judged:
    """Judge G3."""
    judged = Judged(
        Guarantee.G3,
        {
            "deliveries": index.counts.deliveries,
            "connections with deliveries": sum(one.deliveries > 0 for chain in chains for one in chain.connections),
            "agents": index.agent_count,
        },
    )
    for chain in chains:
        for misplaced in chain.misplaced:
            if misplaced.kind is Kind.OUT_OF_ORDER:
                judged.add(_out_of_order(index, chain, misplaced))
    for first, second in _shared(index):
        judged.add(_cursor_shared(index, first, second))
    return judged


def _out_of_order(index: Index, chain: Chain, misplaced: Misplaced) -> Finding:
    what = "a bookmark" if misplaced.event == NONE else "this event"
    return Finding(
        kind=Kind.OUT_OF_ORDER,
        agent=chain.log.agent,
        event_id=None if misplaced.event == NONE else index.events.ids[misplaced.event],
        cursor=index.cursor_of(misplaced.position),
        t_ns=misplaced.t_ns,
        detail=f"expected rising cursors; got {what} on connection {chain.log.conns[misplaced.conn]} "
        "after something that lies behind it in the stream",
        evidence=tuple(record for record in (misplaced.other_record, misplaced.record) if record != NONE),
    )


def _shared(index: Index) -> list[tuple[int, int]]:
    """Pairs of stored events with one position."""
    events = index.events
    positions = sorted(position for position in events.position if position != NONE)
    twice = {a for a, b in pairwise(positions) if a == b}
    if not twice:
        return []
    first_at: dict[int, int] = {}
    pairs = []
    for row, position in enumerate(events.position):
        if position in twice:
            if position in first_at:
                pairs.append((first_at[position], row))
            first_at.setdefault(position, row)
    return pairs


def _cursor_shared(index: Index, first: int, second: int) -> Finding:
    events = index.events
    records = [events.publish_record[first], events.acked_record[first]]
    records += [events.publish_record[second], events.acked_record[second]]
    return Finding(
        kind=Kind.CURSOR_SHARED,
        agent=None,
        event_id=events.ids[second],
        cursor=index.cursor_of(events.position[second]),
        t_ns=max(events.acked_ns[second], events.first_publish_ns[second], 0),
        detail=f"expected one event at a cursor; got {events.ids[first]} and {events.ids[second]}",
        evidence=tuple(record for record in records if record != NONE),
    )
