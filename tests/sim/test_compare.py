"""One plan in both worlds: what counts as the same, and that it is really played twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import meshrelay
from faults.swarm import chaos_plan
from sim.compare import Comparison, Pair, Side, markdown
from sim.swarm import swarm_plan
from sim.trial import try_plan

verdicts = st.sampled_from(["held", "violated", "not converged", "could not run"])
guarantees = st.sets(st.sampled_from(["G1", "G2", "G4"]))


def side(verdict: str, violated: set[str]) -> Side:
    """One world's word; guarantees are named only by a verdict that is about them."""
    return Side(verdict=verdict, reason="", violated=tuple(sorted(violated)) if verdict == "violated" else ())


@given(verdicts, guarantees, verdicts, guarantees)
def test_what_is_the_same(first: str, broken: set[str], second: str, broken_too: set[str]) -> None:
    """Never the same if a world could not run, or if two breaches have no guarantee in common."""
    pair = Pair(
        plan="p", factor=1.0, left_out=(), faults=1, simulated=side(first, broken), real=side(second, broken_too)
    )
    if "could not run" in (first, second):
        assert pair.outcome == "not compared"
    elif first != second:
        assert pair.outcome == "different"
    elif first == "violated":
        assert (pair.outcome == "same") == bool(broken & broken_too)
    elif first == "held":
        assert pair.outcome == "same"


def test_a_table_says_all() -> None:
    """Both verdicts with what they broke stand in one row; what was not played or not compared is said."""
    pair = Pair(
        plan="swarm-1",
        factor=1.0,
        left_out=("f (half_open): no",),
        faults=3,
        simulated=side("violated", {"G1"}),
        real=side("held", set()),
    )
    text = markdown(Comparison(bug="b", pairs=[pair], passed_over=["swarm-2: too short"]))
    assert "| swarm-1 | 3 | violated (G1) | held | different |" in text
    assert "neither played f (half_open): no" in text
    assert "> swarm-2: too short" in text


@pytest.mark.stack
@pytest.mark.chaos
def test_a_planted_bug_is_seen_in_both_worlds(tmp_path: Path) -> None:
    """A relay that delivers what lies at the cursor is found guilty by the simulation and on the real stack."""
    plan = swarm_plan(7)
    plan.dump(tmp_path / "plan.json")
    words = ["sim", "compare", str(tmp_path / "plan.json"), "--bug", "cursor-inclusive", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(meshrelay.command(["sim"]), words)
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    pair = document["pairs"][0]
    assert (pair["simulated"]["verdict"], pair["real"]["verdict"]) == ("violated", "violated"), pair
    assert "G4" in pair["simulated"]["violated"]
    assert "G4" in pair["real"]["violated"]
    assert result.exit_code == 0
    assert "| swarm-7 | 2 | violated" in result.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "expected plan files or --seeds"),
        ([__file__, "--seeds", "1..2"], "and not both"),
        (["--seeds", "2..1"], "expected A..B"),
        (["--seeds", "1..2", "--bug", "gremlin"], "--bug: expected one of"),
        (["no-plan.json"], "file 'no-plan.json' does not exist"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: list[str], says: str) -> None:
    """A mistake on the command line exits 2 with the reason, before anything is played."""
    result = CliRunner().invoke(meshrelay.command(["sim"]), ["sim", "compare", *words, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.sim
def test_a_chaos_plan_is_simulated(tmp_path: Path) -> None:
    """A plan drawn for the real stack is one for the simulator too, with every fault played."""
    trial = try_plan(chaos_plan(1), tmp_path)
    assert (trial.verdict, trial.reason.split(" with ")[-1]) == (
        "held",
        f"{len(chaos_plan(1).faults)} faults that each left proof.",
    )
