"""G8, survival: what was acknowledged outlives the end of any process, as far as its storage allows.

Survival as such is G1 to G5 in a run whose processes died; what this module adds is the blame. A fault's proof may say
that NATS did not sync before it acknowledged (`nats_sync`: `interval`) and lost what it had stored. Events that were
acknowledged before such a power loss and are lost (`loss.py`) are then no riddle: they are laid to the server's
setting, in one finding for each power loss, beside their own findings of G1.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from reports.checkers.chain import Chain
from reports.checkers.findings import GUARANTEE_OF, Finding, Guarantee, Judged, Kind
from reports.checkers.loss import fate_of
from reports.history import Fault
from reports.index import NONE, Index

ENDS = frozenset({"kill", "restart", "power_loss", "leader_change", "quorum_loss"})
"""The faults that survival is about."""
SHOWN_MAX = 20
"""More events in one finding tell no more; each has its own in G1."""


def check_survival(index: Index, chains: Sequence[Chain]) -> Judged:
    """Judge G8, as far as it is more than G1 to G5."""
    effective = [(number, fault) for number, fault in index.faults if fault.phase == "effective"]
    judged = Judged(Guarantee.G8, {"ends of processes": sum(fault.what in ENDS for _, fault in effective)})
    unsynced = [(number, fault) for number, fault in effective if fault.proof.get("nats_sync") == "interval"]
    for (number, fault), events in _lost_to(index, chains, unsynced):
        judged.add(_finding(index, number, fault, events))
    return judged


def _lost_to(
    index: Index, chains: Sequence[Chain], unsynced: list[tuple[int, Fault]]
) -> list[tuple[tuple[int, Fault], list[int]]]:
    """The lost events of each power loss: those acknowledged before it, and after the one before it."""
    if not unsynced:
        return []
    times = [fault.t_ns for _, fault in unsynced]
    found: dict[int, dict[int, None]] = defaultdict(dict)
    for chain in chains:
        for passed in chain.passed:
            kind = fate_of(index, chain, passed)
            if kind is None or GUARANTEE_OF[kind] is not Guarantee.G1:
                continue
            place = bisect_left(times, index.events.acked_ns[passed.event])
            if place < len(times) and passed.t_ns >= times[place]:
                found[place][passed.event] = None
    return [(unsynced[place], list(events)) for place, events in sorted(found.items())]


def _finding(index: Index, number: int, fault: Fault, events: list[int]) -> Finding:
    told = f"; it lost {fault.proof['messages_lost']} messages" if "messages_lost" in fault.proof else ""
    records = [number, *(index.events.acked_record[event] for event in events[:SHOWN_MAX])]
    return Finding(
        kind=Kind.LOST_UNSYNCED,
        agent=None,
        event_id=None,
        cursor=None,
        t_ns=fault.t_ns,
        detail=f"expected what was acknowledged to outlive the {fault.what} of {fault.target}, got {len(events)} "
        f"events lost: NATS ran with sync_interval 2m, not always, and had acknowledged what was on no disk{told}",
        evidence=tuple(sorted({record for record in records if record != NONE})),
    )
