"""G5, its own: an agent receives only what is addressed to it, and only what somebody published.

The publisher's word says to whom an event is addressed; a delivery that names another addressee is foreign however it
is labelled. `<id>~r<n>` is a stale redispatch, published by the relay itself: legitimate if `<id>` was published.
An event that was refused at every attempt was not published; one whose outcome is unknown may have been. Where
histories tell what events say, by digests, the application must be given what was published.

A client that asks for some types only is given no other.

A token stops at its expiry: what was published after it is not delivered on a connection that it opened. What came
before may still be on its way then. That it opens one agent's stream only is not seen in a history; tests show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.checkers.chain import Chain, Misplaced
from reports.checkers.findings import Finding, Guarantee, Judged, Kind
from reports.handling import Given
from reports.history import Connect
from reports.index import NONE, Index, Log, Op


def check_addressed(index: Index, chains: Sequence[Chain]) -> Judged:
    """Judge G5."""
    judged = Judged(Guarantee.G5, {"deliveries": index.counts.deliveries, "agents": index.agent_count})
    for chain in chains:
        for misplaced in chain.misplaced:
            if misplaced.kind in (Kind.FOREIGN, Kind.PHANTOM):
                judged.add(_finding(index, chain, misplaced))
        for finding in (*_past_token(index, chain.log), *_unasked(index, chain.log)):
            judged.add(finding)
    for given in index.handling.changed():
        judged.add(_changed(index, given))
    return judged


def _past_token(index: Index, log: Log) -> Iterator[Finding]:
    """Deliveries of what was published after the end of the token that their connection was opened with."""
    slack_ns = index.run.token_slack_ns
    if slack_ns is None or not log.token_ends_ns:
        return
    events = index.events
    for row, op in enumerate(log.op):
        ends_ns = log.token_ends_ns.get(log.conn[row]) if op == Op.DELIVER else None
        published_ns = events.first_publish_ns[log.b[row]] if ends_ns is not None else NONE
        if ends_ns is not None and published_ns > ends_ns + slack_ns:
            detail = (
                f"expected a stream that ends with its token at {ends_ns / 1e9:.3f} s; got an event on it that was "
                f"published at {published_ns / 1e9:.3f} s"
            )
            yield _of_delivery(index, log, row, Kind.PAST_TOKEN, detail, events.publish_record[log.b[row]])


def _unasked(index: Index, log: Log) -> Iterator[Finding]:
    """Deliveries of types that their connection did not ask for."""
    asked: dict[int, tuple[str, ...]] = {}
    for note, row in ((log.notes[log.a[row]], row) for row, op in enumerate(log.op) if op == Op.CONNECT):
        if isinstance(note, Connect) and note.types:
            asked[log.conn[row]] = note.types
    if not asked:
        return
    for row, op in enumerate(log.op):
        types = asked.get(log.conn[row]) if op == Op.DELIVER else None
        got = index.types[index.events.type[log.b[row]]] if types is not None else ""
        if types is not None and got not in types:
            conn = log.conns[log.conn[row]]
            detail = f"expected only types that connection {conn} asks for; got one of {got}"
            yield _of_delivery(index, log, row, Kind.UNASKED, detail)


def _of_delivery(index: Index, log: Log, row: int, kind: Kind, detail: str, *shown_by: int) -> Finding:
    """What a row of a log shows by itself, with the records that it is held against."""
    return Finding(
        kind=kind,
        agent=log.agent,
        event_id=index.events.ids[log.b[row]],
        cursor=index.cursor_of(log.a[row]),
        t_ns=log.t_ns[row],
        detail=detail,
        evidence=(*shown_by, log.record[row]),
    )


def _changed(index: Index, given: Given) -> Finding:
    record = index.events.publish_record[given.event]
    return Finding(
        kind=Kind.CHANGED,
        agent=given.agent,
        event_id=index.events.ids[given.event],
        cursor=None,
        t_ns=given.t_ns,
        detail="expected the event as it was published; got other words under its id",
        evidence=tuple(one for one in (record, given.record) if one != NONE),
    )


def _finding(index: Index, chain: Chain, misplaced: Misplaced) -> Finding:
    events, event = index.events, misplaced.event
    if misplaced.kind is Kind.FOREIGN:
        addressee = index.names[events.addressee[event]]
        detail = f"expected only events for {chain.log.agent} or all; got one published for {addressee}"
    elif events.is_published(event):
        detail = "expected nothing of an event that was refused at every attempt; got it delivered"
    else:
        detail = "expected only what was published; got an event that nobody published"
    record = events.publish_record[event]
    return Finding(
        kind=misplaced.kind,
        agent=chain.log.agent,
        event_id=events.ids[event],
        cursor=index.cursor_of(misplaced.position),
        t_ns=misplaced.t_ns,
        detail=detail,
        evidence=tuple(one for one in (record, misplaced.record) if one != NONE),
    )
