"""Variants played: figures that agree with the judge, the same run whether anybody looks or not, none left behind."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil
import pytest

from reports.history import HistoryReader
from reports.index import Index
from reports.report import Report
from reports.told_gone import together
from reports.what_if import Column, Figures
from sim.trial import try_plan
from sim.what_if.figures import after_outages_s
from sim.what_if.plans import plan_of
from sim.what_if.playing import Job, play, play_all
from sim.what_if.variants import variants_of

pytestmark = pytest.mark.report

SLEEPY = (
    "events=300", "agents=3", "agents.sleep=20m", "agents.work_min=1m", "agents.work_max=5m",
    "retention.standard=2m", "retention.critical=15m",
)  # fmt: skip
SLEEPY_DAYS = 0.05
QUIET_DAYS = 0.01
LIMIT_S = 120.0
"""A busy machine is slow."""


def job(*words: str, outages: tuple[str, ...] = (), days: float = QUIET_DAYS, out: Path | None = None) -> Job:
    """One variant, ready to play."""
    (variant,) = variants_of(words, outages, (), with_base=not (words or outages))
    plan = plan_of(variant, seed=1, days=days)
    column = Column(
        name=variant.name, settings=[], outages=[], notes=[], command="", days=days, verdict="could not run", reason=""
    )
    return Job(column=column, plan=plan.encode(), out=out)


def figures(column: Column) -> Figures:
    """Those of a column that was played."""
    assert column.figures is not None, column.reason
    return column.figures


@pytest.fixture(scope="module")
def sleepy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Column, Report, Index]:
    """Three agents that sleep longer than anything is kept, what its report says, and its history."""
    out = tmp_path_factory.mktemp("sleepy")
    column = play(job(*SLEEPY, days=SLEEPY_DAYS, out=out))
    report = msgspec.json.decode((out / "report.json").read_bytes(), type=Report)
    return column, report, Index.of(HistoryReader(out / "history.jsonl"))


def test_what_was_told_gone_is_what_the_judge_counted(sleepy: tuple[Column, Report, Index]) -> None:
    """It held, and much is gone: both classes, every agent, and as many as G2 was tried with."""
    column, report, _ = sleepy
    found = figures(column)
    assert column.verdict == report.verdict == "held"
    assert found.told_gone.critical > 0
    assert found.told_gone.standard > 50
    assert sorted(found.told_gone_by_agent) == ["agent-01", "agent-02", "agent-03"]
    assert together(found.told_gone_by_agent) == found.told_gone
    (g2,) = (one for one in report.guarantees if one.guarantee == "G2")
    assert f"{found.told_gone.total:,} events told gone" in g2.trial
    assert found.told_410 + found.told_gap > 0
    assert found.events == report.counts["events acknowledged"] == 300


def test_absences_are_as_long_as_agents_slept(sleepy: tuple[Column, Report, Index]) -> None:
    """The longest reconnect gap is the sleep and what connecting takes; what waited was replayed."""
    found = figures(sleepy[0])
    assert 20 * 60 <= found.longest_away_s < 20 * 60 + 30
    assert 0 < found.replayed < found.deliveries
    assert found.refused == 0
    assert found.redispatched > 0, "assignments came for agents that slept"


def test_looking_changes_nothing(sleepy: tuple[Column, Report, Index]) -> None:
    """The world that is watched and measured is the one that `sim replay` plays: the same bytes of trace."""
    again = try_plan(plan_of(variants_of(SLEEPY, (), (), with_base=False)[0], seed=1, days=SLEEPY_DAYS))
    assert (sleepy[0].trace_sha256, sleepy[0].steps) == (again.trace_sha256, again.steps)
    assert (figures(sleepy[0]).events, figures(sleepy[0]).deliveries) == (again.events, again.deliveries)


def test_an_outage_shows_in_how_long_it_took_to_be_caught_up() -> None:
    """NATS is away for five minutes: nothing is lost, and who is at work has all some seconds after."""
    one = job("events=400", outages=("nats=5m@5m",), days=0.015)
    found = figures(play(one))
    assert (found.lost, found.told_gone.total, found.events) == (0, 0, 400)
    assert found.after_outage_s is not None
    assert 0 < found.after_outage_s < 60
    assert found.guarantees["G8"] == "held"


def test_without_an_outage_nobody_had_to_catch_up(sleepy: tuple[Column, Report, Index]) -> None:
    """The figure is not there, rather than 0."""
    _, _, index = sleepy
    assert after_outages_s(index, plan_of(variants_of(SLEEPY, (), (), with_base=False)[0], seed=1, days=0.05)) is None


def test_who_sleeps_when_an_outage_ends_is_not_waited_for(sleepy: tuple[Column, Report, Index]) -> None:
    """Of the same history, an outage that ends while all sleep took nobody at work any time."""
    _, _, index = sleepy
    (variant,) = variants_of(SLEEPY, ("mesh=1s@30m",), (), with_base=False)
    plan = plan_of(variant, seed=1, days=SLEEPY_DAYS)
    over_s = plan.faults[0].until_s
    at_work = [one for agent in plan.agents for one in agent.awake if one.from_s <= over_s < (one.until_s or 1e9)]
    asleep = msgspec.structs.replace(
        plan, agents=tuple(msgspec.structs.replace(agent, awake=agent.awake[:1]) for agent in plan.agents)
    )
    assert after_outages_s(index, asleep) == 0.0
    assert after_outages_s(index, plan) == pytest.approx(0.0, abs=60.0)
    assert len(at_work) < len(plan.agents), "the moment is one at which somebody sleeps"


def test_a_killed_relay_takes_its_counts_with_it_and_the_world_keeps_them() -> None:
    """Assignments were dispatched again before both replicas were killed; the total over their lives has them."""
    words = (*SLEEPY, "relay.redispatch_after=30s", "limits.redispatch_max=1")
    before = figures(play(job(*words, days=SLEEPY_DAYS)))
    killed = figures(play(job(*words, outages=("relay=10s@1h",), days=SLEEPY_DAYS)))
    assert before.redispatched > 10
    assert killed.redispatched > before.redispatched / 2


def test_columns_come_in_their_order_and_progress_rises() -> None:
    """Two at once, each in its own process; whoever waits sees simulated time pass, and who is done."""
    seen: list[tuple[list[float], list[bool]]] = []
    jobs = [job(days=0.02), job("agents=2")]
    columns = play_all(jobs, at_once=2, told=lambda at_s, done: seen.append((list(at_s), list(done))))
    assert [one.verdict for one in columns] == ["held", "held"]
    assert [one.name for one in columns] == ["base", "what-if"]
    assert figures(columns[0]).events > figures(columns[1]).events > 0
    assert seen[-1][1] == [True, True]
    firsts = [at_s[0] for at_s, _ in seen]
    assert firsts == sorted(firsts)
    assert 0 < firsts[-1] <= 0.02 * 86_400 + 120
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_takes_only_its_own_column() -> None:
    """A plan that can't be read ends its process with an error: that column could not run, the other is whole."""
    broken = Job(column=job().column, plan=b"no plan", out=None)
    columns = play_all([broken, job()], at_once=1, told=lambda at_s, done: None)
    assert [one.verdict for one in columns] == ["could not run", "held"]
    assert "its process ended with code 1" in columns[0].reason


