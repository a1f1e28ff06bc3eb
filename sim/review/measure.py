"""Measuring within a budget of time: first the real stack, alone, then everything simulated, side by side.

The quiet window, which takes longest, goes first. Beside it seeds are played over all options, and among them one other
thing at a time: absences, outages, hunts for planted bugs. When the time is over, what has not begun is left out, and
named. Each part is kept as soon as it is there.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain, count, product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from faults.chaos import CouldNotRun
from faults.generate import main_plan
from faults.judged import play_and_judge, relay_broken_by
from faults.plan import Plan
from faults.planted import PLANTED
from faults.transports import TransportName
from reports.history import HistoryReader
from reports.index import Index
from reports.review.claims import ADR_DAYS
from reports.review.coverage import covered
from reports.review.evidence import Covered, GapTrial, Hunt, Outage, SamePlan
from sim.compare import Pair, Side, side_of
from sim.hunt import SEEDS_MAX, STARTS
from sim.options.evidence import Simulated, simulated_side_by_side
from sim.options.parts import Parts
from sim.review import jobs
from sim.review.envelope import LENGTHS_S, PARTS, measure_outage, outage_plan, outage_plans
from sim.review.gaps import gap_plan, measure_gap
from sim.review.parts import COVERED, GAPS, HUNTS, LEFT_OUT, OUTAGES, PLANS, REAL, WINDOW
from sim.review.queue import Queue
from sim.trial import Trial
from sim.workers import local_pool

REAL_MINUTES = 3.0
"""With less, the real stack and absences of a week are left out: they take more than a minute."""
DAYS_A_MINUTE = 4.2
"""Of the quiet window, which takes one process eight or nine seconds a day: five minutes are enough for all 21."""
ALL_MINUTES = 15.0
"""With so much, absences are played over all options, and parts are away for days over what was chosen."""
LONG_MINUTES = 60.0
"""With so much, parts are away for days over all options."""
LONG_PARTS, LONG_S = ("postgres", "relay", "agent"), LENGTHS_S[-2:]
"""What is away for days: without NATS nothing is acknowledged, so that nothing can be lost, however long."""
SEED = 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured."""

    minutes: float
    jobs: int
    seed: int
    """Of the main plan on the real stack."""
    out: Path
    """Where the report goes, and what it rests on."""
    bug: str | None


