"""G6, progress: once faults heal, connected agents are caught up, and pg-writer has nothing pending, within a bound.

The run says when faults were lifted (`healed`) and when it saw everybody caught up (`converged`); this checker takes
neither on trust. An agent takes part if it was connected, or still trying, after `healed`; it is caught up once it has
got past everything acknowledged before `healed`, by delivery, bookmark or notice. The bound is the run's own.

Assignments that nobody acknowledges are to come again, which no guarantee promises by itself; it is judged here, as a
step that the mesh must not stop at (`reminders.py`).

These findings are about progress, not loss: a run that breaks nothing but G6 has *not converged*. An agent that was
connected when the run said `converged` and lacks an event is judged by G1 and G2 instead (`follow.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.checkers.chain import Chain
from reports.checkers.findings import Finding, Guarantee, Judged, Kind
from reports.checkers.reminders import not_reminded, overdue
from reports.index import NONE, Index


def check_progress(index: Index, chains: Sequence[Chain]) -> Judged:
    """Judge G6; without a `healed` phase only reminders are judged."""
    healed_ns = index.phase_ns("healed")
    taking_part = [chain for chain in chains if chain.in_progress]
    seen = [] if healed_ns is None else [one for one in index.writers if one[1].t_ns >= healed_ns]
    due = list(overdue(index, chains))
    judged = Judged(
        Guarantee.G6,
        {"agents after healing": len(taking_part), "looks at pg-writer after healing": len(seen)}
        | ({"assignments overdue": len(due)} if index.run.reminders is not None else {}),
    )
    for one in due:
        if not one.is_reminded:
            judged.add(not_reminded(index, one))
    if healed_ns is None:
        return judged
    _check_phases(index, judged, healed_ns)
    for chain in taking_part:
        if chain.behind:
            judged.add(_not_caught_up(index, chain))
    if seen and seen[-1][1].pending:
        number, writer = seen[-1]
        judged.add(
            Finding(
                kind=Kind.WRITER_PENDING,
                agent=None,
                event_id=None,
                cursor=None,
                t_ns=writer.t_ns,
                detail=f"expected pg-writer to have nothing pending at the last look; got {writer.pending} messages",
                evidence=(number,),
            )
        )
    return judged


def _check_phases(index: Index, judged: Judged, healed_ns: int) -> None:
    bound_ns = index.run.converge_bound_ns
    bound = "the run's end" if bound_ns is None else f"{bound_ns / 1e9:.1f} s"
    record = next(number for number, phase in reversed(index.phases) if phase.name == "healed")
    converged_ns = index.phase_ns("converged")
    if converged_ns is None or converged_ns < healed_ns:
        waited_s = (index.counts.last_ns - healed_ns) / 1e9
        judged.add(
            Finding(
                kind=Kind.NOT_CONVERGED,
                agent=None,
                event_id=None,
                cursor=None,
                t_ns=index.counts.last_ns,
                detail=f"expected everybody caught up within {bound} of healing; not seen in {waited_s:.1f} s",
                evidence=(record,),
            )
        )
    elif bound_ns is not None and converged_ns - healed_ns > bound_ns:
        judged.add(
            Finding(
                kind=Kind.CONVERGED_LATE,
                agent=None,
                event_id=None,
                cursor=None,
                t_ns=converged_ns,
                detail=f"expected everybody caught up within {bound} of healing; "
                f"it took {(converged_ns - healed_ns) / 1e9:.1f} s",
                evidence=(record,),
            )
        )


def _not_caught_up(index: Index, chain: Chain) -> Finding:
    events, first = index.events, chain.behind[0]
    last = chain.connections[-1]
    state = "was never answered" if last.status == NONE else f"was answered {last.status}"
    records = (events.publish_record[first], events.acked_record[first], last.connect_record)
    return Finding(
        kind=Kind.NOT_CAUGHT_UP,
        agent=chain.log.agent,
        event_id=events.ids[first],
        cursor=index.cursor_of(events.position[first]),
        t_ns=index.counts.last_ns,
        detail=f"expected the agent past everything acknowledged before healing; {len(chain.behind)} events are ahead "
        f"of it, this one first; its last connection, {chain.log.conns[last.number]}, {state}",
        evidence=tuple(sorted(records)),
    )
