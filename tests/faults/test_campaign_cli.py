"""`meshrelay chaos campaign` as a person types it, without its servers: what is played, kept, and told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from faults import judged
from faults.chaos import CouldNotRun, RunResult
from faults.plan import Plan
from reports.history import encode
from tests.faults.conftest import chaos_app
from tests.reports.story import Story

Played = list[str]


def campaign(*words: str) -> Any:
    """Run the command in this process."""
    return CliRunner().invoke(chaos_app(), ["chaos", "campaign", *words])


def held_story(plan: Plan, folder: Path) -> None:
    """A run's folder with a small history of this plan that puts the guarantees to the test."""
    story = Story(bound_s=60)
    story.publish("e1", "a1")
    story.connect("a1", "earliest")
    story.deliver("a1", "e1")
    story.publish("e2", "a1")
    story.deliver("a1", "e2")
    story.disconnect("a1")
    story.connect("a1")
    story.converge()
    run = msgspec.structs.replace(story.records[0], plan=plan.name, seed=plan.seed)
    folder.mkdir(parents=True)
    (folder / "history.jsonl").write_bytes(b"".join(encode(record) for record in (run, *story.records[1:])))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> tuple[Played, Callable[[Callable[[Plan], None]], None]]:
    """The plans that were played, by name, and how to make playing do something else first."""
    names: Played = []
    first: list[Callable[[Plan], None]] = []

    async def run_plan(plan: Plan, out: Path, **_: object) -> RunResult:
        for act in first:
            act(plan)
        names.append(plan.name)
        held_story(plan, out)
        return RunResult(
            history=out / "history.jsonl",
            plan=plan,
            converged=True,
            waiting_for=(),
            not_played=(),
            lag_s=0.1,
            relay_exits=0,
            events=2,
            acked=2,
            refused=0,
            delivered=2,
        )

    monkeypatch.setattr(judged, "run_plan", run_plan)
    return names, first.append


def test_every_seed_is_played_and_kept(
    tmp_path: Path, played: tuple[Played, Callable[[Callable[[Plan], None]], None]]
) -> None:
    """Each seed's plan is played once; the campaign's files hold all of them, each with a report of its own."""
    result = campaign("--seeds", "3..5", "--out", str(tmp_path), "--json")
    assert played[0] == ["chaos-3", "chaos-4", "chaos-5"]
    document = json.loads(result.stdout)
    assert [run["seed"] for run in document["runs"]] == [3, 4, 5]
    assert document == json.loads((tmp_path / "campaign.json").read_text())
    for run in document["runs"]:
        assert (tmp_path / run["folder"] / "report" / "report.html").exists()
    for name in ("index.html", "summary.md", "junit.xml"):
        assert (tmp_path / name).stat().st_size > 0
    assert (result.exit_code, document["verdict"]) == (0, "held")


def test_the_time_ends_it(tmp_path: Path, played: tuple[Played, Callable[[Callable[[Plan], None]], None]]) -> None:
    """No run begins once the minutes are over, however many seeds are left."""
    clock = iter([0.0, 0.0] + [1.0] * 4 + [61.0] * 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faults.campaign_cli.time.monotonic", lambda: next(clock))
        campaign("--seeds", "3..", "--minutes", "1", "--out", str(tmp_path))
    assert played[0] == ["chaos-3"]


def test_a_run_that_could_not_run_is_told(
    tmp_path: Path, played: tuple[Played, Callable[[Callable[[Plan], None]], None]]
) -> None:
    """The campaign goes on, exits 4, and says how to repeat the run that came to nothing."""

    def fail_once(plan: Plan) -> None:
        if plan.seed == 1:
            raise CouldNotRun("Toxiproxy is not available: install Go")

    played[1](fail_once)
    result = campaign("--seeds", "1..2", "--kinds", "kill", "--out", str(tmp_path))
    assert played[0] == ["chaos-kill-2"]
    assert result.exit_code == 4
    assert "Toxiproxy is not available" in result.stdout
    assert "again: meshrelay chaos run --swarm --seed 1 --kinds kill" in result.stdout


def test_ctrl_c_keeps_what_there_was(
    tmp_path: Path, played: tuple[Played, Callable[[Callable[[Plan], None]], None]]
) -> None:
    """An interrupted campaign reports the runs that had ended, says that it was interrupted, and is not green."""

    def interrupt(plan: Plan) -> None:
        if plan.seed == 2:
            raise KeyboardInterrupt

    played[1](interrupt)
    result = campaign("--seeds", "1..9", "--out", str(tmp_path))
    assert played[0] == ["chaos-1"]
    assert "interrupted in a run that is not in here; the 1 runs before it held" in result.stdout
    assert result.exit_code == 130
    assert [run["seed"] for run in json.loads((tmp_path / "campaign.json").read_text())["runs"]] == [1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "5..3"], "expected A..B"),
        (["--kinds", "gremlin"], "--kinds: expected some of"),
        (["--plant", "gremlin"], "--plant: expected one of ack-before-commit,"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: list[str], says: str) -> None:
    """A mistake on the command line exits 2 with the reason, before anything is started."""
    result = campaign(*words, "--out", str(tmp_path))
    assert result.exit_code == 2
    assert says in result.stderr


def test_no_campaign_overwrites_another(
    tmp_path: Path, played: tuple[Played, Callable[[Callable[[Plan], None]], None]]
) -> None:
    """A folder that holds anything, be it of a campaign that was killed, is refused, and left as it was."""
    (tmp_path / "runs").mkdir()
    result = campaign("--seeds", "1..1", "--out", str(tmp_path))
    assert (result.exit_code, played[0]) == (2, [])
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_every_link_leads_somewhere(
    tmp_path: Path, played: tuple[Played, Callable[[Callable[[Plan], None]], None]]
) -> None:
    """A run that was judged leads to its report; one that came to nothing to what it left."""

    def fail_once(plan: Plan) -> None:
        if plan.seed == 2:
            (tmp_path / "runs" / plan.name / "logs").mkdir(parents=True)
            raise RuntimeError("a bug of the stand")

    played[1](fail_once)
    result = campaign("--seeds", "1..3", "--out", str(tmp_path))
    assert result.exit_code == 4
    assert "RuntimeError: a bug of the stand" in result.stdout
    links = re.findall(r'href="([^"]+)"', (tmp_path / "index.html").read_text())
    assert len(links) == 3
    assert all((tmp_path / link).exists() for link in links)