@dataclass
class Measurement:
    """One run of measuring."""

    request: Request
    parts: Parts
    real: Path
    """Where the run on the real stack goes."""
    console: Console
    began_s: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Measure everything that fits into the time. Raises OSError, and what a worker raises."""
        if self.request.minutes >= REAL_MINUTES:
            self._play_real()
        with local_pool(self.request.jobs) as pool:
            self._simulate(pool)
            pool.shutdown(wait=True, cancel_futures=True)

    def _play_real(self) -> None:
        """The seed's main plan, on the real stack and in the simulated world."""
        plan, bug = main_plan(self.request.seed), self.request.bug
        command = ["meshrelay", "chaos", "run", "--seed", str(plan.seed), *([] if bug is None else ["--plant", bug])]
        self.console.print(
            f"real stack: {plan.name}, {plan.duration_s:g} s, {len(plan.faults)} faults", highlight=False
        )
        try:
            judged = play_and_judge(plan, self.real, self.console, command=command, relay_command=relay_broken_by(bug))
        except CouldNotRun as error:
            self.console.print(f"real stack: could not run: {error}", highlight=False, soft_wrap=True)
            return
        self.console.print(f"real stack: {judged.report.verdict}: {judged.report.reason}", highlight=False)
        self.parts.keep(REAL, [judged.report])
        met = covered(Index.of(HistoryReader(judged.result.history)))
        self.parts.keep(COVERED, [_covered(*one, count) for one, count in sorted(met.items())])
        simulated = jobs.play_main(plan.seed, bug)
        self.parts.keep(PLANS, [_same(plan.name, plan.seed, simulated, side_of(judged.report))])

    def _simulate(self, pool: Executor) -> None:
        queue = Queue(pool, self.parts)
        days = min(ADR_DAYS, round(self.request.minutes * DAYS_A_MINUTE * min(1.0, self.request.jobs / 2), 1))
        queue.submit(WINDOW, lambda found: found[0], jobs.play_window, days, SEED, self.request.bug)
        others = self.others(queue)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task, trials = progress.add_task("simulating", total=None), count(1)

            def told(found: Simulated, trial: Trial) -> None:
                if queue.collect() and not self._is_over():
                    next(others, None)
                if trial.is_failure:
                    progress.console.print(f"{trial.plan} {trial.verdict}: {trial.reason}", highlight=False)
                progress.update(task, completed=next(trials), description=f"seeds over all options; {queue.shown()}")

            next(others)
            for name, found in self._seeds(pool, told).items():
                self.parts.keep(f"simulated-{name}.json", found)
            while queue.left:
                progress.update(task, description=f"to its end: {queue.shown()}")
                queue.collect(wait_s=0.5)
        left_out = Counter(others)
        self.parts.keep(LEFT_OUT, [f"{times} {what}, for want of time" for what, times in left_out.items()])

    def others(self, queue: Queue) -> Iterator[str]:
        """Ask for one thing more at each step, and say what it is; once the time is over it is only said."""
        return chain(self._absences(queue), self._hunts(queue))

    def _is_over(self) -> bool:
        return time.monotonic() > self.ends_s()

    def ends_s(self) -> float:
        """When the time is over, on the machine's monotonic clock."""
        return self.began_s + self.request.minutes * 60

    def _absences(self, queue: Queue) -> Iterator[str]:
        """Of agents near the edges of retention, and of each part; over all options if there is time for it."""
        minutes = self.request.minutes
        options = list(TransportName) if minutes >= ALL_MINUTES else [TransportName.CURSOR]
        for option in options:
            plan = gap_plan(SEED, option, quick=minutes < REAL_MINUTES).encode()
            yield self._asked(queue, "reconnect gaps", GAPS, _joined, measure_gap, plan, self.request.bug)
        for option in options:
            for what, length_s, outage in outage_plans(option, seed=SEED, quick=True):
                yield self._away(queue, outage, what, length_s)
        for option in options if minutes >= LONG_MINUTES else options[:1] if minutes >= ALL_MINUTES else ():
            for what, length_s in product(LONG_PARTS, LONG_S):
                yield self._away(queue, outage_plan(what, length_s, seed=SEED, transport=option), what, length_s)

    def _away(self, queue: Queue, plan: Plan, what: str, length_s: float) -> str:
        words = (plan.encode(), what, length_s, self.request.bug)
        return self._asked(queue, "outages", OUTAGES, _in_order, measure_outage, *words)

    def _seeds(self, pool: Executor, told: Callable[[Simulated, Trial], None]) -> dict[str, Simulated]:
        return simulated_side_by_side(
            list(TransportName),
            count(),
            pool,
            jobs=self.request.jobs,
            bug=self.request.bug,
            is_over=self._is_over,
            told=told,
        )

    def _hunts(self, queue: Queue) -> Iterator[str]:
        """Begin one hunt at each step: every bug of what was chosen, in an order that is no order of theirs."""
        names = [name for name, one in PLANTED.items() if TransportName.CURSOR in one.over]
        random.Random(0).shuffle(names)
        for start in STARTS if self.request.bug is None else ():
            for name in names:
                words = (name, start, SEEDS_MAX, TransportName.CURSOR, self.ends_s())
                yield self._asked(queue, "hunts for planted bugs", HUNTS, _tried, jobs.hunted, *words)

    def _asked(self, queue: Queue, what: str, *words: Any) -> str:
        """What is asked for next, unless the time is over: then it is only named."""
        if not self._is_over():
            queue.submit(*words)
        return what


def _joined(trials: list[list[GapTrial]]) -> list[GapTrial]:
    return [*chain(*trials)]


def _tried(hunts: list[Hunt]) -> list[Hunt]:
    """Hunts that came to try anything, in an order that does not depend on which ended first."""
    return sorted((one for one in hunts if one.seeds_max), key=lambda one: (one.bug, one.start))


def _in_order(outages: list[Outage]) -> list[Outage]:
    """In the order in which they were asked for, whichever ended first."""
    parts = list(PARTS)
    options = [one.value for one in TransportName]
    return sorted(outages, key=lambda one: (options.index(one.transport), parts.index(one.what), one.length_s))


def _covered(kind: str, target: str, phase: str, count: int) -> Covered:
    return Covered(world="real", kind=kind, target=target, phase=phase, count=count)


def _same(plan: str, seed: int, simulated: Side, real: Side) -> SamePlan:
    pair = Pair(plan=plan, factor=1.0, left_out=(), faults=0, simulated=simulated, real=real)
    return SamePlan(
        plan=plan,
        simulated=simulated.verdict,
        real=real.verdict,
        outcome=pair.outcome,
        command=f"meshrelay sim run --seed {seed} --main",
    )
