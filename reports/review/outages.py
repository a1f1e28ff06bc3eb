"""What an outage cost: a run in which one part was away for a time, in numbers. Pure.

*The end of the outage* is when the last of its faults was lifted. *Caught up* is who had, of everything that was first
sent before that moment and is acknowledged by now, either received it or been told, or led past it in silence, which
is lost. Asked are the clients that are there after that moment; one that sleeps through it owes no haste.
"""

from __future__ import annotations

from collections.abc import Iterator

from reports.checkers.chain import Chain
from reports.checkers.follow import chains_of
from reports.checkers.loss import fate_of
from reports.index import NONE, Index, Log, Op
from reports.report import Report
from reports.review.evidence import Outage

NS_PER_S = 1_000_000_000


def outage_of(
    index: Index, report: Report, *, transport: str, what: str, how: str, length_s: float, command: str
) -> Outage:
    """The outage that a run was played for; `report` is the judge's word on the same history."""
    events = index.events
    chains = chains_of(index)
    told = {True: 0, False: 0}
    lost = 0
    for chain in chains:
        for passed in chain.passed:
            if fate_of(index, chain, passed) is None:
                told[index.is_critical(passed.event)] += 1
            else:
                lost += 1
        for row in _told_by_epoch(index, chain):
            told[index.is_critical(row)] += 1
    return Outage(
        transport=transport,
        what=what,
        how=how,
        length_s=length_s,
        seed=index.run.seed,
        verdict=report.verdict,
        reason=report.reason,
        violated=tuple(one.guarantee for one in report.guarantees if one.verdict in ("violated", "not converged")),
        events=sum(at_ns != NONE for at_ns in events.acked_ns),
        refused=sum(events.failed_first),
        delivered=index.counts.deliveries,
        lost=lost,
        told_critical=told[True],
        told_standard=told[False],
        caught_up_s=caught_up_s(index, chains),
        command=command,
    )


def _told_by_epoch(index: Index, chain: Chain) -> dict[int, int]:
    """What a client never received and was not led past, for it was told of another epoch and began anew; and when."""
    events = index.events
    notices = [one for one in chain.notices if not one.is_expiry]
    if not notices:
        return {}
    settled = {row for op, row in zip(chain.log.op, chain.log.b, strict=True) if op == Op.DELIVER}
    settled |= {one.event for one in chain.passed}
    told = {}
    for row, sent_ns in enumerate(events.first_publish_ns):
        if sent_ns == NONE or row in settled or not events.is_acked(row) or not index.is_for(row, chain.log):
            continue
        place = events.position[row]
        when_ns = [one.t_ns for one in notices if one.after < place and one.t_ns >= sent_ns]
        if when_ns:
            told[row] = min(when_ns)
    return told


def caught_up_s(index: Index, chains: list[Chain]) -> float | None:
    """From the end of the outage until everybody was caught up; None if that is not seen, or nothing was lifted."""
    lifted_ns = [fault.t_ns for _, fault in index.faults if fault.phase == "lifted"]
    if not lifted_ns:
        return None
    end_ns = max(lifted_ns)
    settled_ns = [at_ns for chain in chains if _is_there(chain.log, end_ns) for at_ns in _settled(index, chain, end_ns)]
    if NONE in settled_ns:
        return None
    return round(max(0, max(settled_ns, default=end_ns) - end_ns) / NS_PER_S, 3)


def _is_there(log: Log, t_ns: int) -> bool:
    """Whether a client has a stream, or asks for one, at some moment after a time."""
    is_open = False
    for op, at_ns in zip(log.op, log.t_ns, strict=True):
        if op == Op.CONNECT:
            if at_ns >= t_ns:
                return True
            is_open = True
        elif op == Op.DISCONNECT and at_ns < t_ns:
            is_open = False
    return is_open


def _settled(index: Index, chain: Chain, end_ns: int) -> Iterator[int]:
    """When each event that was sent before a time was settled for a client; NONE for one that never was."""
    events, log = index.events, chain.log
    received: dict[int, int] = {}
    for op, row, at_ns in zip(log.op, log.b, log.t_ns, strict=True):
        if op == Op.DELIVER:
            received.setdefault(row, at_ns)
    passed = {one.event: one.t_ns for one in chain.passed} | _told_by_epoch(index, chain)
    for row, sent_ns in enumerate(events.first_publish_ns):
        if NONE < sent_ns < end_ns and events.is_acked(row) and index.is_for(row, log):
            yield received.get(row, passed.get(row, NONE))
