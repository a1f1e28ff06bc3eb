"""What a relay's own word on a connection proves: it sent so many events of a range, and this is their sum.

A `sent` record claims that everything addressed to the agent between two cursors was sent, but for what the agent did
not ask for or was told to be gone. What is *still stored* when the history is exported was stored then: so every event
of the range that the history shows, and that no notice on the connection calls gone, must be among those sent. The
count tells how many are not, the lowest and the highest cursor where to look, the sum which one it is, if it is one.
Each connection is judged by itself.

Judged only where there is no doubt:

- *Too few* is a loss, whatever else the range held. Events deleted since may hide one: they were counted when sent.
- *Too many* is a surplus only where nothing in the range was deleted since, or called gone.
- *Silence*: a floor within the range is the position of a deleted event. If the count and the sum are exactly those of
  what is still stored, that event was not sent; so it must have been told.
- *Deleted early*: what is stored before a floor is older than the event at the floor, so that event was deleted younger
  than this is now.

A connection whose deliveries are in the history too is judged by those (`follow.py`), which say more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from reports.checkers.chain import Chain, NoticeSeen, Standing
from reports.checkers.findings import Finding, Kind
from reports.checkers.owed import Owed, OwedOf, is_young
from reports.history import Sent
from reports.index import NONE, Index
from system.cursor import SEQ_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """One connection's range against what is stored of it."""

    sent: Sent
    record: int
    connect_record: int
    chain: Chain
    start: int
    reached: int
    places: tuple[int, int]
    """Where the events between its lowest and highest cursor stand in `inside`."""
    inside: list[int]
    """Events of the range that had to be sent, by position."""
    is_whole: bool
    """Nothing else of the range may have been sent."""
    by_deliveries: bool
    """Its deliveries are in the history, one by one."""

    @property
    def middle(self) -> list[int]:
        """The events from the lowest to the highest cursor sent."""
        return self.inside[slice(*self.places)]

    def left_over(self, index: Index) -> int:
        """The sum of what is stored and was not sent, less what was sent and is not stored; modulo 2^48."""
        return (sum(index.events.position[event] for event in self.middle) - self.sent.sum) & SEQ_MAX


def ranges_tried(index: Index) -> dict[str, int]:
    """How much was examined, for `Judged.trials`; nothing in a history without such records."""
    return {"events sent by count": index.counts.sent} if index.sent else {}


def lost_of_ranges(index: Index, chains: Sequence[Chain]) -> Iterator[Finding]:
    """Events that connections were led past by the relay's own count."""
    for one in _ranges(index, chains):
        if one.by_deliveries:
            continue
        first, last = one.places
        for event in one.inside[:first]:
            yield _lost(index, one, Kind.LOST_PREFIX, event)
        for event in one.inside[last:]:
            yield _lost(index, one, Kind.LOST_TAIL, event)
        missing = len(one.middle) - one.sent.count
        if missing == 1:
            yield _lost(index, one, Kind.LOST_MIDDLE, _at(index, one.middle, one.left_over(index)))
        elif missing > 1:
            for _ in range(missing):
                yield _lost(index, one, Kind.LOST_MIDDLE, None)
        elif missing == 0 and one.left_over(index):  # had all been sent, the sum would be theirs
            yield _lost(index, one, Kind.LOST_MIDDLE, None)


def surplus_of_ranges(index: Index, chains: Sequence[Chain]) -> Iterator[Finding]:
    """Connections on which more was sent than their range holds."""
    for one in _ranges(index, chains):
        surplus = one.sent.count - len(one.middle)
        if one.by_deliveries or surplus <= 0 or not one.is_whole:
            continue
        twice = _at(index, one.middle, -one.left_over(index) & SEQ_MAX) if surplus == 1 else None
        yield Finding(
            kind=Kind.SURPLUS if twice is None else Kind.DUPLICATE,
            agent=one.chain.log.agent,
            event_id=None if twice is None else index.events.ids[twice],
            cursor=None if twice is None else index.cursor_of(index.events.position[twice]),
            t_ns=one.sent.t_ns,
            detail=f"expected {len(one.middle)} events sent on connection {one.sent.conn}, from {one.sent.first} to "
            f"{one.sent.last}; got {one.sent.count}" + ("" if twice is None else ", by their sum this one twice"),
            evidence=(one.connect_record, one.record),
        )


def silence_of_ranges(index: Index, chains: Sequence[Chain]) -> Iterator[Finding]:
    """Deleted events that connections were led past, neither sent nor told to be gone."""
    for one in _ranges(index, chains):
        # without a start it asked for what there is: what is not, it need not be told
        if one.sent.start is None or one.sent.types or len(one.middle) != one.sent.count or one.left_over(index):
            continue
        for critical in (True, False):
            floor = index.swept_to(one.chain.log.name, critical)
            if not one.start < floor <= one.reached or any(
                _tells(notice, floor, critical) for notice in one.chain.notices
            ):
                continue
            yield Finding(
                kind=Kind.SILENT_GAP,
                agent=one.chain.log.agent,
                event_id=None,
                cursor=index.cursor_of(floor),
                t_ns=one.sent.t_ns,
                detail=f"expected a {'critical' if critical else 'standard'} event, deleted by now, to be "
                f"sent or told to be gone on connection {one.sent.conn}; count and sum are those of the others",
                evidence=(one.connect_record, one.record),
            )


