"""What was found of an option becomes cells: every verdict with its evidence, and none without."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any

import pytest

from faults.plan import Plan
from faults.transports import TransportName
from reports.campaign import RunShown, campaign_of
from reports.options import Cell
from sim import campaign
from sim.options.evidence import GUARANTEES, Simulated, cells_of, simulated, worlds_that_failed
from sim.swarm import swarm_plan
from sim.trial import Trial

TRIED = ("G1", "G2", "G3")


def trial(seed: int, *, violated: tuple[str, ...] = (), verdict: str = "") -> Trial:
    """A trial of a seed."""
    said = verdict or ("violated" if violated else "held")
    return Trial(plan=f"swarm-{seed}", seed=seed, verdict=said, reason="because", violated=violated, tried=TRIED)


def cell(cells: list[Cell], guarantee: str, transport: str) -> Cell:
    """The one of that place."""
    (found,) = [one for one in cells if (one.guarantee, one.transport) == (guarantee, transport)]
    return found


class Here(Executor):
    """A pool that does everything at once, here."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Done on return."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_held_needs_an_occasion() -> None:
    """What no run tried is not run, whatever else held; what was tried and not broken is held, with its seeds."""
    found = Simulated(transport="cursor", seeds="0..1")
    found.add(trial(0))
    found.add(trial(1))
    cells = cells_of({"cursor": found}, {}, {})
    assert [one.guarantee for one in cells] == list(GUARANTEES)
    assert (cell(cells, "G1", "cursor").verdict, cell(cells, "G1", "cursor").seeds) == ("held", 2)
    assert cell(cells, "G8", "cursor").verdict == "not run"


def test_a_breach_names_the_lowest_seed_and_its_command() -> None:
    """In whatever order the trials came in."""
    found = Simulated(transport="jetstream", seeds="0..9")
    for seed in (7, 3, 5):
        found.add(trial(seed, violated=("G2",)))
    found.add(trial(1))
    broken = cell(cells_of({"jetstream": found}, {}, {}), "G2", "jetstream")
    assert (broken.verdict, broken.violated_in, broken.seeds) == ("violated", 3, 4)
    assert broken.command == "meshrelay sim run --seed 3 --transport jetstream"
    assert broken.why == "violated: because"


def test_what_the_relay_takes_back_is_not_offered_though_it_held() -> None:
    """Luck is no promise."""
    found = Simulated(transport="redis", seeds="0..0")
    found.add(trial(0))
    one = cell(cells_of({"redis": found}, {}, {"redis": {"G3": "for a reason"}}), "G3", "redis")
    assert (one.verdict, one.why) == ("not offered", "for a reason")


def test_a_real_run_that_broke_something_counts() -> None:
    """Simulated seeds that held do not outvote it."""
    found = Simulated(transport="cursor", seeds="0..0")
    found.add(trial(0))
    runs = [
        RunShown(
            plan="chaos-1",
            seed=1,
            command="meshrelay chaos run --swarm --seed 1",
            folder="runs/chaos-1",
            verdict="violated",
            reason="lost",
            wall_s=1.0,
            guarantees={"G1": 5, "G2": 5},
            violated=["G1"],
        )
    ]
    shaken = campaign_of(runs, started_at="", wall_s=1.0, versions={})
    cells = cells_of({"cursor": found}, {"cursor": shaken}, {})
    assert (cell(cells, "G1", "cursor").verdict, cell(cells, "G1", "cursor").real_runs) == ("violated", 1)
    assert cell(cells, "G1", "cursor").command == "meshrelay chaos run --swarm --seed 1"
    assert cell(cells, "G2", "cursor").verdict == "held"


def test_a_world_that_failed_is_told() -> None:
    """It is neither held nor violated; it must not vanish."""
    found = Simulated(transport="redis", seeds="0..0")
    found.add(trial(4, verdict="could not run"))
    (told,) = worlds_that_failed([found])
    assert told == "redis, seed 4: could not run: because (meshrelay sim run --seed 4 --transport redis)"


@pytest.mark.parametrize("holds_freed", [True, False])
def test_a_limit_is_to_blame_only_if_all_is_well_without_it(monkeypatch: pytest.MonkeyPatch, holds_freed: bool) -> None:
    """A plan with small limits that fails is played again without them: only then is it known what broke it."""

    def played(encoded: bytes, bug: str | None) -> Trial:
        plan = Plan.decode(encoded)
        is_fine = holds_freed and not plan.limits.given()
        return trial(plan.seed, violated=() if is_fine else ("G1",))

    monkeypatch.setattr(campaign, "try_encoded", played)
    limited = [seed for seed in range(30) if swarm_plan(seed).limits.given()]
    found = simulated(TransportName.CURSOR, range(30), Here(), jobs=1)
    assert found.tried["G7"] == len(limited) > 0
    assert found.violated.get("G7", 0) == (len(limited) if holds_freed else 0)
