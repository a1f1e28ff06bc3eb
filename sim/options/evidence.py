"""What was found of an option, in simulation and by chaos on the real stack, and the cells of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor

import msgspec

from faults.plan import Plan, RelayLimits
from faults.transports import TransportName
from reports.campaign import CampaignReport
from reports.options import Cell
from sim.campaign import run
from sim.swarm import swarm_plan_over
from sim.trial import Trial

GUARANTEES = ("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8")
LIMITS = "G7"
"""Tried by plans whose queues, pages and windows are small; broken by one that fails, and holds without its limits."""


class Counterexample(msgspec.Struct, frozen=True, kw_only=True):
    """The first seed that broke something."""

    seed: int
    reason: str


class Simulated(msgspec.Struct, kw_only=True):
    """The simulated trials of one option."""

    transport: str
    seeds: str
    trials: int = 0
    held: int = 0
    untried: int = 0
    not_run: list[Counterexample] = []
    """Worlds that failed: neither held nor violated, and never passed over."""
    tried: dict[str, int] = {}
    """By guarantee, in how many trials it had an occasion to be broken."""
    violated: dict[str, int] = {}
    first: dict[str, Counterexample] = {}
    marks: dict[str, int] = {}
    """In how many trials each was hit."""
    covered: dict[str, int] = {}
    """How often faults took effect, by `kind|target|phase`."""
    events: int = 0
    deliveries: int = 0
    simulated_s: float = 0.0

    def add(self, trial: Trial, *, is_limited: bool = False) -> None:
        """Count a trial; `is_limited` says that its plan sets the relay's limits low."""
        self.trials += 1
        self.held += trial.verdict == "held"
        self.untried += trial.is_untried
        self.events += trial.events
        self.deliveries += trial.deliveries
        self.simulated_s += trial.simulated_s
        found = Counterexample(seed=trial.seed, reason=f"{trial.verdict}: {trial.reason}")
        if trial.is_failure and not trial.violated:
            self.not_run.append(found)
        for name in trial.marks:
            self.marks[name] = self.marks.get(name, 0) + 1
        for name, times in trial.covered.items():
            self.covered[name] = self.covered.get(name, 0) + times
        for name in (*trial.tried, *((LIMITS,) if is_limited else ())):
            self.tried[name] = self.tried.get(name, 0) + 1
        for name in trial.violated:
            self.broke(name, found)

    def broke(self, name: str, found: Counterexample) -> None:
        """Count a breach; the lowest seed is the example."""
        self.violated[name] = self.violated.get(name, 0) + 1
        if name not in self.first or found.seed < self.first[name].seed:
            self.first[name] = found


def simulated(
    transport: TransportName,
    seeds: range,
    pool: Executor,
    *,
    jobs: int,
    told: Callable[[Simulated, Trial], None] = lambda found, trial: None,
) -> Simulated:
    """Play every seed's plan over one option."""
    return simulated_side_by_side([transport], seeds, pool, jobs=jobs, told=told)[transport.value]


def simulated_side_by_side(
    transports: Sequence[TransportName],
    seeds: Iterable[int],
    pool: Executor,
    *,
    jobs: int,
    bug: str | None = None,
    is_over: Callable[[], bool] = lambda: False,
    told: Callable[[Simulated, Trial], None] = lambda found, trial: None,
) -> dict[str, Simulated]:
    """Play each seed's plan over every option before the next seed, until all are played or the time is over."""
    found = {option.value: Simulated(transport=option.value, seeds="") for option in transports}
    played: dict[str, list[int]] = {name: [] for name in found}
    doubtful: list[tuple[Plan, Trial]] = []

    def ended(plan: Plan, trial: Trial) -> None:
        is_limited = bool(plan.limits.given())
        found[plan.transport].add(trial, is_limited=is_limited)
        played[plan.transport].append(plan.seed)
        if is_limited and trial.violated:
            doubtful.append((plan, trial))
        told(found[plan.transport], trial)

    plans: Iterable[Plan] = (swarm_plan_over(seed, option) for seed in seeds for option in transports)
    run(plans, pool, jobs=jobs, told=ended, is_over=is_over, bug=bug)
    failed = {plan.name: trial for plan, trial in doubtful}

    def freed(plan: Plan, trial: Trial) -> None:
        if not trial.is_failure:
            limited = failed[plan.name]
            reason = f"only with its limits: {limited.reason}"
            found[plan.transport].broke(LIMITS, Counterexample(seed=limited.seed, reason=reason))

    unlimited = (msgspec.structs.replace(plan, limits=RelayLimits()) for plan, _ in doubtful)
    run(unlimited, pool, jobs=jobs, told=freed, is_over=is_over, bug=bug)
    for name, one in found.items():
        one.seeds = f"{min(played[name])}..{max(played[name])}" if played[name] else ""
    return found


def cells_of(
    simulations: Mapping[str, Simulated],
    campaigns: Mapping[str, CampaignReport],
    not_offered: Mapping[str, Mapping[str, str]],
    bug: str | None = None,
) -> list[Cell]:
    """The table: each guarantee of each option that anything was found of, with its evidence.

    `not_offered` has, by option and guarantee, what the relay itself takes back when it starts; `bug` was planted.
    """
    options = [name.value for name in TransportName if name.value in simulations or name.value in campaigns]
    return [
        _cell(name, option, simulations.get(option), campaigns.get(option), not_offered.get(option, {}), bug)
        for name in GUARANTEES
        for option in options
    ]


def _cell(
    name: str,
    option: str,
    simulation: Simulated | None,
    campaign: CampaignReport | None,
    not_offered: Mapping[str, str],
    bug: str | None,
) -> Cell:
    seeds = 0 if simulation is None else simulation.tried.get(name, 0)
    broken = 0 if simulation is None else simulation.violated.get(name, 0)
    real = [] if campaign is None else [one for one in campaign.runs if one.guarantees.get(name)]
    failed = [one for one in real if name in one.violated]
    transport = f" --transport {option}"
    command = f"meshrelay sim campaign --seeds {simulation.seeds if simulation else '0..1999'}{transport}"
    why = ""
    if name in not_offered:
        verdict, why = "not offered", not_offered[name]
    elif broken or failed:
        verdict = "violated"
    elif seeds or real:
        verdict = "held"
    else:
        verdict = "not run"
    if broken and simulation is not None:
        first = simulation.first[name]
        why = why or first.reason
        command = f"meshrelay sim run --seed {first.seed}{transport}" + (f" --bug {bug}" if bug else "")
    elif failed:
        why, command = why or failed[0].reason, failed[0].command
    return Cell(
        guarantee=name,
        transport=option,
        verdict=verdict,  # type: ignore[arg-type]
        seeds=seeds,
        violated_in=broken + len(failed),
        real_runs=len(real),
        real_violated=len(failed),
        why=why,
        command=command,
    )


def worlds_that_failed(simulations: Sequence[Simulated]) -> list[str]:
    """What could not be judged at all, each with the command that shows it."""
    return [
        f"{one.transport}, seed {failed.seed}: {failed.reason} (meshrelay sim run --seed {failed.seed} "
        f"--transport {one.transport})"
        for one in simulations
        for failed in one.not_run
    ]
