"""G2, no silence: beyond retention the agent is told, exactly.

*Told*: what an agent was led past beyond its retention must be covered by a notice of its class (`loss.py`).

*Exactly*: a notice of expiry is false if nothing of its class addressed to the agent stays missing where it speaks
(`told.py`), unless what is missing may be something that this history can't place: an event whose publish ended
unknown, or that the stream may have taken twice; or a stale redispatch, which no publisher records. Such a notice is
believed only if there is a candidate old enough. A floor that is the position of a known event is never in doubt: it
must be one of the agent's, of the class.

*The cursor's own notices*: `wrong_epoch` is false if the stream was still in the cursor's epoch afterwards (it took a
later event, or gave a later bookmark, under that epoch); once power was lost, or another epoch was seen, only the
bookmark tells, for who publishes straight into the stream names the epoch that he knew. `ahead` is false if the stream
had acknowledged as much before, unless it went back: an event sent later was acknowledged at or below the cursor, or
power was lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

from reports.checkers.chain import Chain, NoticeSeen
from reports.checkers.findings import Finding, Guarantee, Judged, Kind
from reports.checkers.invented import served
from reports.checkers.loss import fates_of, finding_of
from reports.checkers.ranges import silence_of_ranges
from reports.history import Gone
from reports.index import NONE, Index
from system.cursor import ORDINAL_MAX, SEQ_MAX, ordinal_of, pack
from system.event import ASSIGNED

POSITION_MAX = pack(ORDINAL_MAX, SEQ_MAX)


def check_notices(index: Index, chains: Sequence[Chain]) -> Judged:
    """Judge G2."""
    judged = Judged(
        Guarantee.G2,
        {
            "connections": sum(len(chain.connections) for chain in chains),
            "notices": sum(len(chain.notices) for chain in chains),
            "events told gone": 0,
        }
        | ({"made-up cursors": len(index.invented)} if index.invented else {}),
    )
    for found in served(index):
        judged.add(found)
    for found in silence_of_ranges(index, chains):
        judged.add(found)
    truth = _Truth(index)
    for chain in chains:
        for passed, kind in zip(chain.passed, fates_of(index, chain), strict=True):
            if kind in (Kind.SILENT_GAP, Kind.WRONG_NOTICE_CLASS):
                judged.add(finding_of(index, chain, passed, kind))
            elif kind in (None, Kind.LOST_EARLY):
                judged.trials["events told gone"] += 1
        for notice in chain.notices:
            why = truth.why_false(chain, notice)
            if why is not None:
                judged.add(_false(index, chain, notice, why))
        for misplaced in chain.misplaced:
            if misplaced.kind is Kind.CURSOR_ACCEPTED:
                standing = chain.connection(misplaced.conn)
                judged.add(
                    Finding(
                        kind=misplaced.kind,
                        agent=chain.log.agent,
                        event_id=None,
                        cursor=standing.presented,
                        t_ns=misplaced.t_ns,
                        detail=f"expected a 410 for cursor {standing.presented}, which means nothing in the stream "
                        f"as it was; got a stream on connection {chain.log.conns[misplaced.conn]}",
                        evidence=(misplaced.other_record, misplaced.record),
                    )
                )
    return judged


class _Acks:
    """How far one epoch's stream had got, by time."""

    def __init__(self, *, acked: list[tuple[int, int]], sent: list[tuple[int, int]]) -> None:
        acked.sort()
        sent.sort(reverse=True)
        self._acked_ns = [t_ns for t_ns, _ in acked]
        self._reached = list(accumulate((position for _, position in acked), max))
        self._sent_ns = [-t_ns for t_ns, _ in sent]
        self._lowest = list(accumulate((position for _, position in sent), min))

    def reached_by(self, t_ns: int) -> int:
        """The highest position acknowledged before a time."""
        count = bisect_left(self._acked_ns, t_ns)
        return self._reached[count - 1] if count else NONE

    def lowest_sent_after(self, t_ns: int) -> int:
        """The lowest position of what was sent after a time."""
        count = bisect_left(self._sent_ns, -t_ns)
        return self._lowest[count - 1] if count else POSITION_MAX


