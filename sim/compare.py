"""One plan in both worlds: simulated, then played on the real stack, and the two verdicts side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console

from faults.chaos import CouldNotRun
from faults.judged import play_and_judge, relay_broken_by
from faults.plan import Plan
from faults.planted import planted
from faults.scale import Fitted
from reports.campaign import NOT_PLAYED
from reports.report import Report
from sim.errors import NotModelled
from sim.outcome import WorldFailed
from sim.trial import simulate

COUNTS = ("events acknowledged", "deliveries", "replays", "gaps told", "410s told", "faults with proof")
"""What is shown of each world; the worlds' speeds differ, so these need not be equal."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan came to in one world."""

    verdict: str
    reason: str
    violated: tuple[str, ...] = ()
    """The guarantees that were."""
    counts: dict[str, int] = {}
    is_untried: bool = False
    """Nothing was wrong, but something that is promised had no occasion to go wrong."""
    left_out: tuple[str, ...] = ()
    """Faults that this world could not play after all."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan came to in both."""

    plan: str
    factor: float
    """What its times were multiplied by, in both worlds."""
    left_out: tuple[str, ...]
    """Faults of the original that neither played."""
    faults: int
    simulated: Side
    real: Side

    @property
    def outcome(self) -> Literal["same", "different", "not compared"]:
        """The same only if both ran, and, where a guarantee was broken, if they saw one of them broken alike."""
        sides = (self.simulated, self.real)
        if "could not run" in [side.verdict for side in sides] or any(side.left_out for side in sides):
            return "not compared"
        if self.simulated.verdict != self.real.verdict:
            return "different"
        broken = set(self.simulated.violated) & set(self.real.violated)
        return "same" if self.simulated.verdict == "held" or broken else "different"


class Comparison(msgspec.Struct, kw_only=True):
    """All pairs of one command."""

    schema: str = "meshrelay-comparison-1"
    bug: str | None
    """The planted bug that both relays had."""
    wanted: int | None = None
    """How many pairs were asked for."""
    is_whole: bool = True
    """Whether it came to its end."""
    pairs: list[Pair]
    passed_over: list[str] = []
    """Plans that were not compared, each with the reason."""

    def count(self, outcome: str) -> int:
        """How many pairs came to this."""
        return sum(pair.outcome == outcome for pair in self.pairs)


def simulated(plan: Plan, out: Path, bug: str | None) -> Side:
    """A plan in the simulated world, with the relay broken in this way, or as it is."""
    with planted(bug) if bug is not None else nullcontext():
        try:
            report, _ = simulate(plan, out)
        except (WorldFailed, NotModelled) as error:
            return Side(verdict="could not run", reason=str(error))
    return side_of(report)


def real(plan: Plan, out: Path, bug: str | None, console: Console) -> Side:
    """The same on the real stack."""
    path = out / "plan.json"
    command = ["meshrelay", "chaos", "run", "--plan", str(path), *([] if bug is None else ["--plant", bug])]
    try:
        judged = play_and_judge(plan, out, console, command=command, relay_command=relay_broken_by(bug))
    except CouldNotRun as error:
        return Side(verdict="could not run", reason=str(error))
    return side_of(judged.report)


def paired(fit: Fitted, sides: Sequence[Side]) -> Pair:
    """Both sides of a plan."""
    left_out = tuple(f"{one.fault} ({one.kind}): {one.reason}" for one in fit.left_out)
    return Pair(
        plan=fit.plan.name,
        factor=fit.factor,
        left_out=left_out,
        faults=len(fit.plan.faults),
        simulated=sides[0],
        real=sides[1],
    )


def markdown(comparison: Comparison) -> str:
    """The two verdicts of every plan, side by side."""
    lines = [] if comparison.is_whole else ["**Interrupted.**", ""]
    lines += [
        f"## {comparison.count('same')} of {len(comparison.pairs)} plans with the same verdict in both worlds",
        "",
        *([f"The relay was broken on purpose in both: `{comparison.bug}`.", ""] if comparison.bug else []),
        "| plan | faults | simulated | real | |",
        "|---|---:|---|---|---|",
    ]
    for pair in comparison.pairs:
        cells = [pair.plan, str(pair.faults), _cell(pair.simulated), _cell(pair.real), pair.outcome]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"{', '.join(COUNTS)}, for each world:", "", "| plan | simulated | real |", "|---|---|---|"]
    for pair in comparison.pairs:
        lines.append(f"| {pair.plan} | {_counts(pair.simulated)} | {_counts(pair.real)} |")
    lines += [f"\n> {pair.plan}: neither played {one}" for pair in comparison.pairs for one in pair.left_out]
    if comparison.passed_over:
        lines += ["", f"Passed over, as asked for by seeds: {len(comparison.passed_over)} plans.", ""]
        lines += [f"> {one}\n" for one in comparison.passed_over]
    return "\n".join(lines) + "\n"


def side_of(report: Report) -> Side:
    """What a judged run came to."""
    return Side(
        verdict=report.verdict,
        reason=report.reason,
        is_untried=report.verdict == "could not run",
        left_out=tuple(note for note in report.notes if note.startswith(NOT_PLAYED)),
        violated=tuple(one.guarantee for one in report.guarantees if one.findings),
        counts={name: report.counts.get(name, 0) for name in COUNTS},
    )


def _cell(side: Side) -> str:
    return side.verdict + (f" ({', '.join(side.violated)})" if side.violated else "")


def _counts(side: Side) -> str:
    return ", ".join(f"{number:,}" for number in side.counts.values()) or side.reason.replace("|", "\\|")
