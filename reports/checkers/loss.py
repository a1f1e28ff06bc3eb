"""G1, no loss: every acknowledged event reaches its agent, as long as the reconnect gap is within its retention.

What an agent was led past and never received (`follow.py`) is one of three things, decided here for G1 and G2 alike:

- It was *told*. A notice covers an event if it was given when the event was already published, by an agent standing
  before it, and speaks of its class up to its position (or of the cursor itself: `wrong_epoch` and `ahead` cover
  everything behind it). An export has no publishes, only when each event was stored: what a notice names was there. A
  critical event is covered by a loss notice only. Told is enough for G2, but an event that was within its retention at
  the notice has been expired early: lost all the same.
- It was not told, and within its retention when the agent was led past it: *lost*.
- It was not told, and past it: a *silent gap*, or the *wrong notice class* if a gap was told in its stead.

Ages are upper bounds (from the first attempt to publish), so that what is called young was young without doubt; what
is not certainly young but untold is a silent gap, hence a violation either way. An event told as expired *after* the
agent was led past it while young was lost then, and the notice does not mend it.

Retention bounds ages from below only: nobody is promised that an event is gone by then, and one that is kept for longer
is no finding. That each class is swept at all, a campaign's marks say (`gap.told`, `gone.told`).

What was received is lost all the same if the client saves its cursor before its application is done with it: where
histories tell what was handled, that is a finding too, whether or not a crash came.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.checkers.chain import Chain, NoticeSeen, Passed
from reports.checkers.findings import Finding, Guarantee, Judged, Kind
from reports.checkers.owed import is_young
from reports.checkers.ranges import lost_of_ranges, ranges_tried, swept_early
from reports.handling import Unhandled
from reports.index import NONE, Index


def check_loss(index: Index, chains: Sequence[Chain]) -> Judged:
    """Judge G1."""
    judged = Judged(
        Guarantee.G1,
        {
            "events acknowledged": sum(acked_ns != NONE for acked_ns in index.events.acked_ns),
            "owed to agents": _owed(index, chains),
            "deliveries": index.counts.deliveries,
        }
        | ranges_tried(index)
        | ({"handled": index.handling.count} if index.run.tells_handled else {}),
    )
    for one in index.handling.unhandled:
        judged.add(_unhandled(index, one))
    for found in (*lost_of_ranges(index, chains), *swept_early(index)):
        judged.add(found)
    for chain in chains:
        for passed, kind in zip(chain.passed, fates_of(index, chain), strict=True):
            if kind in (Kind.LOST_PREFIX, Kind.LOST_MIDDLE, Kind.LOST_TAIL, Kind.LOST_EARLY):
                judged.add(finding_of(index, chain, passed, kind))
    return judged


def _unhandled(index: Index, one: Unhandled) -> Finding:
    return Finding(
        kind=Kind.SAVED_UNHANDLED,
        agent=one.agent,
        event_id=index.events.ids[one.event],
        cursor=index.cursor_of(one.position),
        t_ns=one.t_ns,
        detail="expected a cursor to be saved once the application is done with what it covers; got it saved before",
        evidence=(one.delivered_record, one.saved_record),
    )


def _owed(index: Index, chains: Sequence[Chain]) -> int:
    """What all clients are owed; those of an export are connections, of which an agent may have any number."""
    if index.run.world == "production":
        return sum({chain.log.name: chain.owed for chain in chains}.values())
    return sum(chain.owed for chain in chains)


def fates_of(index: Index, chain: Chain) -> list[Kind | None]:
    """What became of each event that an agent was led past, in their order."""
    if len(chain.fates) != len(chain.passed):
        chain.fates = [fate_of(index, chain, passed) for passed in chain.passed]
    return chain.fates


def fate_of(index: Index, chain: Chain, passed: Passed) -> Kind | None:
    """What became of an event that an agent was led past; None if it was rightly told."""
    notice = first_cover(index, chain.notices, passed)
    young = is_young(index, passed.event, passed.t_ns)
    if notice is not None:
        if notice.t_ns < index.events.first_publish_ns[passed.event]:
            return None  # how old it was nobody knows: only an export has what was stored after it was told to be gone
        if is_young(index, passed.event, notice.t_ns):
            return Kind.LOST_EARLY
        return _lost(chain, passed) if young and passed.t_ns < notice.t_ns else None
    if young:
        return _lost(chain, passed)
    if index.is_critical(passed.event) and _gap_for(chain, passed) is not None:
        return Kind.WRONG_NOTICE_CLASS
    return Kind.SILENT_GAP


def first_cover(index: Index, notices: Sequence[NoticeSeen], passed: Passed) -> NoticeSeen | None:
    """The first notice that told the agent of this event."""
    critical = index.is_critical(passed.event)
    # an export has no publish, only the moment of storage: where sessions read Redis, that may be after the end there
    published_ns = 0 if index.run.world == "production" else index.events.first_publish_ns[passed.event]
    place = min(passed.position, index.events.lowest_place(passed.event))
    for notice in notices:
        if notice.after >= passed.position or notice.t_ns < published_ns or (critical and not notice.is_gone):
            continue
        if not notice.is_expiry or not notice.states_floors or place <= notice.floor(critical):
            return notice
    return None


def finding_of(index: Index, chain: Chain, passed: Passed, kind: Kind) -> Finding:
    """The finding for an event that an agent was led past."""
    events, event = index.events, passed.event
    notice = first_cover(index, chain.notices, passed) or _gap_for(chain, passed)
    age_s = (passed.t_ns - events.first_publish_ns[event]) / 1e9
    kept_s = index.retention_ns(event) / 1e9
    detail = (
        f"{_expected(index, event)}; never received, led past by {passed.how.value} "
        f"on connection {chain.log.conns[passed.conn]} at an age of at most {age_s:.1f} s (kept for {kept_s:.0f} s)"
    )
    if kind is Kind.LOST_EARLY and notice is not None:
        told_s = (notice.t_ns - events.first_publish_ns[event]) / 1e9
        detail += f"; told to be gone at an age of at most {told_s:.1f} s"
    elif kind is Kind.WRONG_NOTICE_CLASS:
        detail += "; it is critical, and only a gap was told"
    elif kind is Kind.SILENT_GAP:
        detail += "; expired, and no notice speaks of it"
    records = [events.publish_record[event], events.acked_record[event]]
    records += [notice.record] if notice is not None else []
    records += [chain.connection(passed.conn).connect_record, passed.record]
    return Finding(
        kind=kind,
        agent=chain.log.agent,
        event_id=events.ids[event],
        cursor=index.cursor_of(passed.position),
        t_ns=passed.t_ns,
        detail=detail,
        evidence=tuple(sorted({record for record in records if record != NONE})),
    )


def _expected(index: Index, event: int) -> str:
    of_class = "critical" if index.is_critical(event) else "standard"
    return f"expected this {of_class} event ({index.types[index.events.type[event]]}), acknowledged at its cursor"


def _lost(chain: Chain, passed: Passed) -> Kind:
    """Where the hole is, relative to what the agent received."""
    if chain.last_received <= passed.position:
        return Kind.LOST_TAIL
    return Kind.LOST_PREFIX if passed.position < chain.first_received else Kind.LOST_MIDDLE


def _gap_for(chain: Chain, passed: Passed) -> NoticeSeen | None:
    """The gap notice that was given in place of a loss notice for this event."""
    return next(
        (
            notice
            for notice in chain.notices
            if not notice.is_gone
            and notice.after < passed.position
            and (passed.position <= notice.critical or notice.conn == passed.conn)
        ),
        None,
    )
