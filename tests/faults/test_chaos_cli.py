"""`meshrelay chaos` as a person types it: plans in and out, mistakes answered with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from faults import judged
from faults.chaos import CouldNotRun, RunResult
from faults.generate import main_plan
from faults.judged import fresh
from faults.plan import Plan
from reports.history import HistoryInvalid
from tests.faults.conftest import chaos_app
from tests.faults.test_plan import latency, small_plan


def chaos(*words: str) -> Any:
    """Run the command in this process."""
    return CliRunner().invoke(chaos_app(), ["chaos", *words])


def test_a_plan_is_printed() -> None:
    """`chaos plan` prints the seed's main plan, byte for byte, and nothing else on standard output."""
    result = chaos("plan", "--seed", "3")
    assert result.exit_code == 0
    assert result.stdout.encode() == main_plan(3).encode()


def test_a_plan_is_written(tmp_path: Path) -> None:
    """`chaos plan --out` writes the plan into a file that is a plan, and says what is in it."""
    result = chaos("plan", "--seed", "3", "--out", str(tmp_path / "plan.json"))
    assert result.exit_code == 0
    assert Plan.load(tmp_path / "plan.json") == main_plan(3)
    assert "24 agents" in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--seed", "1", "--plan", __file__], "expected --seed or --plan, got both"),
        (["run", "--plan", "no-plan.json"], "file 'no-plan.json' does not exist"),
        (["run", "--seed", "1", "--plant", "gremlin"], "--plant: expected one of ack-before-commit,"),
        (["run", "--seed", "-1"], "greater than or equal to 0"),
        (["plan"], "Missing option '--seed'"),
        (["plan", "--seed", "1", "--out", "no/such/folder/plan.json"], "the plan was not written"),
    ],
)
def test_wrong_usage(words: list[str], says: str) -> None:
    """A mistake on the command line exits 2 with the reason, before anything is started."""
    result = chaos(*words)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_wrong_plan_is_explained(tmp_path: Path) -> None:
    """A plan file with mistakes exits 2 and names all of them."""
    path = tmp_path / "plan.json"
    small_plan(faults=(latency(at_s=58.0), latency(at_s=1.0))).dump(path)
    result = chaos("run", "--plan", str(path))
    assert result.exit_code == 2
    assert result.stderr.count(f"{path}: ") == 2


def test_could_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run that came to nothing exits 4 with its reason, also as JSON."""

    async def fail(*_: object, **__: object) -> RunResult:
        raise CouldNotRun("Toxiproxy is not available: install Go")

    monkeypatch.setattr(judged, "run_plan", fail)
    result = chaos("run", "--seed", "1", "--out", str(tmp_path))
    assert result.exit_code == 4
    assert "could not run: Toxiproxy is not available" in result.stderr
    result = chaos("run", "--seed", "1", "--out", str(tmp_path), "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["verdict"] == "could not run"


def test_the_run_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before it starts, a run prints its seed, also one that was drawn, and the command that repeats it."""

    async def fail(*_: object, **__: object) -> RunResult:
        raise CouldNotRun("enough")

    monkeypatch.setattr(judged, "run_plan", fail)
    monkeypatch.setattr("secrets.randbelow", lambda _: 77)
    assert "repeat with: meshrelay chaos run --seed 77" in chaos("run", "--out", str(tmp_path)).stderr


def test_a_planted_bug_is_part_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever repeats a run with a bug planted gets the bug again."""

    async def fail(*_: object, **__: object) -> RunResult:
        raise CouldNotRun("enough")

    monkeypatch.setattr(judged, "run_plan", fail)
    words = ["--swarm", "--seed", "5", "--kinds", "kill", "--plant", "cursor-inclusive"]
    said = chaos("run", *words, "--out", str(tmp_path)).stderr
    assert "repeat with: meshrelay chaos run --swarm --kinds kill --seed 5 --plant cursor-inclusive\n" in said


def test_a_bug_of_the_stand_is_no_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error that nobody expected exits 4 with its name, never 1, which says that the relay broke a promise."""

    async def fail(*_: object, **__: object) -> RunResult:
        raise HistoryInvalid("record 7: expected a cursor")

    monkeypatch.setattr(judged, "run_plan", fail)
    result = chaos("run", "--seed", "1", "--out", str(tmp_path))
    assert result.exit_code == 4
    assert "could not run: HistoryInvalid: record 7" in result.stderr


def test_runs_are_kept_beside_each_other(tmp_path: Path) -> None:
    """Without --out, a run goes into a folder of its own."""
    assert fresh(tmp_path / "main-1") == tmp_path / "main-1"
    (tmp_path / "main-1").mkdir()
    assert fresh(tmp_path / "main-1") == tmp_path / "main-1"
    (tmp_path / "main-1" / "parts").mkdir()  # all that an interrupted run may leave
    assert fresh(tmp_path / "main-1") == tmp_path / "main-1-2"
