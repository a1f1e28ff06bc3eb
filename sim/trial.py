"""One trial: a plan is played in a world of its own, judged, and becomes one small value that can travel."""

from __future__ import annotations

import tempfile
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from faults.plan import Plan
from faults.recorder import Recorder
from reports.api import judge_index, write_report
from reports.checkers.findings import Guarantee, Kind
from reports.history import HistoryReader
from reports.index import Index
from reports.report import Report
from reports.review.coverage import covered, keyed
from reports.verdict import Witnessed
from sim.errors import NotModelled
from sim.marks import marks_of
from sim.outcome import OnSegment, Outcome, WorldFailed
from sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a plan."""

    plan: str
    seed: int
    verdict: str
    """As the report says; `could not run` if the world itself failed."""
    reason: str
    violated: tuple[str, ...] = ()
    """The guarantees that were."""
    tried: tuple[str, ...] = ()
    """The guarantees that had an occasion to be broken."""
    kinds: tuple[str, ...] = ()
    """What kinds of findings."""
    trace_sha256: str = ""
    events: int = 0
    deliveries: int = 0
    simulated_s: float = 0.0
    steps: int = 0
    wall_s: float = 0.0
    marks: tuple[str, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)
    """How often faults took effect, by `kind|target|phase`; see `reports/review/coverage.py`."""
    is_untried: bool = False
    """Nothing was wrong, but something that is promised had no occasion to go wrong."""

    @property
    def is_failure(self) -> bool:
        """Whether somebody has to look at it."""
        return self.verdict != "held" and not self.is_untried

    @property
    def failure_class(self) -> tuple[str, ...]:
        """What stays the same while a failing plan is made smaller: a loss must not become a late convergence.

        Survival is broken with any other promise wherever something ended: that alone keeps no kill in a plan.
        """
        has_own = Kind.LOST_UNSYNCED.value in self.kinds
        own = tuple(one for one in self.violated if has_own or one != Guarantee.G8.value)
        return own or (self.verdict,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A plan that was played: what the judge says of it, and what he read."""

    report: Report
    outcome: Outcome
    index: Index


def simulate(plan: Plan, out: Path | None, on_segment: OnSegment | None = None) -> tuple[Report, Outcome]:
    """Play a plan and judge it; `out` keeps history and report. Raises WorldFailed, NotModelled, OSError."""
    played = play(plan, out, on_segment)
    if out is not None:
        write_report(played.report, out)
    return played.report, played.outcome


def play(plan: Plan, out: Path | None = None, on_segment: OnSegment | None = None) -> Played:
    """Play a plan and judge it; `out` keeps the history. Raises WorldFailed, NotModelled, OSError."""
    with tempfile.TemporaryDirectory(prefix="meshrelay-sim-") if out is None else nullcontext(out) as given:
        folder = Path(given)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "history.jsonl"
        path.unlink(missing_ok=True)
        world = World(plan, lambda clock_ns: Recorder(path, clock_ns=clock_ns), on_segment=on_segment)
        outcome = world.run()
        outcome.marks = marks_of(path, outcome.heard)
        broken = [f"the relay ended by itself: {why}" for why in outcome.relay_exits]
        broken += [f"a client gave up: {why}" for why in outcome.client_failures]
        index = Index.of(HistoryReader(path))
        outcome.covered = keyed(covered(index))
        return Played(
            report=judge_index(index, path.name, Witnessed(broken=tuple(broken))), outcome=outcome, index=index
        )


def try_plan(plan: Plan, out: Path | None = None, on_segment: OnSegment | None = None) -> Trial:
    """Play and judge a plan; a world that fails is a trial too. Raises OSError: a full disk is no plan's fault."""
    began_s = time.perf_counter()
    try:
        report, outcome = simulate(plan, out, on_segment)
    except OSError:
        raise
    except Exception as error:  # whatever the relay or the world raised, its plan is kept, and the others are tried
        wall_s = time.perf_counter() - began_s
        return Trial(plan=plan.name, seed=plan.seed, verdict="could not run", reason=_reason(error), wall_s=wall_s)
    return Trial(
        plan=plan.name,
        seed=plan.seed,
        verdict=report.verdict,
        reason=report.reason,
        violated=tuple(one.guarantee for one in report.guarantees if one.verdict in ("violated", "not converged")),
        tried=tuple(one.guarantee for one in report.guarantees if one.verdict != "not tried"),
        kinds=tuple(sorted({one.kind for one in report.findings})),
        trace_sha256=outcome.trace_sha256,
        events=outcome.events,
        deliveries=outcome.deliveries,
        simulated_s=outcome.simulated_s,
        steps=outcome.steps,
        wall_s=time.perf_counter() - began_s,
        marks=outcome.marks,
        counters=outcome.counters,
        covered=outcome.covered,
        is_untried=report.verdict == "could not run",
    )


def _reason(error: Exception) -> str:
    """What went wrong, and for what nobody expected also where."""
    if isinstance(error, WorldFailed | NotModelled):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}, raised in {Path(last.filename).name}, line {last.lineno} ({last.name})"
