"""The whole world from one seed: the unmodified relay under faults, judged; equal seeds, equal bytes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from faults.plan import Agent, Awake, Plan, Publisher, Retention, TypeWeight, Workload
from faults.vocabulary import (
    ClockSkew,
    Cut,
    Direction,
    Fault,
    HalfOpen,
    Kill,
    Latency,
    Link,
    Pause,
    PowerLoss,
    ProcessName,
    ResetPeer,
    Restart,
)
from sim.trial import simulate, try_plan
from system.account import Burst
from system.cursor import Position
from system.places import Places
from system.stream_session import StreamSession
from system.sweeper import Sweeper

pytestmark = pytest.mark.sim

FAULTS: dict[str, Fault] = {
    "cut": Cut(id="f", link=Link.AGENT_RELAY, at_s=5.0, for_s=6.0),
    "one-way": Cut(id="f", link=Link.RELAY_NATS, at_s=5.0, for_s=6.0, direction=Direction.DOWNSTREAM),
    "latency": Latency(id="f", link=Link.RELAY_POSTGRES, at_s=5.0, for_s=6.0, latency_ms=200, jitter_ms=50),
    "reset": ResetPeer(id="f", link=Link.AGENT_RELAY, at_s=5.0, for_s=6.0),
    "half-open": HalfOpen(id="f", link=Link.RELAY_NATS, at_s=5.0, for_s=6.0),
    "pause": Pause(id="f", process=ProcessName.RELAY, at_s=5.0, for_s=6.0),
    "kill-relay": Kill(id="f", process=ProcessName.RELAY, at_s=5.0, down_s=2.0),
    "restart": Restart(id="f", process=ProcessName.RELAY, at_s=5.0),
    "kill-nats": Kill(id="f", process=ProcessName.NATS, at_s=5.0, down_s=2.0),
    "power-nats": PowerLoss(id="f", process=ProcessName.NATS, at_s=5.0, down_s=2.0),
    "power-postgres": PowerLoss(id="f", process=ProcessName.POSTGRES, at_s=5.0, down_s=2.0),
    "pause-agent": Pause(id="f", process=ProcessName.AGENT, at_s=5.0, for_s=6.0, only="ann"),
    "kill-agent": Kill(id="f", process=ProcessName.AGENT, at_s=5.0, down_s=2.0, only="ann"),
    "power-agent": PowerLoss(id="f", process=ProcessName.AGENT, at_s=5.0, down_s=2.0, only="ann"),
    "pause-publisher": Pause(id="f", process=ProcessName.PUBLISHER, at_s=5.0, for_s=6.0, only="web"),
    "restart-publisher": Restart(id="f", process=ProcessName.PUBLISHER, at_s=5.0, only="web"),
    "power-publisher": PowerLoss(id="f", process=ProcessName.PUBLISHER, at_s=5.0, down_s=2.0, only="direct"),
    "clock": ClockSkew(id="f", process=ProcessName.RELAY, at_s=5.0, for_s=6.0, skew_ms=600_000),
}


def plan_with(*faults: Fault, seed: int = 1) -> Plan:
    """Twenty seconds of four agents, one of which sleeps through the fault."""
    agents = [Agent(name=name, start_from="earliest") for name in ("ann", "bob", "cyd")]
    naps = (Awake(from_s=0.0, until_s=4.0), Awake(from_s=12.0))
    return Plan(
        name="small",
        seed=seed,
        duration_s=20.0,
        converge_within_s=60.0,
        retention=Retention(critical_s=600.0, standard_s=300.0),
        slack_s=1.0,
        workload=Workload(
            events=150,
            shape=(1,),
            publishers=(Publisher(name="web", via="http"), Publisher(name="direct", via="nats")),
            types=(TypeWeight(type="task.assigned", weight=1), TypeWeight(type="note.added", weight=1)),
            broadcast_share=0.1,
            repeat_share=0.1,
        ),
        agents=(*agents, Agent(name="dot", start_from="earliest", awake=naps, crashes_s=(13.0,))),
        faults=faults,
    )


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_under_a_fault(name: str, tmp_path: Path) -> None:
    """G1 to G6: what was acknowledged reaches everybody, once and in order, and all are caught up after the heal."""
    plan = plan_with(FAULTS[name])
    report, outcome = simulate(plan, tmp_path)
    assert report.verdict == "held", (report.reason, report.findings[:3])
    assert outcome.events == 150
    assert outcome.deliveries > 150, "broadcasts reach four agents each"


@pytest.mark.parametrize("way", ["http", "nats"])
def test_what_a_dead_publisher_did_not_know_is_published_again_and_stored_once(way: str, tmp_path: Path) -> None:
    """It dies while its answers are held up, its outbox does not: what flew is unknown, and a repeat later on."""
    link = Link.AGENT_RELAY if way == "http" else Link.PUBLISHER_NATS
    plan = plan_with(
        Cut(id="answers", link=link, at_s=5.0, for_s=3.0, direction=Direction.DOWNSTREAM),
        Kill(
            id="death", process=ProcessName.PUBLISHER, at_s=7.0, down_s=1.0, only="web" if way == "http" else "direct"
        ),
    )
    report, outcome = simulate(plan, tmp_path)
    assert report.verdict == "held", (report.reason, report.findings[:3])
    assert outcome.events == 150
    assert {"kill.publisher_in_flight", "fault.on_publisher", "ack.duplicate"} <= set(outcome.marks)


def test_a_relay_that_forgets_a_push_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: where every tenth live push is dropped, G1 is violated, and nothing else is blamed for it."""
    numbers, push = itertools.count(1), StreamSession.push

    def forgetful(self: StreamSession, payload: bytes, burst: Burst) -> None:
        if next(numbers) % 10:
            push(self, payload, burst)

    monkeypatch.setattr(StreamSession, "push", forgetful)
    report, _ = simulate(plan_with(), tmp_path)
    assert report.verdict == "violated"
    assert {one.guarantee for one in report.guarantees if one.verdict == "violated"} == {"G1"}


