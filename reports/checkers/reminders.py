"""Stale redispatches that never came: an assignment that is overdue for certain, and of which its agent got no copy.

The relay publishes an assignment again that its agent has not acknowledged within the limit. A history shows neither
when an event was stored nor what a relay intends, so this is judged only where nothing is in doubt:

- the agent is one of those of whom the run says that they acknowledge nothing, and was given the assignment;
- the run says how long a copy may take, and for so long, and a while before, no fault hit a relay or its servers;
- the agent was led past something that was published later than that: what was in the stream before lies before it;
- neither the assignment nor its copy can have expired meanwhile, and there is one epoch only.

What became of a copy that was published, be it lost, is not told apart: either way the agent was not reminded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from reports.checkers.chain import Chain
from reports.checkers.findings import Finding, Kind
from reports.checkers.owed import is_young
from reports.index import NONE, Index, Log, Op
from reports.records import Reminders
from system.event import ASSIGNED

BESIDE = frozenset({"agent", "publisher", "agent-relay", "publisher-nats"})
"""Targets of faults that keep no relay from looking, nor from publishing what it finds."""


class Overdue(NamedTuple):
    """An assignment of which its agent must have got a copy."""

    event: int
    agent: str
    delivered_record: int
    passed_ns: int
    passed_record: int
    is_reminded: bool


class _Calm(NamedTuple):
    """A time without faults, what they left behind included."""

    from_ns: int
    until_ns: int


def overdue(index: Index, chains: Sequence[Chain]) -> Iterator[Overdue]:
    """Every assignment that is overdue for certain, and whether its agent was reminded."""
    asked = index.run.reminders
    safety_ns = index.phase_ns("safety")
    if asked is None or safety_ns is None or len(index.epochs) != 1:
        return
    calms = _calms(index, asked, safety_ns)
    later = _Later(index)
    for chain in chains:
        if chain.log.agent in asked.silent:
            yield from _of_client(index, chain.log, asked, calms, later)


def not_reminded(index: Index, one: Overdue) -> Finding:
    """The finding for an assignment of which no copy came."""
    events, asked = index.events, index.run.reminders
    assert asked is not None
    records = (events.publish_record[one.event], one.delivered_record, one.passed_record)
    return Finding(
        kind=Kind.NOT_REMINDED,
        agent=one.agent,
        event_id=events.ids[one.event],
        cursor=index.cursor_of(events.position[one.event]),
        t_ns=one.passed_ns,
        detail=f"expected this assignment, which nobody acknowledged, to be dispatched again within "
        f"{asked.within_ns / 1e9:.1f} s; its agent got what was published later than that, and no copy",
        evidence=tuple(sorted(record for record in records if record != NONE)),
    )


class _Later:
    """From which position on the stream holds only what was published after a time, as far as is known."""

    def __init__(self, index: Index) -> None:
        events = index.events
        rows = [row for row, at_ns in enumerate(events.acked_ns) if at_ns != NONE]
        sent = sorted((events.first_publish_ns[row], events.position[row]) for row in rows)
        self._sent_ns = [t_ns for t_ns, _ in sent]
        self._lowest = list(accumulate((position for _, position in reversed(sent)), min))[::-1]

    def than(self, t_ns: int) -> int | None:
        """The lowest position of what was sent after a time; None if nothing was."""
        place = bisect_left(self._sent_ns, t_ns)
        return self._lowest[place] if place < len(self._lowest) else None


def _calms(index: Index, asked: Reminders, safety_ns: int) -> list[_Calm]:
    """Before the first fault that a relay can feel, and after the last one."""
    times = [fault.t_ns for _, fault in index.faults if fault.target not in BESIDE]
    if not times:
        return [_Calm(safety_ns, index.counts.last_ns)]
    return [_Calm(safety_ns, min(times)), _Calm(max(times) + asked.settle_ns, index.counts.last_ns)]


def _of_client(index: Index, log: Log, asked: Reminders, calms: Sequence[_Calm], later: _Later) -> Iterator[Overdue]:
    given, copied = _assignments_of(index, log)
    for event, (delivered_ns, record) in given.items():
        for calm in calms:
            due_ns = max(delivered_ns, calm.from_ns) + asked.within_ns + index.run.slack_ns
            passed = _passed(log, later.than(due_ns)) if due_ns <= calm.until_ns else None
            if passed is not None and _is_kept(index, event, due_ns, passed[0] - asked.after_ns):
                yield Overdue(event, log.agent, record, *passed, is_reminded=event in copied)
                break


def _assignments_of(index: Index, log: Log) -> tuple[dict[int, tuple[int, int]], set[int]]:
    """When a client was given its assignments first, with the record, and of which it got copies."""
    events = index.events
    given: dict[int, tuple[int, int]] = {}
    copied: set[int] = set()
    for row, op in enumerate(log.op):
        if op != Op.DELIVER or index.types[events.type[log.b[row]]] != ASSIGNED:
            continue
        event = log.b[row]
        original, mark, _ = events.ids[event].rpartition("~r")
        if mark and not events.is_published(event):
            copied.add(events.row_of.get(original, NONE))
        elif events.addressee[event] == log.name and events.is_acked(event) and events.attempts[event] == 1:
            given.setdefault(event, (log.t_ns[row], log.record[row]))
    return given, copied


def _passed(log: Log, position: int | None) -> tuple[int, int] | None:
    """When a client first got as far as a position, with the record."""
    if position is None:
        return None
    for row, op in enumerate(log.op):
        if op in (Op.DELIVER, Op.BOOKMARK) and log.a[row] >= position:
            return log.t_ns[row], log.record[row]
    return None


def _is_kept(index: Index, event: int, *times_ns: int) -> bool:
    """Whether an assignment can't have expired by any of these times: only what is stored is dispatched again.

    A copy is so much younger that one time less the limit is asked for it.
    """
    return all(is_young(index, event, t_ns) for t_ns in times_ns)
