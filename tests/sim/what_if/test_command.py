"""`meshrelay sim window` as a person types it: the window as ever, variants beside it, and how it refuses."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

import meshrelay
from faults.plan import Plan
from reports.what_if import Column, decode
from sim.trial import try_plan
from sim.what_if.playing import INTERRUPTED, Job, play_all
from sim.window import window_plan

pytestmark = pytest.mark.report

DAYS = "0.01"


def run(*words: str) -> Result:
    """The command, carried out here; variants are played in processes of their own all the same."""
    return CliRunner().invoke(meshrelay.command(["sim"]), ["sim", "window", *words], catch_exceptions=False)


def window(*words: str, code: int = 0) -> str:
    """The command's output; it must end with this code."""
    done = run(*words)
    assert done.exit_code == code, done.stderr
    return done.stdout


def test_the_window_alone_is_what_it_was() -> None:
    """The same lines, the same keys, and the trace of the window's own plan."""
    trial = try_plan(window_plan(days=float(DAYS)))
    lines = window("--days", DAYS).splitlines()
    names = [line.split()[0] for line in lines]
    assert names == [
        "verdict", "reason", "days", "events", "deliveries", "wall_s", "memory_mb", "steps", "trace_sha256",
        "redelivered", "redispatched", "pending",
    ]  # fmt: skip
    document: dict[str, Any] = json.loads(window("--days", DAYS, "--json"))
    assert set(names) <= set(document)
    assert document["trace_sha256"] == trial.trace_sha256
    assert document["figures"]["told_gone"] == {"critical": 0, "standard": 0}
    for name in ("verdict", "reason", "events", "deliveries", "steps"):
        assert document[name] == getattr(trial, name)
    for name, value in trial.counters.items():
        assert document[name] == value


def test_an_interrupted_window_shows_what_was_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: no table of zeros; the columns that were done, and the exit code of an interruption."""
    words = ("--days", DAYS, "--variant", "few: agents=2", "--jobs", "1")
    whole = play_all

    def cut(done: int) -> Callable[..., list[Column]]:
        def play(jobs: Sequence[Job], **rest: Any) -> list[Column]:
            left = [replace(job.column, reason=f"{INTERRUPTED}.") for job in jobs[done:]]
            return [*(whole(jobs[:done], **rest | {"told": lambda at_s, done: None}) if done else []), *left]

        return play

    monkeypatch.setattr("sim.what_if.cli.play_all", cut(0))
    done = run(*words)
    assert (done.exit_code, done.stdout) == (130, "")
    assert "interrupted; of 2 variants 0 had been played to the end" in done.stderr
    monkeypatch.setattr("sim.what_if.cli.play_all", cut(1))
    assert [one.name for one in decode(window(*words, "--json", code=130).encode()).columns] == ["base"]


def test_variants_stand_beside_the_base_with_all_that_repeats_them(tmp_path: Path) -> None:
    """One table, one JSON document, a page with Markdown; a column's own command plays the same column."""
    out = tmp_path / "what if"
    words = ("--days", DAYS, "--variant", "few: agents=2 outage:nats=1m@5m", "--jobs", "2")
    document = decode(window(*words, "--out", str(out), "--json").encode())
    assert [one.name for one in document.columns] == ["base", "few"]
    assert [one.verdict for one in document.columns] == ["held"] * 2
    assert decode((out / "what-if.json").read_bytes()) == document
    assert document.columns[1].settings == ["agents=2"]
    assert document.columns[1].outages == ["nats: kill at 5m for 1m (SIGKILL, started again after it)"]
    for one in document.columns:
        assert (out / one.page).read_text().startswith("<!doctype html>")
        assert try_plan_of(out / one.plan) == one.trace_sha256
    again = decode(window(*shlex.split(document.columns[1].command)[3:], "--json").encode())
    assert again.columns[0].trace_sha256 == document.columns[1].trace_sha256
    assert again.columns[0].figures == document.columns[1].figures
    table = window(*words[:4], "--no-base")
    assert "nats: kill at 5m for 1m" in table
    assert "told gone, critical" in table
    assert "base" not in table.replace("--no-base", "")


def try_plan_of(path: Path) -> str:
    """The trace of a plan file."""
    return try_plan(Plan.load(path)).trace_sha256


@pytest.mark.parametrize(
    ("words", "verdict", "code"),
    [
        (["--set", "converge_within=1s"], "not converged", 3),
        (["--set", "nats.sync=interval", "--set", "events=600", "--outage", "relay-nats=5m@2m", "--outage",
          "power_loss:nats=1m@6m50s"], "violated", 1),
    ],
)  # fmt: skip
def test_the_exit_code_says_the_worst(words: list[str], verdict: str, code: int) -> None:
    """Not converged in time is 3; what NATS had not synced when power was lost is gone, which is 1."""
    document = decode(window("--days", DAYS, "--no-base", "--json", *words, code=code).encode())
    assert (document.verdict, document.exit_code) == (verdict, code)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "retention.standart=6h"], ["did you mean retention.standard", "--settings"]),
        (["--set", "agents=0", "--outage", "nats=3"], ["--set agents=0: expected 1 to 1000", "--outage nats=3: "]),
        (["--variant", "a: retention.critical=1h", "--variant", "b: days=1 agents.sleep=30h"],
         ["a: retention: expected retention.standard at most", "b: expected both together shorter than the window"]),
        (["--no-base"], ["nothing is left to play"]),
        (["--days", "1000"], ["--days"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_anything_is_played(words: list[str], says: list[str]) -> None:
    """Exit code 2, every problem on stderr, nothing on stdout."""
    done = run(*words)
    assert done.exit_code == 2
    assert done.stdout == ""
    for one in says:
        assert one in done.stderr


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    """Evidence of two runs is not mixed."""
    (tmp_path / "old").write_text("")
    done = run("--days", DAYS, "--out", str(tmp_path))
    assert done.exit_code == 2
    assert "--out: expected a new or empty folder" in done.stderr


def test_settings_are_listed_for_people_and_programs() -> None:
    """Without anything being played."""
    assert "retention.standard" in window("--settings")
    found = json.loads(window("--settings", "--json"))
    assert found["schema"] == "meshrelay-what-if-settings-1"
    assert {"name": "agents", "default": 12, "min": 1, "max": 1000}.items() <= found["settings"][10].items()