@pytest.mark.parametrize("way", ["turns", "timer"])
def test_a_relay_that_goes_round_in_circles_is_a_failure_that_names_it(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated time would never pass: the plan could not run, and the report says whose task it was."""

    async def spin(sweeper: Sweeper) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1.0)
        while True:
            if way == "turns":
                await asyncio.sleep(0)
            else:
                called = asyncio.Event()
                loop.call_at(loop.time() - 1e-6, called.set)
                await called.wait()

    monkeypatch.setattr(Sweeper, "run", spin)
    trial = try_plan(plan_with())
    assert trial.verdict == "could not run"
    assert trial.is_failure
    assert "expected simulated time to pass" in trial.reason
    assert re.search(r"busy at that moment: relay-\d \((sweeper|Event\.set)\)", trial.reason), trial.reason


def test_what_a_relay_raises_where_the_world_asks_it_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan could not run, and is told apart from one that holds; no campaign ends by it."""

    def forgetful(places: Places, position: Position) -> str:
        raise KeyError("the epoch's tag")

    monkeypatch.setattr(Places, "cursor_of", forgetful)
    trial = try_plan(plan_with())
    assert (trial.verdict, trial.is_failure) == ("could not run", True)
    assert re.search(r"KeyError: .*the epoch's tag.*, raised in test_world\.py, line \d+ \(forgetful\)", trial.reason)


def test_the_same_seed_is_the_same_run_in_every_process(tmp_path: Path) -> None:
    """Equal plans give equal SHA-256s of all traffic, also where text hashes differently; another seed does not."""
    path = tmp_path / "plan.json"
    plan_with(FAULTS["kill-relay"], seed=3).dump(path)
    hashes = [try_plan(plan_with(FAULTS["kill-relay"], seed=seed)).trace_sha256 for seed in (3, 4)]
    for hash_seed in "12":
        done = subprocess.run(
            [sys.executable, "-m", "meshrelay", "sim", "run", "--plan", str(path), "--json"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        hashes.append(json.loads(done.stdout)["trace_sha256"])
    here, other, *elsewhere = hashes
    assert elsewhere == [here, here]
    assert here != other
