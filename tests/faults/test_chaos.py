"""Whole chaos runs on the real stack, small ones: what holds is held, what is broken on purpose is found."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from typer.testing import CliRunner

from faults.chaos import CouldNotRun, Progress, run_plan
from faults.plan import Agent, Awake, Pinned, Plan, Publisher, RelayTimes, Retention, TypeWeight, Workload
from faults.stack import disks
from faults.vocabulary import (
    Cut,
    Direction,
    DiskFull,
    Down,
    HalfOpen,
    Kill,
    Latency,
    Link,
    ProcessName,
)
from reports import api, history
from reports.history import read_history
from tests.faults.conftest import chaos_app

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

HTTP, NATS = Publisher(name="http", via="http"), Publisher(name="nats", via="nats")
AGENTS = (
    Agent(name="steady", crashes_s=(1.7,)),
    Agent(name="slow", handler_ms=5, ack_interval_s=None),
    Agent(name="sleeper", awake=(Awake(from_s=0.0, until_s=2.0), Awake(from_s=5.0))),
    Agent(name="expiring", token_ttl_s=3.0),
)
FAULTS = (
    Latency(id="slow-nats", link=Link.RELAY_NATS, at_s=1.0, for_s=1.5, latency_ms=60),
    Down(id="no-nats", link=Link.PUBLISHER_NATS, at_s=1.5, for_s=1.5),
    Kill(id="kill", process=ProcessName.RELAY, at_s=3.5, down_s=0.3),
    Cut(id="cut", link=Link.PUBLISHER_NATS, at_s=4.0, for_s=2.0, direction=Direction.DOWNSTREAM),
)


def small_run(**changes: Any) -> Plan:
    """A run of some seconds: 4 agents, 400 events, faults on three links, a SIGKILL."""
    plan = Plan(
        name="small",
        seed=1,
        duration_s=8.0,
        converge_within_s=20.0,
        retention=Retention(critical_s=60.0, standard_s=40.0),
        slack_s=1.0,
        relay=RelayTimes(redispatch_after_s=60.0),
        workload=Workload(
            events=400,
            shape=(1, 3, 2),
            publishers=(HTTP, NATS),
            types=(TypeWeight(type="task.assigned", weight=1), TypeWeight(type="note.added", weight=1)),
            broadcast_share=0.1,
            repeat_share=0.1,
            pinned=(Pinned(at_s=2.5, agent="sleeper", type="task.assigned"),),
        ),
        agents=AGENTS,
        faults=FAULTS,
    )
    return msgspec.structs.replace(plan, **changes)


def _leftovers() -> set[int]:
    """Servers of ours that still run below this process; not their own children, which come and go."""
    names = {"nats-server", "postgres", "toxiproxy-server-2.12.0"}
    parents: dict[int, int] = {}
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.name() in names:
                parents[one.pid] = one.ppid()
    return {pid for pid, parent in parents.items() if parent not in parents}


def test_a_run_from_the_command_line(tmp_path: Path) -> None:
    """`chaos run --plan` plays every fault with its proof, loses nothing, exits 0, and leaves only its folder."""
    plan, out = tmp_path / "plan.json", tmp_path / "run"
    small_run().dump(plan)
    before = _leftovers()
    result = CliRunner().invoke(chaos_app(), ["chaos", "run", "--plan", str(plan), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["verdict"] == "held"
    assert document["acked"] == document["events"] == 401
    assert set(document["guarantees"]) == {"G1", "G2", "G3", "G4", "G5", "G6", "G8"}
    assert Plan.load(out / "plan.json") == small_run()
    assert {path.name for path in (out / "logs").iterdir()} >= {"relay-1.log", "relay-2.log", "agents.log", "nats.log"}
    assert (out / "report" / "report.html").exists()
    assert _leftovers() == before

    records = read_history(out / "history.jsonl").records
    assert isinstance(records[0], history.Run)
    phases = [one.name for one in records if isinstance(one, history.Phase)]
    assert phases == ["safety", "healed", "converged", "end"]
    for fault in FAULTS:
        life = [one.phase for one in records if isinstance(one, history.Fault) and one.fault == fault.id]
        assert life == ["asked", "effective", "lifted"], fault.id
    outcomes = {one.outcome for one in records if isinstance(one, history.Published)}
    assert outcomes == {"acked", "unknown"}
    ways = {one.publisher for one in records if isinstance(one, history.Published) and one.outcome == "acked"}
    assert ways == {"http", "nats"}
    assert any(one.duplicate for one in records if isinstance(one, history.Published))
    crashes = [one for one in records if isinstance(one, history.Disconnect) and one.why == "crashed"]
    assert crashes
    assert {one.agent for one in crashes} == {"steady"}
    expiries = {one.agent for one in records if isinstance(one, history.Disconnect) and "token" in one.why}
    assert "expiring" in expiries
    assert not any(one.agent == "slow" for one in records if isinstance(one, history.Acked))


async def test_a_broken_relay_is_found(tmp_path: Path) -> None:
    """A relay whose replay begins at the cursor instead of after it is found guilty of repeating."""
    command = (sys.executable, "-m", "faults.planted", "cursor-inclusive", "serve")
    result = await run_plan(small_run(), tmp_path / "run", relay_command=command)
    report = api.judge(result.history)
    assert report.verdict == "violated"
    assert {one.guarantee for one in report.findings} & {"G3", "G4"}


async def test_an_agent_that_never_catches_up_is_named(tmp_path: Path) -> None:
    """A run that does not converge by its deadline ends all the same, and says for whom it waited."""
    agents = (Agent(name="stuck", handler_ms=9_000), Agent(name="steady"))
    workload = msgspec.structs.replace(small_run().workload, events=60, pinned=())
    plan = small_run(agents=agents, faults=(), workload=workload, duration_s=2.0, converge_within_s=5.0)
    result = await run_plan(plan, tmp_path / "run")
    assert not result.converged
    assert [what for what in result.waiting_for if what.startswith("stuck to reach")]
    assert not [what for what in result.waiting_for if what.startswith("steady")]
    phases = [one.name for one in read_history(result.history).records if isinstance(one, history.Phase)]
    assert phases == ["safety", "healed", "end"]


async def test_what_is_not_playable_is_named_and_the_rest_is_played(tmp_path: Path) -> None:
    """A fault that the real stack can't play is in the result with its reason, and not in the history."""
    faults = (HalfOpen(id="half", link=Link.RELAY_NATS, at_s=0.2, for_s=1.0), FAULTS[1])
    workload = msgspec.structs.replace(small_run().workload, events=60, pinned=())
    plan = small_run(faults=faults, workload=workload, duration_s=4.0)
    result = await run_plan(plan, tmp_path / "run")
    assert [(one.fault, one.kind) for one in result.not_played] == [("half", "half_open")]
    played = {one.fault for one in read_history(result.history).records if isinstance(one, history.Fault)}
    assert played == {"no-nats"}
    assert result.converged
    assert [note for note in api.judge(result.history).notes if "half (half_open): Toxiproxy treats" in note]


