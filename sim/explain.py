"""What a failing run leaves for whoever has to understand it, and what it says of itself.

Beside the plan: the smallest plan that fails in the same way, a trace for viewers, a timeline to look at, and the first
difference from the nearest run that holds, which is the same plan less one fault, or else under another seed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from faults.plan import Plan
from reports.api import judge
from reports.history import HistoryReader, Record
from reports.report import FindingShown
from sim.difference import Difference, first_difference
from sim.old_client import as_option
from sim.shrink import shrink
from sim.timeline import write_timeline
from sim.trace import Recording, Segment, hosts_of, write_trace
from sim.trial import Trial, try_plan

SHRINK_TRIALS = 80
NEIGHBOURS_MAX = 12
LAST_BY_HOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A run with all that it leaves."""

    plan: Plan
    trial: Trial
    segments: Sequence[Segment]
    records: Sequence[Record]
    finding: FindingShown | None
    """The first thing that it was found guilty of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A failing run, explained."""

    small: Played
    small_path: Path
    trace_path: Path
    timeline_path: Path
    neighbour: str | None
    """How the nearest run that holds differs from this one; None if none was found."""
    difference: Difference | None
    command: str


def play(plan: Plan) -> Played:
    """Play a plan and keep everything. Raises OSError."""
    recording = Recording()
    with tempfile.TemporaryDirectory(prefix="meshrelay-sim-") as folder:
        trial = try_plan(plan, Path(folder), recording.note)
        path = Path(folder) / "history.jsonl"
        records = list(HistoryReader(path)) if path.exists() else []
        findings = judge(path).findings if trial.is_failure and trial.trace_sha256 else []
    finding = findings[0] if findings else None  # they come by time
    return Played(plan=plan, trial=trial, segments=recording.segments, records=records, finding=finding)


def explain(
    plan: Plan,
    failed: Trial,
    folder: Path,
    *,
    bug: str | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> Explanation:
    """Make a failing plan small, find its nearest passing neighbour, and write what helps. Raises OSError."""
    told("making the plan smaller")
    small = shrink(
        plan,
        failed,
        try_plan,
        trials_max=SHRINK_TRIALS,
        told=lambda trials, best: told(f"making the plan smaller: {trials} trials, {len(best.faults)} faults"),
    )
    small_path = folder / f"{plan.name}.small.json"
    folder.mkdir(parents=True, exist_ok=True)
    small.plan.dump(small_path)
    played = play(small.plan)
    told("looking for the nearest run that holds")
    neighbour, difference = _nearest(played)
    trace_path, timeline_path = folder / f"{plan.name}.trace.json", folder / f"{plan.name}.timeline.html"
    write_trace(trace_path, played.segments, played.records)
    write_timeline(timeline_path, played.plan, played.trial, played.segments, played.records, played.finding)
    return Explanation(
        small=played,
        small_path=small_path,
        trace_path=trace_path,
        timeline_path=timeline_path,
        neighbour=neighbour,
        difference=difference,
        command=f"meshrelay sim replay {small_path}" + (f" --bug {bug}" if bug else "") + as_option(),
    )


def _nearest(failing: Played) -> tuple[str | None, Difference | None]:
    for number, (what, plan) in enumerate(neighbours(failing.plan)):
        if number >= NEIGHBOURS_MAX:
            break
        other = play(plan)
        if other.trial.verdict == "held":
            return what, first_difference(failing.segments, other.segments)
    return None, None


def neighbours(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Plans that differ in one thing, the nearest first."""
    for fault in reversed(plan.faults):
        rest = tuple(one for one in plan.faults if one is not fault)
        yield f"without {fault.id}", msgspec.structs.replace(plan, faults=rest)
    for seed in range(plan.seed + 1, plan.seed + 1 + NEIGHBOURS_MAX):
        yield f"with seed {seed}", msgspec.structs.replace(plan, seed=seed)


def last_by_host(segments: Sequence[Segment], until_ns: int) -> list[Segment]:
    """The last segments that each host sent before a time, in order."""
    found: list[Segment] = []
    before = [segment for segment in segments if segment.t_ns <= until_ns]
    for host in hosts_of(before):
        found += [segment for segment in before if segment.source == host][-LAST_BY_HOST:]
    return sorted(found, key=lambda segment: segment.t_ns)


def shown(explanation: Explanation) -> str:
    """For people, as a terminal shows it."""
    small = explanation.small
    finding, trial = small.finding, small.trial
    faults = ", ".join(fault.id for fault in small.plan.faults) or "no faults"
    lines = [
        f"seed      {small.plan.seed}",
        f"violated  {', '.join(trial.violated) or trial.verdict}: {trial.reason}",
        f"smallest  {faults}; {len(small.plan.agents)} agents, "
        f"{small.plan.workload.events + len(small.plan.workload.pinned)} events",
    ]
    until_ns = small.records[-1].t_ns if small.records else 0
    if finding is not None:
        until_ns = round(finding.at_s * 1e9)
        lines += [f"finding   {finding.kind} {finding.event or ''} to {finding.agent} at {finding.at_s:.3f} s"]
        lines += [f"          {finding.detail}"]
    lines += ["", f"the last that each host sent before {until_ns / 1e9:.3f} s:"]
    lines += [
        f"  {one.t_ns / 1e9:10.6f}  {one.source:>12} → {one.target:12}  {one.text}"
        for one in last_by_host(small.segments, until_ns)
    ]
    lines.append("")
    if explanation.difference is not None:
        lines.append(f"against the nearest run that holds, {explanation.neighbour}:")
        lines.append(explanation.difference.shown("failing", "holding"))
    else:
        lines.append("no run near it holds: neither without one of its faults nor under other seeds")
    lines += ["", f"trace     {explanation.trace_path} (open it in ui.perfetto.dev or chrome://tracing)"]
    lines += [f"timeline  {explanation.timeline_path}", f"again     {explanation.command}"]
    return "\n".join(lines)