def swept_early(index: Index) -> Iterator[Finding]:
    """Floors at events that can't have been past their retention."""
    if not index.swept_records:
        return
    events = index.events
    stored = sorted((events.position[row], at_ns) for row, at_ns in enumerate(events.acked_ns) if at_ns != NONE)
    positions = [position for position, _ in stored]
    newest_ns = list(accumulate((at_ns for _, at_ns in stored), max))
    kept = index.run.retention_ns
    for record, swept in index.swept_records:
        for critical, text in ((True, swept.floors.critical), (False, swept.floors.standard)):
            floor, kept_ns = index.position_of(text), kept.critical if critical else kept.standard
            before = 0 if floor is None else bisect_left(positions, floor)
            age_ns = swept.t_ns - newest_ns[before - 1] if before else kept_ns
            if age_ns < kept_ns - index.run.slack_ns:
                yield Finding(
                    kind=Kind.LOST_EARLY,
                    agent=swept.agent,
                    event_id=None,
                    cursor=text,
                    t_ns=swept.t_ns,
                    detail=f"expected a {'critical' if critical else 'standard'} event kept for {kept_ns / 1e9:.0f} s; "
                    f"got it deleted at an age of at most {age_ns / 1e9:.1f} s, that of one stored before it",
                    evidence=(record,),
                )


def _ranges(index: Index, chains: Sequence[Chain]) -> Iterator[_Range]:
    """Every connection that has a word of its relay's."""
    if not index.sent:
        return
    owed_of = OwedOf(index)
    by_agent = {chain.log.agent: chain for chain in chains}
    for record, sent in index.sent:
        chain = by_agent[sent.agent]
        owed = owed_of(chain.log)
        start, reached = _position(index, sent.start), _position(index, sent.reached)
        asked = _asked_for(index, owed, start, reached, sent)
        standing = chain.by_number.get(chain.log.number_of(sent.conn))
        inside = [event for event in asked if _had_to_come(index, chain, event, sent, standing)]
        positions = [index.events.position[event] for event in inside]
        low, high = _position(index, sent.first), _position(index, sent.last)
        yield _Range(
            sent=sent,
            record=record,
            connect_record=record if standing is None else standing.connect_record,
            chain=chain,
            start=start,
            reached=reached,
            places=(bisect_left(positions, low), bisect_right(positions, high)),
            inside=inside,
            is_whole=len(inside) == len(asked) and not _holds_deleted(index, chain, start),
            by_deliveries=standing is not None and standing.deliveries > 0,
        )


def _asked_for(index: Index, owed: Owed, start: int, reached: int, sent: Sent) -> list[int]:
    events = owed.events[bisect_right(owed.positions, start) : bisect_right(owed.positions, reached)]
    if not sent.types:
        return events
    wanted = set(sent.types)
    return [event for event in events if index.types[index.events.type[event]] in wanted]


def _had_to_come(index: Index, chain: Chain, event: int, sent: Sent, standing: Standing | None) -> bool:
    """Whether an event of the range was neither told to be gone nor, for who asks for what there is, perhaps gone."""
    if sent.start is None:
        began_ns = sent.t_ns if standing is None else standing.connect_ns
        return is_young(index, event, began_ns)
    position, critical = index.events.position[event], index.is_critical(event)
    return not any(notice.after < position and _tells(notice, position, critical) for notice in chain.notices)


def _position(index: Index, text: str | None) -> int:
    found = index.position_of(text)
    return NONE if found is None else found


def _at(index: Index, events: list[int], seq: int) -> int | None:
    """The one of these events that has this sequence."""
    return next((event for event in events if index.events.position[event] & SEQ_MAX == seq), None)


def _holds_deleted(index: Index, chain: Chain, start: int) -> bool:
    """Whether something behind a start may have been sent and deleted since."""
    return any(index.swept_to(chain.log.name, critical) > start for critical in (True, False))


def _tells(notice: NoticeSeen, floor: int, critical: bool) -> bool:
    """Whether a notice says that the event at a floor is gone; one of a foreign cursor says it of everything."""
    if not notice.is_expiry:
        return True
    return (notice.is_gone or not critical) and floor <= notice.floor(critical)


def _lost(index: Index, one: _Range, kind: Kind, event: int | None) -> Finding:
    events, sent = index.events, one.sent
    told = "" if event is not None else "; which of them, its count does not say"
    extent = f"from {sent.first} to {sent.last}" if sent.count else "nothing"
    records = [one.connect_record, one.record]
    records += [] if event is None else [events.publish_record[event], events.acked_record[event]]
    return Finding(
        kind=kind,
        agent=one.chain.log.agent,
        event_id=None if event is None else events.ids[event],
        cursor=None if event is None else index.cursor_of(events.position[event]),
        t_ns=sent.t_ns,
        detail=f"expected {len(one.inside)} stored events sent on connection {sent.conn}, which reached {sent.reached} "
        f"from {sent.start or 'the beginning'}; got {sent.count}, {extent}{told}",
        evidence=tuple(sorted(set(records))),
    )
