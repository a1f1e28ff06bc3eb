"""Planted bugs in the simulated world: found, made small, played again, explained, and gone when they are taken out."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

import meshrelay
from faults.plan import Plan
from faults.planted import PLANTED, planted
from faults.transports import TransportName
from faults.vocabulary import ClockSkew, Cut, Direction, Kill, Latency, Link, Pause, ProcessName
from sim.campaign import try_encoded
from sim.explain import Explanation, explain, shown
from sim.hunt import hunt, is_caught
from sim.shrink import shrink
from sim.swarm import unsynced_plan
from sim.trial import Trial, try_plan
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim
TWO_NEEDED = ("lost-acks", "early-clock")
LEAST_BUGS = 20
QUICK = (
    "full-page-taken-for-the-last",
    "answered-before-stored",
    "floors-not-read-with-page",
    "newest-first",
    "zombie-writer",
    "slow-session-drops",
    "messages-without-margin",
    "trimmed-without-floors",
    "watermark-after-the-page",
)
LEAST_OF_ITS_OWN = 8
"""Bugs that only the options A and B can have."""


def twice_stored_plan() -> Plan:
    """Acks are lost, so publishers try again; and NATS's clock jumps meanwhile, so it has forgotten the ids."""
    plan = plan_with(
        Latency(id="beside-1", link=Link.AGENT_RELAY, at_s=2.0, for_s=2.0, latency_ms=50),
        Cut(id="lost-acks", link=Link.PUBLISHER_NATS, at_s=5.0, for_s=4.0, direction=Direction.DOWNSTREAM),
        ClockSkew(id="early-clock", process=ProcessName.NATS, at_s=6.0, for_s=12.0, skew_ms=3_600_000),
        Pause(id="beside-2", process=ProcessName.POSTGRES, at_s=14.0, for_s=1.0),
    )
    return msgspec.structs.replace(plan, workload=msgspec.structs.replace(plan.workload, events=60, repeat_share=0.0))


def test_there_are_many_and_each_says_what_it_is() -> None:
    """Every bug names the guarantees that it breaks, and leaves the relay as it was."""
    assert len(PLANTED) >= LEAST_BUGS
    for name in PLANTED:
        with planted(name) as bug:
            assert bug.what
            assert bug.guarantees
    assert not try_plan(plan_with()).is_failure


@pytest.mark.parametrize(("is_untried", "caught"), [(False, True), (True, False)])
def test_a_run_that_proves_nothing_catches_nothing(is_untried: bool, caught: bool) -> None:
    """Whatever its judge names beside: a campaign would not have counted it as a failure."""
    trial = Trial(plan="p", seed=1, verdict="could not run", reason="", violated=("G6",), is_untried=is_untried)
    assert is_caught(PLANTED["nothing-stored"], trial) is caught


@pytest.mark.parametrize("transport", [TransportName.JETSTREAM, TransportName.REDIS])
def test_every_option_has_bugs_of_its_own(transport: TransportName) -> None:
    """And one that is not on its path is refused, with the reason that stands beside it."""
    own = [name for name, bug in PLANTED.items() if bug.over == (transport,)]
    assert len(own) >= LEAST_OF_ITS_OWN
    asked = ["sim", "planted", "--transport", transport.value, "--bug", "window-start-stays"]
    refused = CliRunner().invoke(meshrelay.command(["sim"]), asked)
    assert refused.exit_code == 2
    assert PLANTED["window-start-stays"].not_over[transport] in refused.output


def test_a_bug_lies_on_a_path_or_is_left_out_with_a_reason() -> None:
    """No bug is left out of every transport, and none without a word."""
    for bug in PLANTED.values():
        assert bug.over, bug.name
        assert all(bug.not_over.values()), bug.name
        assert {*bug.over, *bug.not_over} == {*TransportName}


