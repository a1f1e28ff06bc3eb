"""A campaign's report as one value: many runs, what each came to, and what all of them together put to the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from reports.report import Report, Verdict
from reports.verdict import EXIT_CODES

NOT_PLAYED = "Not played: "
"""How a report's note on a fault that was left out begins."""
WORST_FIRST: tuple[Verdict, ...] = ("violated", "not converged", "could not run", "held")
"""A breach is a fact whatever else went wrong; what did not take place is never green."""


class RunShown(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a campaign."""

    plan: str
    seed: int
    command: str
    """The words that repeat it."""
    folder: str
    """Where its history and report are, beside the campaign's files."""
    verdict: Verdict
    reason: str
    wall_s: float
    counts: dict[str, int] = {}
    """As in its report."""
    faults: dict[str, dict[str, int]] = {}
    """Faults that left proof, by kind and then by target."""
    guarantees: dict[str, int] = {}
    """How many times it could have broken each."""
    violated: list[str] = []
    """The guarantees that it broke."""
    notes: list[str] = []
    """What was not played."""


class CampaignReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole campaign."""

    schema: str = "meshrelay-chaos-campaign-1"
    verdict: Verdict
    reason: str
    """One sentence that says why."""
    exit_code: int
    started_at: str
    wall_s: float
    counts: dict[str, int]
    """The runs' numbers, added up."""
    faults: dict[str, dict[str, int]]
    """Faults that left proof, by kind and then by target, in order of their names."""
    guarantees: dict[str, int]
    runs: list[RunShown]
    versions: dict[str, str] = {}
    notes: list[str] = []

    @property
    def failed(self) -> list[RunShown]:
        """The runs that somebody has to look at."""
        return [run for run in self.runs if run.verdict != "held"]


def run_of(report: Report, *, folder: str, wall_s: float) -> RunShown:
    """What a campaign shows of a run that was judged."""
    faults: dict[str, Counter[str]] = {}
    for fault in report.faults:
        if fault.effective:
            faults.setdefault(fault.what, Counter())[fault.target] += 1
    return RunShown(
        plan=report.plan,
        seed=report.seed,
        command=report.command,
        folder=folder,
        verdict=report.verdict,
        reason=report.reason,
        wall_s=round(wall_s, 1),
        counts=report.counts,
        faults=_in_order(faults),
        guarantees={one.guarantee: one.trials for one in report.guarantees},
        violated=[one.guarantee for one in report.guarantees if one.verdict in ("violated", "not converged")],
        notes=[note for note in report.notes if note.startswith(NOT_PLAYED)],
    )


def campaign_of(
    runs: Sequence[RunShown],
    *,
    started_at: str,
    wall_s: float,
    versions: dict[str, str],
    notes: Iterable[str] = (),
    is_whole: bool = True,
) -> CampaignReport:
    """The runs together; none at all is a campaign that could not run, as is one whose last run was interrupted."""
    found = {run.verdict for run in runs} | (set() if is_whole else {"could not run"})
    verdict: Verdict = next((one for one in WORST_FIRST if one in found), "could not run")
    counts: Counter[str] = Counter()
    guarantees: Counter[str] = Counter()
    faults: dict[str, Counter[str]] = {}
    for run in runs:
        counts.update(run.counts)
        guarantees.update(run.guarantees)
        for kind, by_target in run.faults.items():
            faults.setdefault(kind, Counter()).update(by_target)
    return CampaignReport(
        verdict=verdict,
        reason=("" if is_whole else "interrupted in a run that is not in here; ") + _reason(runs, verdict),
        exit_code=EXIT_CODES[verdict],
        started_at=started_at,
        wall_s=round(wall_s, 1),
        counts={name: counts[name] for name in _names(runs)},
        faults=_in_order(faults),
        guarantees=dict(sorted(guarantees.items())),
        runs=list(runs),
        versions=versions,
        notes=[*notes, *(f"{run.plan}: {note}" for run in runs for note in run.notes)],
    )


def encode(campaign: CampaignReport) -> bytes:
    """The campaign as JSON, for people's eyes too."""
    return msgspec.json.format(msgspec.json.encode(campaign), indent=1) + b"\n"


def _reason(runs: Sequence[RunShown], verdict: Verdict) -> str:
    if not runs:
        return "no run came to its end."
    if verdict == "held":
        return f"no acknowledged event was lost, repeated, misdirected or hushed up in {len(runs)} runs."
    failed = [run for run in runs if run.verdict != "held"]
    worst = next((run for run in failed if run.verdict == verdict), None)
    if worst is None:
        return f"the {len(runs)} runs before it held."
    return f"{len(failed)} of {len(runs)} runs did not hold; the first {verdict} one is {worst.plan}: {worst.reason}"


def _names(runs: Sequence[RunShown]) -> list[str]:
    """The numbers' names in the order of the first run that has them; agents are not people that add up."""
    return [name for name in dict.fromkeys(name for run in runs for name in run.counts) if name != "agents"]


def _in_order(faults: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {kind: dict(sorted(by_target.items())) for kind, by_target in sorted(faults.items())}