def test_a_report_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "taken").write_text("")
    (column,) = play_all([job(out=tmp_path / "taken")], at_once=1, told=lambda at_s, done: None)
    assert column.verdict == "could not run"
    assert "its history or report could not be written" in column.reason


def test_an_interruption_keeps_what_is_done_and_leaves_nothing_behind() -> None:
    """Ctrl-C once one of two is done: one column is whole, the other says so, and no process runs on."""

    def told(at_s: Sequence[float], done: Sequence[bool]) -> None:
        if any(done):
            raise KeyboardInterrupt

    columns = play_all([job(), job(*SLEEPY, days=2.0)], at_once=1, told=told)
    assert [one.verdict for one in columns] == ["held", "could not run"]
    assert columns[1].reason == "it was interrupted."
    assert multiprocessing.active_children() == []


def test_an_interruption_ends_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while days are left to play: its process and its history are gone when the call returns."""

    def told(at_s: Sequence[float], done: Sequence[bool]) -> None:
        if at_s[0] > 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (column,) = play_all([job("agents=2", days=21.0)], at_once=1, told=told)
    assert column.reason == "it was interrupted."
    assert multiprocessing.active_children() == []
    assert list(tmp_path.iterdir()) == []


def test_who_dies_without_a_word_leaves_no_process_that_plays_on(tmp_path: Path) -> None:
    """SIGKILL of the command: its processes notice, and end, weeks before their window is over."""
    words = (sys.executable, "-m", "meshrelay", "sim", "window", "--no-base", "--set", "agents=2")
    with subprocess.Popen(words, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL) as command:
        try:
            eventually(lambda: list(tmp_path.glob("*/0/history.jsonl")))
            children = psutil.Process(command.pid).children(recursive=True)
        finally:
            command.kill()
    assert children
    _, alive = psutil.wait_procs(children, timeout=LIMIT_S)
    assert alive == []


def eventually(is_so: Callable[[], object]) -> None:
    """Wait until it is so."""
    deadline_s = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
