"""The verdict: what all checkers together say of a run, and the exit code that a program sees.

A run counts as *held* only if it took place as asked: every fault took effect, every guarantee was put to the test, and
everybody was caught up in the end. What did not take place is never green.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.checkers.findings import Guarantee, Judged
from reports.index import Index
from reports.report import FaultShown, Verdict
from system.exits import COULD_NOT_RUN, NOT_CONVERGED, VIOLATED

EXIT_CODES: dict[Verdict, int] = {
    "held": 0,
    "violated": VIOLATED,
    "not converged": NOT_CONVERGED,
    "could not run": COULD_NOT_RUN,
}
"""2 is a usage error, as everywhere."""

ALWAYS_TRIED = frozenset(Guarantee) - {Guarantee.G6, Guarantee.G8}
"""A run that did not put one of these to the test proves nothing; progress and survival have words of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a history must hold so that 'held' may be said of it."""

    tried: frozenset[Guarantee]
    """These must have been put to the test."""
    convergence: bool
    """It must show that everybody was caught up in the end."""
    publishes: bool
    """Without any, it was not cut from the world whole, and what looks like a breach is none."""


_PLAYED = Demands(tried=ALWAYS_TRIED, convergence=True, publishes=False)
DEMANDS: dict[str, Demands] = {
    "real": _PLAYED,
    "sim": _PLAYED,
    "production": Demands(tried=frozenset({Guarantee.G1}), convergence=False, publishes=True),
}
"""By a run's world. Nobody plays faults in production or waits for an end: an export is judged by what it holds, and
what it does not hold is named in the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """What whoever played the run saw, beside what the history's own witness says."""

    broken: tuple[str, ...] = ()
    """Such as a relay that ended by itself: as bad as a violation."""
    useless: tuple[str, ...] = ()
    """Such as a step of the plan taken far too late: the run proves nothing."""


NOTHING_ELSE = Witnessed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict with its reason, one sentence."""

    verdict: Verdict
    reason: str

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        return EXIT_CODES[self.verdict]


def decide(
    index: Index, judged: Sequence[Judged], faults: Sequence[FaultShown], witnessed: Witnessed = NOTHING_ELSE
) -> Decision:
    """Draw the verdict; a violation outweighs all that follows, for it is a fact whatever else went wrong.

    So does an end at which somebody was not caught up: of a relay that delivers nothing, little else can be seen.
    """
    asked, counts = DEMANDS[index.run.world], index.counts
    if asked.publishes and not counts.published["acked"]:
        return Decision(
            verdict="could not run",
            reason="expected the publishes of an export ('publish' and 'published' with outcome 'acked'), got none: "
            "without them every delivery is a stranger.",
        )
    broken = [one for one in judged if one.guarantee is not Guarantee.G6 and one.counts.total()]
    if broken:
        parts = [
            f"{one.guarantee} ({', '.join(f'{count} {kind}' for kind, count in sorted(one.counts.items()))})"
            for one in broken
        ]
        causes = "".join(f" {found.detail}." for one in broken if one.guarantee is Guarantee.G8 for found in one)
        return Decision(verdict="violated", reason=f"the history shows breaches of {'; '.join(parts)}.{causes}")
    broken_ways, useless = (*index.witness.broken, *witnessed.broken), (*index.witness.useless, *witnessed.useless)
    if broken_ways:
        return Decision(verdict="violated", reason="; ".join(broken_ways) + ".")
    if useless:
        return Decision(verdict="could not run", reason=f"the run proves nothing: {'; '.join(useless)}.")
    late = [one for one in judged if one.guarantee is Guarantee.G6 and one.counts.total()]
    if late:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(late[0].counts.items()))
        return Decision(verdict="not converged", reason=f"after healing not everybody was caught up in time: {kinds}.")
    idle = [fault for fault in faults if not fault.effective]
    if idle:
        names = ", ".join(f"{fault.id} ({fault.what} on {fault.target})" for fault in idle[:5])
        return Decision(
            verdict="could not run",
            reason=f"{len(idle)} of {len(faults)} faults were asked for and never took effect: {names}.",
        )
    seen = counts.deliveries + counts.sent
    if not seen or not counts.published["acked"]:
        return Decision(
            verdict="could not run",
            reason=f"expected events and deliveries, got {counts.published['acked']} acknowledged events and "
            f"{seen} deliveries: nothing was put to the test.",
        )
    untried = [str(one.guarantee) for one in judged if one.guarantee in ALWAYS_TRIED and not one.is_tried]
    missed = [one for one in untried if one in asked.tried]
    if missed:
        return Decision(verdict="could not run", reason=f"{', '.join(missed)} were not put to the test.")
    if asked.convergence and index.phase_ns("converged") is None:
        return Decision(verdict="not converged", reason="the history ends before everybody was caught up.")
    if index.run.world == "production":
        return Decision(verdict="held", reason=_export_held(index, judged))
    return Decision(
        verdict="held",
        reason=f"no acknowledged event was lost, repeated, misdirected or hushed up in {counts.deliveries:,} "
        f"deliveries to {index.agent_count} agents, with {len(faults)} faults that each left proof.",
    )


def _export_held(index: Index, judged: Sequence[Judged]) -> str:
    """What an export shows, and what it can't."""
    tried = [str(one.guarantee) for one in judged if one.is_tried]
    untried = [str(one.guarantee) for one in judged if not one.is_tried]
    seen = [f"{index.counts.deliveries:,} deliveries"] if index.counts.deliveries else []
    seen += [f"{index.counts.sent:,} events that relays counted as sent"] if index.counts.sent else []
    return (
        f"nothing in this export breaks {', '.join(tried)}: {' and '.join(seen)} to {index.agent_count} agents; "
        f"not put to the test: {', '.join(untried)}."
    )
