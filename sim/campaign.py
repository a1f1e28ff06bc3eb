"""A campaign: many seeds, each in a world of its own, on as many processes as there are; failures are remembered.

A failing plan is saved, and tried first the next time, whatever seeds are asked for: the likeliest place of a bug is
where one was. Local processes are the default; any `concurrent.futures` executor will do, dask's among them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from faults.plan import Plan
from faults.planted import planted
from faults.transports import TransportName
from faults.vocabulary import KINDS
from sim.marks import marks_over
from sim.swarm import drawn, swarm_plan_over
from sim.trial import Trial, try_plan

DOMINANT_SHARE = 0.5
"""A kind is dominant in a seed whose drawn faults it makes up for at least this share."""
OFF_SHARE = 0.2
AHEAD = 2
"""Trials handed to each worker ahead of time, so that none waits."""


@dataclass(slots=True)
class Tally:
    """What a campaign has seen so far."""

    trials: int = 0
    held: int = 0
    untried: int = 0
    failures: list[Trial] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)
    off: Counter[str] = field(default_factory=Counter)
    dominant: Counter[str] = field(default_factory=Counter)
    swarms: int = 0
    events: int = 0
    deliveries: int = 0
    simulated_s: float = 0.0
    wall_s: float = 0.0
    steps: int = 0
    times_s: list[float] = field(default_factory=list)
    covered: Counter[str] = field(default_factory=Counter)
    """Faults that took effect, by `kind|target|phase`."""
    is_interrupted: bool = False
    """By Ctrl-C, before its seeds or minutes were over."""

    def add(self, trial: Trial) -> None:
        """Count a trial."""
        self.trials += 1
        self.held += trial.verdict == "held"
        self.untried += trial.is_untried
        if trial.is_failure:
            self.failures.append(trial)
        self.marks.update(trial.marks)
        self.covered.update(trial.covered)
        self.events += trial.events
        self.deliveries += trial.deliveries
        self.simulated_s += trial.simulated_s
        self.steps += trial.steps
        self.times_s.append(trial.wall_s)

    def add_swarm(self, seed: int) -> None:
        """Count which kinds a seed leaves out, and which it leans on."""
        swarm = drawn(seed)
        total = sum(swarm.weights.values())
        self.swarms += 1
        for kind, weight in swarm.weights.items():
            self.off[kind] += not weight or not swarm.faults
            self.dominant[kind] += bool(swarm.faults) and weight / total >= DOMINANT_SHARE

    def missed(self, transport: TransportName | None = None) -> list[str]:
        """Marks of a transport that no trial hit."""
        return [name for name in marks_over(transport or TransportName.CURSOR) if not self.marks[name]]

    def unbalanced(self) -> list[str]:
        """Kinds of faults that were hardly ever off, or never dominant; nothing can be said of few seeds."""
        return [kind for kind in KINDS if self.off[kind] < OFF_SHARE * self.swarms or not self.dominant[kind]]


BESIDE = (".small.json", ".trace.json")
"""What an explanation leaves in the same folder, and is not to be tried again."""


class Failures:
    """Plans that failed, in a folder: one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def plans(self) -> Iterator[Plan]:
        """Every saved plan, by name. Raises PlanInvalid, OSError."""
        if self._folder.is_dir():
            for path in sorted(self._folder.glob("*.json")):
                if not path.name.endswith(BESIDE):
                    yield Plan.load(path)

    def save(self, plan: Plan) -> Path:
        """Remember a plan that failed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{plan.name}.json"
        plan.dump(path)
        return path

    def forget(self, plan: Plan) -> None:
        """It holds now."""
        (self._folder / f"{plan.name}.json").unlink(missing_ok=True)


def try_encoded(encoded: bytes, bug: str | None) -> Trial:
    """Try a plan that came as text, with a planted bug or none; what a worker calls."""
    plan = Plan.decode(encoded)
    if bug is None:
        return try_plan(plan)
    with planted(bug):
        return try_plan(plan)


def run(
    plans: Iterable[Plan],
    pool: Executor,
    *,
    jobs: int,
    told: Callable[[Plan, Trial], None],
    is_over: Callable[[], bool] = lambda: False,
    bug: str | None = None,
) -> None:
    """Try plans until they or the time are over, some at a time; `told` hears of each as it ends.

    What a worker raises passes: a worker that dies is no verdict.
    """
    waiting: dict[Future[Trial], Plan] = {}
    left = iter(plans)
    while True:
        while len(waiting) < jobs * AHEAD and not is_over():
            plan = next(left, None)
            if plan is None:
                break
            waiting[pool.submit(try_encoded, plan.encode(), bug)] = plan
        if not waiting:
            return
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            told(waiting.pop(future), future.result())


def campaign(
    seeds: Iterable[int],
    pool: Executor,
    *,
    jobs: int,
    failures: Failures,
    minutes: float | None = None,
    bug: str | None = None,
    transport: TransportName | None = None,
    told: Callable[[Tally, Trial], None] = lambda tally, trial: None,
) -> Tally:
    """Try what failed before, then the seeds, for so many minutes at most, or until Ctrl-C.

    Raises PlanInvalid, OSError.
    """
    tally = Tally()
    began_s = time.monotonic()
    saved = list(failures.plans())
    names = {plan.name for plan in saved}

    def ended(plan: Plan, trial: Trial) -> None:
        tally.add(trial)
        if trial.is_failure:
            failures.save(plan)
        elif plan.name in names:
            failures.forget(plan)
        told(tally, trial)

    def plans() -> Iterator[Plan]:
        yield from saved
        for seed in seeds:
            plan = swarm_plan_over(seed, transport)
            if plan.name not in names:
                tally.add_swarm(seed)
                yield plan

    def is_over() -> bool:
        return minutes is not None and time.monotonic() - began_s > minutes * 60

    try:
        run(plans(), pool, jobs=jobs, told=ended, is_over=is_over, bug=bug)
    except KeyboardInterrupt:  # whoever has seen enough is told what there was
        tally.is_interrupted = True
    tally.wall_s = time.monotonic() - began_s
    return tally