class _Truth:
    """What is known of the stream, looked up only when a notice is in question."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def why_false(self, chain: Chain, notice: NoticeSeen) -> str | None:
        """Why a notice is certainly false, or None."""
        if not notice.is_expiry:
            assert isinstance(notice.note, Gone)
            is_false = self._is_current if notice.note.reason == "wrong_epoch" else self._was_reached
            return is_false(notice)
        if notice.explained or notice.hides_critical or self._may_be_unplaced(chain, notice):
            return None
        kept = "critical" if notice.is_gone else "standard"
        return f"nothing {kept} addressed to the agent is missing behind {self._where(notice)}"

    def _where(self, notice: NoticeSeen) -> str:
        return self._index.cursor_of(notice.after) if notice.after > 0 else "the beginning"

    def _is_current(self, notice: NoticeSeen) -> str | None:
        position = self._index.position_of(notice.note.cursor)
        if position is None:
            return None
        epoch = self._index.epoch_of(position)
        last_ns = epoch.last_bookmark_ns
        if epoch is self._index.epochs[-1] and not self._was_power_lost(notice):
            last_ns = max(last_ns, epoch.last_publish_ns)
        if last_ns <= notice.t_ns:
            return None
        return f"the stream was in epoch {epoch.tag} before and after it"

    def _was_reached(self, notice: NoticeSeen) -> str | None:
        position = self._index.position_of(notice.note.cursor)
        acks = None if position is None else self._acks.get(ordinal_of(position))
        if position is None or acks is None:
            return None
        if acks.reached_by(notice.t_ns) < position or acks.lowest_sent_after(notice.t_ns) <= position:
            return None
        if self._was_power_lost(notice):
            return None
        return "the stream had acknowledged an event at or behind this cursor before"

    def _was_power_lost(self, notice: NoticeSeen) -> bool:
        faults = (fault for _, fault in self._index.faults if fault.phase == "effective" and fault.t_ns <= notice.t_ns)
        return any(fault.what.startswith("power") for fault in faults)

    @cached_property
    def _acks(self) -> dict[int, _Acks]:
        """What was acknowledged, by the ordinal of its epoch."""
        events = self._index.events
        rows: dict[int, list[int]] = {}
        for row, acked_ns in enumerate(events.acked_ns):
            if acked_ns != NONE:
                rows.setdefault(ordinal_of(events.position[row]), []).append(row)
        return {
            ordinal: _Acks(
                acked=[(events.acked_ns[row], events.position[row]) for row in of_epoch],
                sent=[(events.first_publish_ns[row], events.position[row]) for row in of_epoch],
            )
            for ordinal, of_epoch in rows.items()
        }

    def _may_be_unplaced(self, chain: Chain, notice: NoticeSeen) -> bool:
        """Whether what the notice speaks of may be an event whose position the history doesn't show."""
        floor = notice.floor(notice.is_gone)
        if notice.states_floors:
            if floor <= notice.after:
                return False
            if floor <= self._index.swept_to(chain.log.name, notice.is_gone):
                return True  # it was deleted before the export, and nothing tells of it any more
            known = self._known.get(floor)
            if known is not None:
                # a redispatch that was delivered is placed, though not owed
                index = self._index
                owed = index.events.is_acked(known)
                return not owed and index.is_for(known, chain.log) and index.is_critical(known) == notice.is_gone
        return self._has_candidate(chain, notice)

    def _has_candidate(self, chain: Chain, notice: NoticeSeen) -> bool:
        index = self._index
        kept = index.run.retention_ns
        retention_ns = kept.critical if notice.is_gone else kept.standard
        latest_ns = notice.t_ns - retention_ns + index.run.slack_ns
        unknown = self._earliest_unknown.get((chain.log.name, notice.is_gone), latest_ns + 1)
        for_all = self._earliest_unknown.get((index.all_agents, notice.is_gone), latest_ns + 1)
        assigned = latest_ns + 1
        if (ASSIGNED in index.run.critical_types) == notice.is_gone:
            assigned = self._earliest_assigned.get(chain.log.name, assigned)
        return min(unknown, for_all, assigned) <= latest_ns

    @cached_property
    def _known(self) -> dict[int, int]:
        """Every event whose position is known, by position."""
        return {position: row for row, position in enumerate(self._index.events.position) if position != NONE}

    @cached_property
    def _earliest_unknown(self) -> dict[tuple[int, bool], int]:
        """When the first event that may have had an unknown place was sent, by addressee and whether it is critical."""
        index, events = self._index, self._index.events
        found: dict[tuple[int, bool], int] = {}
        for row in range(len(events.ids)):
            # one that the stream took twice may have had another place before, which nobody named
            if events.is_unknown(row) or events.forgotten[row]:
                key = (events.addressee[row], index.is_critical(row))
                sent_ns = events.first_publish_ns[row]
                found[key] = min(found.get(key, sent_ns), sent_ns)
        return found

    @cached_property
    def _earliest_assigned(self) -> dict[int, int]:
        """When the first event that may be dispatched again was sent, by addressee."""
        index, events = self._index, self._index.events
        found: dict[int, int] = {}
        for row in range(len(events.ids)):
            if events.is_published(row) and index.types[events.type[row]] == ASSIGNED:
                addressee, sent_ns = events.addressee[row], events.first_publish_ns[row]
                found[addressee] = min(found.get(addressee, sent_ns), sent_ns)
        return found


def _false(index: Index, chain: Chain, notice: NoticeSeen, why: str) -> Finding:
    kind = Kind.FALSE_410 if notice.is_gone else Kind.FALSE_GAP
    reason = notice.note.reason if isinstance(notice.note, Gone) else "expired"
    floors = notice.note.floors
    return Finding(
        kind=kind,
        agent=chain.log.agent,
        event_id=None,
        cursor=notice.note.cursor,
        t_ns=notice.t_ns,
        detail=f"expected no {'loss' if notice.is_gone else 'gap'} to be told ({why}); got reason '{reason}' "
        f"with floors critical {floors.critical}, standard {floors.standard} "
        f"on connection {chain.log.conns[notice.conn]}",
        evidence=(chain.connection(notice.conn).connect_record, notice.record),
    )