@pytest.mark.parametrize("name", QUICK)
def test_a_hunt_finds_its_bug(name: str) -> None:
    """Within a few seeds, and in one of the guarantees that the bug names."""
    found = hunt(name, 2_000, 40)
    assert found.seeds, found
    assert PLANTED[name].guarantees & set(found.violated)


def test_two_faults_remain_of_a_bug_that_needs_two_and_are_explained(tmp_path: Path) -> None:
    """The smallest plan has the two, and played again from its file it gives the same violation and the same hash; the
    explanation has all that is needed.
    """
    bug = "dedupe-only-by-the-stream"
    plan = twice_stored_plan()
    assert not try_plan(plan).is_failure
    with planted(bug):
        failed = try_plan(plan)
        assert failed.violated == ("G4",), failed
        explanation = explain(plan, failed, tmp_path, bug=bug)
    assert tuple(fault.id for fault in explanation.small.plan.faults) == TWO_NEEDED
    replayed = CliRunner().invoke(
        meshrelay.command(["sim"]),
        ["sim", "replay", str(explanation.small_path), "--bug", bug, "--json"],
        catch_exceptions=False,
    )
    document = json.loads(replayed.stdout)
    assert replayed.exit_code == 1
    assert document["violated"] == ["G4"]
    assert document["trace_sha256"] == explanation.small.trial.trace_sha256
    _has_all_that_is_needed(explanation)


def _has_all_that_is_needed(explanation: Explanation) -> None:
    """The seed, the guarantee, the smallest plan, each host's last, the first difference, and how to do it again."""
    text = shown(explanation)
    for needed in ("seed      1", "G4", "lost-acks, early-clock", "duplicate-storage", "first difference", "relay-1"):
        assert needed in text, text
    assert explanation.neighbour is not None
    assert "sim replay" in text.splitlines()[-1]
    trace = json.loads(explanation.trace_path.read_bytes())
    names = {one["args"]["name"] for one in trace["traceEvents"] if one["name"] == "process_name"}
    assert {"nats", "postgres", "relay-1", "relay-2", "faults"} <= names
    spans = [one for one in trace["traceEvents"] if one.get("cat") == "fault"]
    assert sorted(one["ph"] for one in spans) == ["b", "b", "e", "e"]
    flows = [one["ph"] for one in trace["traceEvents"] if one.get("cat") == "network"]
    assert flows.count("s") == flows.count("f") > 100
    page = explanation.timeline_path.read_text()
    assert "duplicate-storage" in page
    assert "http://" not in page.partition("<script>")[0], "expected a page that needs nothing else"


def test_a_kill_that_is_not_needed_goes() -> None:
    """A plan with a kill breaks G8 with whatever else it breaks; one that fails without the kill is made small without
    it. Once such a kill stayed, and whoever read the plan looked for its part in the loss.
    """
    bug = "watermark-over-a-hole"
    plan = plan_with(
        Cut(id="no-postgres", link=Link.RELAY_POSTGRES, at_s=4.0, for_s=5.0),
        Kill(id="beside", process=ProcessName.RELAY, at_s=12.0, down_s=3.0, only="relay-1"),
        seed=3,
    )
    failed = try_encoded(plan.encode(), bug)
    assert {"G1", "G8"} <= set(failed.violated), failed
    assert "G8" not in failed.failure_class
    small = shrink(plan, failed, lambda one: try_encoded(one.encode(), bug), trials_max=2)
    assert [fault.id for fault in small.plan.faults] == ["no-postgres"]


def test_a_stream_that_lost_its_tail_has_no_cursors_of_its_former_life_accepted() -> None:
    """What is held against a bug of epochs is not held against the relay as it is, under the same plans."""
    trials = [try_plan(unsynced_plan(seed)) for seed in range(6)]
    assert sum("G8" in trial.violated for trial in trials) >= 2, (
        "expected some tails to be lost before they were stored"
    )
    for trial in trials:
        assert "cursor-accepted" not in trial.kinds, trial
