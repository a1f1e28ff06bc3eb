"""Campaigns: swarms that leave kinds out and lean on others, failures that are remembered, and plans made smaller."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner, Result

import meshrelay
from faults.check import problems_of
from faults.pairs import pairs_of
from faults.plan import Plan, RelayTimes
from faults.transports import TransportName
from faults.vocabulary import Kill, Link, ProcessName, ResetPeer
from reports.review.coverage import unkeyed
from sim.campaign import Failures, Tally, campaign
from sim.campaign_cli import progress_of, summary, time_shown
from sim.marks import marks_over
from sim.shrink import shrink
from sim.swarm import drawn, swarm_plan
from sim.trial import Trial, try_plan
from sim.window import PRODUCTION
from system.settings import Settings
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim


class Here(Executor):
    """Runs everything at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The result, already there."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_swarms_leave_out_every_kind_and_lean_on_every_kind() -> None:
    """Over 1,000 seeds each kind of fault is off in at least a fifth, and dominant in some."""
    tally = Tally()
    for seed in range(1_000):
        tally.add_swarm(seed)
    assert not tally.unbalanced()


def test_swarm_plans_are_sound_and_follow_from_the_seed() -> None:
    """Every plan passes the plan's own check, and is the same each time."""
    for seed in range(300):
        plan = swarm_plan(seed)
        assert not problems_of(plan), (seed, problems_of(plan))
        assert plan.encode() == swarm_plan(seed).encode()
        assert Plan.decode(plan.encode()) == plan
        assert {fault.kind for fault in plan.faults} <= {kind for kind, weight in drawn(seed).weights.items() if weight}


def test_a_campaign_remembers_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing plan is kept and tried first, whatever seeds are asked for, until it holds."""
    tried: list[str] = []
    guilty = {"swarm-2"}

    def judged(encoded: bytes, bug: str | None) -> Trial:
        plan = Plan.decode(encoded)
        tried.append(plan.name)
        verdict = "violated" if plan.name in guilty else "held"
        return Trial(plan=plan.name, seed=plan.seed, verdict=verdict, reason="", violated=("G1",))

    monkeypatch.setattr("sim.campaign.try_encoded", judged)
    failures = Failures(tmp_path / "failures")
    first = campaign(range(1, 4), Here(), jobs=1, failures=failures)
    assert [one.plan for one in first.failures] == ["swarm-2"]
    tried.clear()
    campaign(range(7, 9), Here(), jobs=1, failures=failures)
    assert tried == ["swarm-2", "swarm-7", "swarm-8"]
    for beside in ("small.json", "trace.json", "timeline.html"):  # what an explanation leaves in the same folder
        (tmp_path / "failures" / f"swarm-2.{beside}").write_text("{}")
    guilty.clear()
    campaign(range(7, 8), Here(), jobs=1, failures=failures)
    tried.clear()
    campaign(range(7, 8), Here(), jobs=1, failures=failures)
    assert tried == ["swarm-7"]


def test_a_dask_cluster_is_a_pool_like_any_other(tmp_path: Path) -> None:
    """The same campaign through a real scheduler and worker: the same traces."""
    here = campaign(range(2), Here(), jobs=1, failures=Failures(tmp_path))
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        seen: list[Trial] = []
        told = campaign(
            range(2), client.get_executor(), jobs=1, failures=Failures(tmp_path), told=lambda _, one: seen.append(one)
        )
    assert told.trials == here.trials == 2
    assert [one.trace_sha256 for one in sorted(seen, key=lambda one: one.seed)] == [
        try_plan(swarm_plan(seed)).trace_sha256 for seed in range(2)
    ]


def test_a_plan_shrinks_to_the_two_faults_that_it_takes() -> None:
    """The smallest plan keeps what the failure needs, and nothing else; a failure of another class is not followed."""
    plan = swarm_plan(1)
    needed = (
        Kill(id="kill", process=ProcessName.RELAY, at_s=3.0, down_s=1.0),
        ResetPeer(id="reset", link=Link.RELAY_NATS, at_s=5.0, for_s=1.0),
    )
    plan = msgspec.structs.replace(plan, faults=(*needed, *plan_with().faults))

    def attempt(smaller: Plan) -> Trial:
        ids = {fault.id for fault in smaller.faults}
        violated = ("G1",) if {"kill", "reset"} <= ids else ("G4",) if "kill" in ids else ()
        return Trial(plan="p", seed=1, verdict="violated" if violated else "held", reason="", violated=violated)

    small = shrink(plan, attempt(plan), attempt)
    assert [fault.id for fault in small.plan.faults] == ["kill", "reset"]
    assert len(small.plan.agents) == 1
    assert small.plan.workload.events == 0
    assert small.trial.violated == ("G1",)


def test_a_few_real_seeds_hit_marks_and_hold() -> None:
    """Marks come from real runs: a handful of seeds reaches a good part of them; each fault is covered once."""
    hit: set[str] = set()
    tally = Tally()
    faults = 0
    for seed in range(6):
        plan = swarm_plan(seed)
        trial = try_plan(plan)
        assert not trial.is_failure, (seed, trial.reason)
        hit.update(trial.marks)
        tally.add(trial)
        faults += len(plan.faults)
    met = unkeyed(tally.covered)
    assert met.total() == faults > 0
    assert {(kind, target) for kind, target, _ in met} <= set(pairs_of("cursor"))
    assert {phase for _, _, phase in met} <= {"live", "replay", "nobody"}
    assert hit <= set(marks_over(TransportName.CURSOR))
    assert len(hit) > 10, hit


def test_the_window_has_the_relays_own_defaults() -> None:
    """What is called production settings is what the relay ships with."""
    for name in RelayTimes.__struct_fields__:
        assert getattr(PRODUCTION, name) == Settings.model_fields[name].default, name


def test_the_bench_measures_worlds_that_hold_beside_bare_simpy() -> None:
    """Every figure has both sides, and says what of; quick ones are not judged."""
    result = CliRunner().invoke(meshrelay.command(["bench"]), ["bench", "sim", "--quick", "--runs", "1", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["figures"]
    assert [one["unit"] for one in figures] == ["CPU s", "steps/s", "CPU s", "simulated s per CPU s", "MB"]
    assert all(one["ours"]["median"] > 0 and one["bare"]["median"] > 0 and one["target"] is None for one in figures)


@pytest.mark.parametrize("seeds", ["", "5..2", "a..b", "-3..4", "1..x"])
def test_seeds_that_are_none(seeds: str) -> None:
    """Refused with what was expected and what came."""
    result = CliRunner().invoke(meshrelay.command(["sim"]), ["sim", "campaign", "--seeds", seeds])
    assert result.exit_code == 2
    assert "expected A..B" in result.output


def sim(*words: str) -> Result:
    """The command, carried out here."""
    return CliRunner().invoke(meshrelay.command(["sim"]), ["sim", *words])


def test_words_that_contradict_each_other_or_mean_nothing(tmp_path: Path) -> None:
    """A plan file has a seed of its own, and bugs have names: said before anything is played."""
    swarm_plan(1).dump(tmp_path / "plan.json")
    plan = str(tmp_path / "plan.json")
    for words in (("--seed", "7"), ("--main",)):
        done = sim("run", "--plan", plan, *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == "expected --plan, or --seed or --main, got both; a plan file has its own seed\n"
    for asked in (("run",), ("replay", plan), ("shrink", plan)):
        done = sim(*asked, "--bug", "nosuch")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("--bug: expected one of ")


def test_as_many_faults_are_announced_as_the_plan_has() -> None:
    """A fault that was drawn and found no room is none of the plan's."""
    for seed in (7, 12):
        plan = swarm_plan(seed)
        assert drawn(seed).shown(len(plan.faults)).startswith(f"{len(plan.faults)} faults, drawn from ")
    assert drawn(7).shown(0) == "no faults"


