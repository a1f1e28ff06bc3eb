"""What an agent is told by a notice, and whether it is so.

A notice of expiry says: of this class, everything addressed to you from where you stand up to the floor that is not
delivered behind this notice is gone. So it is *explained* if anything that it speaks of stays missing to the end. A
notice without floors speaks of whatever was old enough then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

from reports.checkers.chain import NoticeSeen, Passed
from reports.checkers.owed import Owed, is_young
from reports.history import Gap, Gone
from reports.index import NONE, Index


def read_notice(index: Index, note: Gap | Gone, *, record: int, conn: int, reach: int) -> NoticeSeen:
    """A notice in positions; `reach` is how far its connection had led the agent."""

    def position(text: str | None) -> int:
        found = index.position_of(text)
        return NONE if found is None else found

    return NoticeSeen(
        note=note,
        t_ns=note.t_ns,
        record=record,
        conn=conn,
        after=max(position(note.cursor), reach),
        critical=position(note.floors.critical),
        standard=position(note.floors.standard),
    )


def spoken_of(index: Index, owed: Owed, notice: NoticeSeen) -> Iterator[int]:
    """The owed events that a notice of expiry says are gone, as places in the list of the owed."""
    first = bisect_right(owed.positions, notice.after)
    last = bisect_right(owed.positions, max(notice.critical, notice.standard))
    for place in range(first, last):
        critical = index.is_critical(owed.events[place])
        if owed.positions[place] <= notice.floor(critical) and (notice.is_gone or not critical):
            yield place


def explain(
    index: Index, owed: Owed, notice: NoticeSeen, passed: Mapping[int, Passed], ordered: Sequence[Passed]
) -> None:
    """See whether something that a notice of expiry speaks of is missing to the end."""
    if notice.states_floors:
        spoken = (owed.events[place] for place in spoken_of(index, owed, notice))
        notice.explained = any(event in passed and index.is_critical(event) == notice.is_gone for event in spoken)
    else:
        first = bisect_right(owed.positions, notice.after)
        notice.explained = any(
            index.is_critical(event) == notice.is_gone and not is_young(index, event, notice.t_ns)
            for event in owed.events[first:]
        )
    notice.explained = notice.explained or any(
        _may_speak_of(index, notice, event) for event in owed.unasked if index.is_critical(event) == notice.is_gone
    )
    if not notice.is_gone:
        notice.hides_critical = any(
            one.position > notice.after
            and index.is_critical(one.event)
            and (one.position <= notice.critical or one.conn == notice.conn)
            for one in ordered
        )


def _may_speak_of(index: Index, notice: NoticeSeen, event: int) -> bool:
    """Whether an event that nobody will see may be gone: floors are kept by class, whatever types a client asks for."""
    position = index.events.position[event]
    is_within = not notice.states_floors or position <= notice.floor(index.is_critical(event))
    return notice.after < position and is_within and not is_young(index, event, notice.t_ns)
