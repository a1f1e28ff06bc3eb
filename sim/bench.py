"""What the simulated world costs, beside a bare SimPy environment that does as many steps of nothing.

CPU time, not wall time: one world is one thread, and the machines are shared.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Generator
from importlib.metadata import version
from typing import Any

import simpy

from faults.bench.figures import Figure, Target
from faults.bench.progress import Progress
from faults.bench.suite import Report, reported
from faults.plan import Agent, Plan, Publisher, Retention, TypeWeight, Workload
from faults.vocabulary import Cut, Kill, Link, PowerLoss, ProcessName
from sim.swarm import swarm_plan
from sim.trial import Trial, try_plan
from sim.window import DAY_S, PRODUCTION, window_plan

HOUR_TARGET_S = 0.5
MEMORY_TARGET_MB = 500
BARE = "as many steps of bare SimPy"
SWARM_SEEDS = range(100, 120)
WINDOW_DAYS = 0.1
WINDOW_DAYS_QUICK = 0.01


def hour_plan(seed: int = 1) -> Plan:
    """An hour of ten agents, 200 events and four faults, at production settings."""
    types = (TypeWeight(type="task.assigned", weight=1), TypeWeight(type="note.added", weight=1))
    return Plan(
        name="hour",
        seed=seed,
        duration_s=3_600.0,
        converge_within_s=120.0,
        retention=Retention(critical_s=7 * DAY_S, standard_s=DAY_S),
        slack_s=1.0,
        relay=PRODUCTION,
        workload=Workload(
            events=200,
            shape=(1,),
            publishers=(Publisher(name="web", via="http"), Publisher(name="direct", via="nats")),
            types=types,
            broadcast_share=0.05,
            repeat_share=0.1,
        ),
        agents=tuple(Agent(name=f"agent-{number}", start_from="earliest") for number in range(10)),
        faults=(
            Cut(id="1-cut", link=Link.AGENT_RELAY, at_s=500.0, for_s=60.0),
            Kill(id="2-kill", process=ProcessName.RELAY, at_s=1_000.0, down_s=5.0),
            Cut(id="3-cut", link=Link.RELAY_NATS, at_s=1_500.0, for_s=30.0),
            PowerLoss(id="4-power", process=ProcessName.POSTGRES, at_s=2_000.0, down_s=5.0),
        ),
    )


def measure(progress: Progress, runs: int, is_quick: bool) -> Report:
    """All figures of the simulated world. Raises AssertionError if a measured run does not hold."""
    load_before, before_mb = os.getloadavg()[0], _memory_mb()
    figures = [
        *_swarm(progress, runs, SWARM_SEEDS[:3] if is_quick else SWARM_SEEDS),
        _hour(progress, 1 if is_quick else runs),
        _window(progress, runs, WINDOW_DAYS_QUICK if is_quick else WINDOW_DAYS),
    ]
    memory = Figure(
        name="memory of all that",
        unit="MB",
        ours="the process at its largest",
        bare="the process before its first world",
        more_is_better=False,
        target=Target(ours_max=MEMORY_TARGET_MB),
    )
    memory.add(ours=_memory_mb(), bare=before_mb)
    return reported(
        [*figures, memory],
        runs=runs,
        is_quick=is_quick,
        load_before=load_before,
        versions={"simpy": version("simpy")},
    )


def _swarm(progress: Progress, runs: int, seeds: range) -> list[Figure]:
    plan = Figure(
        name="simulated plan of a seed (median)",
        unit="CPU s",
        ours=f"the median of seeds {seeds[0]} to {seeds[-1]}",
        bare=BARE,
        more_is_better=False,
    )
    speed = Figure(
        name="steps",
        unit="steps/s",
        ours="the same seeds, all that they do included",
        bare="bare SimPy timeouts",
        more_is_better=True,
    )
    for _ in progress.runs("swarm", runs):
        timed = [_timed(swarm_plan(seed)) for seed in seeds]
        steps = sum(trial.steps for trial, _ in timed)
        bare_s = _bare_s(steps)
        speed.add(ours=steps / sum(spent_s for _, spent_s in timed), bare=steps / bare_s)
        plan.add(ours=statistics.median(spent_s for _, spent_s in timed), bare=bare_s / len(timed))
    return [plan, speed]


def _hour(progress: Progress, runs: int) -> Figure:
    hour = Figure(
        name="simulated hour, 10 agents, 200 events, 4 faults",
        unit="CPU s",
        ours="at production settings",
        bare=BARE,
        more_is_better=False,
        target=Target(ours_max=HOUR_TARGET_S),
    )
    for number in progress.runs("hour", runs):
        trial, spent_s = _timed(hour_plan(number))
        hour.add(ours=spent_s, bare=_bare_s(trial.steps))
    return hour


def _window(progress: Progress, runs: int, days: float) -> Figure:
    window = Figure(
        name=f"{days:g} days of the ADR's window",
        unit="simulated s per CPU s",
        ours="12 agents, production settings",
        bare=BARE,
        more_is_better=True,
    )
    for number in progress.runs("window", runs):
        trial, spent_s = _timed(window_plan(seed=number, days=days))
        window.add(ours=trial.simulated_s / spent_s, bare=trial.simulated_s / _bare_s(trial.steps))
    return window


def _timed(plan: Plan) -> tuple[Trial, float]:
    """A trial that held, and its CPU seconds."""
    began_s = time.process_time()
    trial = try_plan(plan)
    spent_s = time.process_time() - began_s
    assert not trial.is_failure, f"expected {plan.name} to hold, got {trial.verdict}: {trial.reason}"
    return trial, spent_s


def _bare_s(steps: int) -> float:
    """CPU seconds of so many steps in which nothing happens."""
    environment = simpy.Environment()

    def idle() -> Generator[Any, None, None]:
        for _ in range(steps):
            yield environment.timeout(1)

    environment.process(idle())
    began_s = time.process_time()
    environment.run()
    return time.process_time() - began_s


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