def campaign_judged_by(
    judge: Callable[[bytes, str | None], Trial], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Result:
    """A campaign of ten seeds in this process, with somebody else in the place of world and judge."""

    @contextmanager
    def here(jobs: int, scheduler: str | None) -> Iterator[Executor]:
        yield Here()

    monkeypatch.setattr("sim.campaign_cli.pool_of", here)
    monkeypatch.setattr("sim.campaign.try_encoded", judge)
    monkeypatch.chdir(folder)
    return sim("campaign", "--seeds", "0..9", "--jobs", "1")


def test_a_campaign_with_a_plan_that_proves_nothing_is_not_green(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was broken, but not every seed held either: exit code 4, and the plan is counted."""

    def judged(encoded: bytes, bug: str | None) -> Trial:
        plan = Plan.decode(encoded)
        if plan.seed == 2:
            return Trial(plan=plan.name, seed=2, verdict="could not run", reason="", is_untried=True)
        return Trial(plan=plan.name, seed=plan.seed, verdict="held", reason="")

    done = campaign_judged_by(judged, tmp_path, monkeypatch)
    assert done.exit_code == 4
    assert "10 plans: 9 held, 0 failed, 1 put too little to the test" in done.stdout


def test_an_interrupted_campaign_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the third plan: what there was of the two before it, and the exit code of an interruption."""

    def judged(encoded: bytes, bug: str | None) -> Trial:
        plan = Plan.decode(encoded)
        if plan.seed == 2:
            raise KeyboardInterrupt
        return Trial(plan=plan.name, seed=plan.seed, verdict="held", reason="")

    done = campaign_judged_by(judged, tmp_path, monkeypatch)
    assert done.exit_code == 130
    assert "interrupted after 2 plans" in done.stderr
    assert "2 plans: 2 held, 0 failed" in done.stdout


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that it is looked for, and after some seconds that nobody answers."""
    monkeypatch.setattr("sim.campaign_cli.SCHEDULER_S", 0.5)
    done = sim("campaign", "--seeds", "0", "--scheduler", "tcp://127.0.0.1:1")
    assert done.exit_code == 4
    assert done.stderr.startswith("connecting to the scheduler at tcp://127.0.0.1:1, for up to 0.5 s …\n")
    assert "--scheduler: expected a dask scheduler such as tcp://127.0.0.1:8786, got tcp://127.0.0.1:1: " in done.stderr


def test_little_is_said_of_few_seeds() -> None:
    """How often kinds of faults were there is said from a hundred seeds on, times in a unit that shows something."""
    tally = Tally(simulated_s=7.0)
    for seed in range(99):
        tally.add_swarm(seed)
    assert "every kind of fault" not in summary(tally)
    assert " deliveries, 7.0 simulated seconds in " in summary(tally)
    tally.add_swarm(99)
    assert "every kind of fault was left out by at least " in summary(tally)
    assert [time_shown(at_s) for at_s in (90.0, 9_000_000.0)] == ["1.5 simulated minutes", "2,500.0 simulated hours"]


def test_seeds_without_an_end_have_no_total(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor has the line for those who see no bar."""
    monkeypatch.setattr("sim.campaign_cli.SAID_EVERY_S", 0.0)
    trial = Trial(plan="p", seed=1, verdict="held", reason="")
    for total, said in ((None, "3 plans, 0 failed"), (9, "3 of 9 plans, 0 failed")):
        with progress_of(total) as told:
            told(Tally(trials=3), trial)
        assert said in capsys.readouterr().err