async def test_full_disks_that_can_not_be_had_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no disk can be mounted, the report names the faults that were left out; if these were all, it is no run."""
    monkeypatch.setattr(disks, "refused", lambda: "no tmpfs here")
    full = DiskFull(id="full", process=ProcessName.NATS, at_s=0.2, for_s=1.0)
    workload = msgspec.structs.replace(small_run().workload, events=60, pinned=())
    plan = small_run(faults=(full,), workload=workload, duration_s=2.0)
    report = api.judge((await run_plan(plan, tmp_path / "run")).history)
    assert report.notes[0] == "Not played: full (disk_full): no tmpfs here."
    assert report.verdict == "could not run"
    assert "none of the plan's 1 faults could be played" in report.reason


async def test_a_relay_that_does_not_start_is_no_run(tmp_path: Path) -> None:
    """Without a relay there is nothing to judge: an error with the relay's own words, and nothing left behind."""
    before = _leftovers()
    command = (sys.executable, "-c", "raise SystemExit('no such setting')")
    with pytest.raises(CouldNotRun, match=r"(?s)expected relay-1 to serve, but it ended with code 1.*no such setting"):
        await run_plan(small_run(), tmp_path / "run", relay_command=command)
    assert _leftovers() == before


async def test_a_relay_that_ends_by_itself_is_started_again_and_counted(tmp_path: Path) -> None:
    """A relay that exits in the middle is started again, as a supervisor would, and the run tells."""
    order = tmp_path / "exit-now"
    program = (
        "import os, pathlib, sys, threading, time\n"
        f"order = pathlib.Path({str(order)!r})\n"
        "def obey():\n"
        "    while not order.exists(): time.sleep(0.05)\n"
        "    order.unlink(); os._exit(7)\n"
        "threading.Thread(target=obey, daemon=True).start()\n"
        "sys.argv[1:] = ['serve']; import meshrelay; meshrelay.main()"
    )
    orders: list[str] = []

    def watch(progress: Progress) -> None:
        if progress.phase == "safety" and progress.at_s > 0.5 and not orders:
            orders.append("exit")
            order.touch()

    workload = msgspec.structs.replace(small_run().workload, events=100)
    plan = small_run(faults=(), workload=workload, duration_s=4.5)
    result = await run_plan(plan, tmp_path / "run", watch=watch, relay_command=(sys.executable, "-c", program))
    assert result.relay_exits == 1
    witness = next(one for one in read_history(result.history).records if isinstance(one, history.Witness))
    assert witness.broken == ("the relay ended by itself",)
    assert api.judge(result.history).verdict == "violated"  # whoever judges it, and whenever
    lives = [one for one in read_history(result.history).records if isinstance(one, history.Process)]
    (exited,) = [one.name for one in lives if one.what == "exited" and one.name.startswith("relay")]
    assert [one.what for one in lives if one.name == exited] == ["started", "exited", "started"]


async def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    """A history is never appended to or replaced by another run."""
    (tmp_path / "history.jsonl").write_text("{}\n")
    with pytest.raises(CouldNotRun, match="expected a folder without a run"):
        await run_plan(small_run(), tmp_path)
    assert (tmp_path / "history.jsonl").read_text() == "{}\n"
