"""The measurements by name, with their sizes: full ones to judge by, quick ones to see that everything works."""

from __future__ import annotations

import enum
import os
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from faults.bench import agents, fanout, ingest, latency, memory, replay, sweep
from faults.bench.figures import Figure
from faults.bench.ground import Ground, prepared
from faults.bench.progress import Progress

RUNS = 5
RUNS_QUICK = 2


class What(enum.StrEnum):
    """What can be measured."""

    INGEST = "ingest"
    FANOUT = "fanout"
    REPLAY = "replay"
    LATENCY = "latency"
    MEMORY = "memory"
    AGENTS = "agents"
    SWEEP = "sweep"
    SIM = "sim"
    JUDGE = "judge"
    ALL = "all"


Measure = Callable[[Ground, Progress, int], Awaitable[list[Figure]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All figures, and the circumstances in which they were found."""

    figures: list[Figure]
    runs: int
    is_quick: bool
    machine: dict[str, Any]
    versions: dict[str, str]

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "runs": self.runs,
            "quick": self.is_quick,
            "machine": self.machine,
            "versions": self.versions,
            "figures": [figure.document() for figure in self.figures],
        }


FULL: dict[What, Measure] = {
    What.INGEST: lambda ground, progress, runs: ingest.measure(ground, progress, runs=runs, events=50_000),
    What.FANOUT: lambda ground, progress, runs: fanout.measure(
        ground, progress, runs=runs, agents=500, events_each=100
    ),
    What.REPLAY: lambda ground, progress, runs: replay.measure(ground, progress, runs=runs, events=100_000),
    What.LATENCY: lambda ground, progress, runs: latency.measure(
        ground, progress, runs=runs, per_s=500, seconds=4.0, agents=200
    ),
    What.MEMORY: lambda ground, progress, runs: memory.measure(ground, progress, runs=runs, connections=1_000),
    What.AGENTS: lambda ground, progress, runs: agents.measure(ground, progress, runs=runs, events=3_000),
    What.SWEEP: lambda ground, progress, runs: sweep.measure(
        ground, progress, runs=runs, events=1_000_000, swept=100_000
    ),
}
QUICK: dict[What, Measure] = {
    What.INGEST: lambda ground, progress, runs: ingest.measure(ground, progress, runs=runs, events=500),
    What.FANOUT: lambda ground, progress, runs: fanout.measure(ground, progress, runs=runs, agents=20, events_each=5),
    What.REPLAY: lambda ground, progress, runs: replay.measure(ground, progress, runs=runs, events=2_500),
    What.LATENCY: lambda ground, progress, runs: latency.measure(
        ground, progress, runs=runs, per_s=100, seconds=0.5, agents=10
    ),
    What.MEMORY: lambda ground, progress, runs: memory.measure(ground, progress, runs=runs, connections=50),
    What.AGENTS: lambda ground, progress, runs: agents.measure(ground, progress, runs=runs, events=200, agents=(5, 20)),
    What.SWEEP: lambda ground, progress, runs: sweep.measure(ground, progress, runs=runs, events=20_000, swept=2_000),
}


async def run(what: What, progress: Progress, *, runs: int, is_quick: bool) -> Report:
    """Bring the real stack up, measure, take it down. Raises StackError, ChildFailed."""
    measures = QUICK if is_quick else FULL
    figures: list[Figure] = []
    load_before = os.getloadavg()[0]
    progress.say("starting NATS and PostgreSQL")
    async with prepared() as ground:
        versions = await ground.stack.versions()
        for name in measures if what is What.ALL else [what]:
            figures += await measures[name](ground, progress, runs)
    return reported(figures, runs=runs, is_quick=is_quick, load_before=load_before, versions=versions)


def reported(
    figures: list[Figure], *, runs: int, is_quick: bool, load_before: float, versions: dict[str, str]
) -> Report:
    """The report of these figures; quick ones are too small to judge by."""
    if is_quick:
        for figure in figures:
            figure.target = None
    machine = {
        "cores": os.cpu_count(),
        "load_before": round(load_before, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    return Report(
        figures=figures,
        runs=runs,
        is_quick=is_quick,
        machine=machine,
        versions=versions | {"python": platform.python_version()},
    )
