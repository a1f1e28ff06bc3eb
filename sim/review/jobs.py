"""What workers are asked to measure: functions of values that travel, each in a world of its own."""

from __future__ import annotations

from contextlib import nullcontext

import msgspec

from faults.generate import main_plan
from faults.planted import PLANTED, planted
from faults.transports import TransportName
from reports.report import Report
from reports.review.evidence import Hunt, Window
from sim.compare import Side, side_of
from sim.errors import NotModelled
from sim.hunt import hunt
from sim.outcome import Outcome, WorldFailed
from sim.trial import simulate
from sim.window import AGENTS, window_plan

SILENT = ("silent-gap",)
"""Kinds of findings that are losses without a word, beside all of G1's."""


def play_window(days: float, seed: int, bug: str | None) -> Window:
    """Play the quiet window's first days."""
    plan = window_plan(seed=seed, days=days)
    words = f"meshrelay sim window --days {days:g} --seed {seed}"
    try:
        with planted(bug) if bug is not None else nullcontext():
            report, outcome = simulate(plan, None)
    except (WorldFailed, NotModelled) as error:
        return _window(days, plan.workload.events, "could not run", str(error), words)
    return _seen(_window(days, plan.workload.events, report.verdict, report.reason, words), report, outcome)


def _window(days: float, events: int, verdict: str, reason: str, command: str) -> Window:
    return Window(
        days=days,
        events=events,
        agents=AGENTS,
        verdict=verdict,
        reason=reason,
        acknowledged=0,
        deliveries=0,
        lost=0,
        redelivered=0,
        pending=0,
        redispatched=0,
        told_gone=0,
        longest_gap_s=0.0,
        command=command,
    )


def _seen(window: Window, report: Report, outcome: Outcome) -> Window:
    lost = sum(one.findings for one in report.guarantees if one.guarantee == "G1")
    silent = sum(one.kind in SILENT for one in report.findings)
    return msgspec.structs.replace(
        window,
        acknowledged=report.counts["events acknowledged"],
        deliveries=report.counts["deliveries"],
        lost=lost + silent,
        redelivered=outcome.counters["redelivered"],
        pending=outcome.counters["pending"],
        redispatched=outcome.counters["redispatched"],
        told_gone=report.counts["gaps told"] + report.counts["410s told"],
        longest_gap_s=max((one.away_s for one in report.gaps), default=0.0),
    )


def play_main(seed: int, bug: str | None) -> Side:
    """Play the seed's main plan in the simulated world."""
    try:
        with planted(bug) if bug is not None else nullcontext():
            report, _ = simulate(main_plan(seed), None)
    except (WorldFailed, NotModelled) as error:
        return Side(verdict="could not run", reason=str(error))
    return side_of(report)


def hunted(bug: str, start: int, seeds_max: int, transport: TransportName | None, until_s: float) -> Hunt:
    """Hunt for a planted bug from one start, until a moment of the machine's monotonic clock."""
    found = hunt(bug, start, seeds_max, transport, until_s)
    return Hunt(
        bug=bug,
        what=PLANTED[bug].what,
        transport=(transport or PLANTED[bug].over[0]).value,
        start=start,
        seeds=found.seeds,
        seeds_max=found.tried,
        by=found.kinds,
    )
