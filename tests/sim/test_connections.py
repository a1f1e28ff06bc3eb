"""Several connections of an agent, each owed everything; faults that hit one replica, agent or publisher only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faults.clients import clients_of
from faults.plan import Plan, PlanInvalid
from faults.playable import not_playable
from faults.vocabulary import Cut, Kill, Link, Pause, PowerLoss, ProcessName
from reports.api import judge
from reports.history import owner_of
from reports.verdict import Witnessed
from sim.trial import simulate, try_plan
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim


def plan_of_two() -> Plan:
    """Twenty seconds in which `ann` has two connections."""
    plan = plan_with()
    ann, *others = plan.agents
    return msgspec.structs.replace(plan, agents=(msgspec.structs.replace(ann, connections=2), *others))


def test_clients_are_named_after_their_agent() -> None:
    """Only the first acknowledges; the others begin at the earliest, and have a cursor of their own."""
    first, second, *_ = clients_of(plan_of_two())
    assert (first.name, second.name, owner_of(second.name)) == ("ann", "ann#2", "ann")
    assert (first.ack_interval_s, second.ack_interval_s, second.start_from) == (1.0, None, "earliest")


def test_each_client_is_held_to_what_its_agent_is_owed(tmp_path: Path) -> None:
    """Both get everything; and if the second one's history lacks a delivery, that is a loss, and its only one."""
    report, outcome = simulate(plan_of_two(), tmp_path)
    assert report.verdict == "held", report.reason
    assert "agent.two_connections" in outcome.marks
    path = tmp_path / "history.jsonl"
    lines = path.read_text().splitlines()
    delivered = [at for at, line in enumerate(lines) if '"deliver"' in line and json.loads(line)["agent"] == "ann#2"]
    assert len(delivered) > 10
    del lines[delivered[5]]
    path.write_text("\n".join([*lines, ""]))
    robbed = judge(path, Witnessed())
    assert (robbed.verdict, [one.kind for one in robbed.findings]) == ("violated", ["lost-middle"])


def test_a_partial_partition_hits_one_replica() -> None:
    """While one of two replicas is cut off from Postgres, the other serves; nothing is lost, and all of it in proof."""
    cut = Cut(id="half", link=Link.RELAY_POSTGRES, at_s=2.0, for_s=10.0, only="relay-1")
    segments: list[tuple[int, str, str]] = []
    trial = try_plan(plan_with(cut), on_segment=lambda _, t_ns, one, other, __: segments.append((t_ns, one, other)))
    assert trial.verdict == "held", trial.reason
    began_ns = next(t_ns for t_ns, one, _ in segments if one.startswith("publisher"))
    within = [(one, other) for t_ns, one, other in segments if 4 < (t_ns - began_ns) / 1e9 < 9 and other == "postgres"]
    assert ("relay-2", "postgres") in within
    assert ("relay-1", "postgres") not in within


@pytest.mark.parametrize("only", ["relay-3", "nobody"])
def test_a_partial_partition_of_nobody_is_refused(only: str) -> None:
    """With the names that there are."""
    cut = Cut(id="half", link=Link.AGENT_RELAY, at_s=2.0, for_s=10.0, only=only)
    with pytest.raises(PlanInvalid, match=f"expected only to be one of ann, bob, .*relay-2, web, got '{only}'"):
        Plan.decode(plan_with(cut).encode())


@pytest.mark.parametrize("process", [ProcessName.AGENT, ProcessName.PUBLISHER])
@pytest.mark.parametrize("kind", [Pause, Kill, PowerLoss])
def test_nothing_is_heard_of_one_that_is_down(kind: Any, process: ProcessName) -> None:
    """An agent or publisher that a fault has taken is away for as long, whoever would start it again, and then back."""
    name = "ann" if process is ProcessName.AGENT else "direct"
    length = {"for_s": 6.0} if kind is Pause else {"down_s": 6.0}
    fault = kind(id="away", process=process, only=name, at_s=4.0, **length)
    segments: list[tuple[int, str]] = []
    trial = try_plan(plan_with(fault), on_segment=lambda t_ns, _, one, __, ___: segments.append((t_ns, one)))
    assert trial.verdict == "held", trial.reason
    began_ns = next(t_ns for t_ns, one in segments if one.startswith("publisher"))
    said = [(t_ns - began_ns) / 1e9 for t_ns, one in segments if one == f"{process}.{name}"]
    assert not [at_s for at_s in said if 4.1 < at_s < 9.8], said
    assert min(said) < 4.0
    assert max(said) > 10.0


@pytest.mark.parametrize(
    ("process", "only", "expected"),
    [
        (ProcessName.AGENT, "web", "one of ann, bob"),
        (ProcessName.PUBLISHER, "ann", "one of direct, web"),
        (ProcessName.RELAY, "relay-3", "one of relay-1, relay-2"),
        (ProcessName.NATS, "nats", "left out, for there is one nats"),
    ],
)
def test_a_fault_on_nobody_is_refused(process: ProcessName, only: str, expected: str) -> None:
    """With the names that there are."""
    kill = Kill(id="nobody", process=process, only=only, at_s=2.0, down_s=1.0)
    with pytest.raises(PlanInvalid, match=f"expected only to be {expected}.*, got '{only}'"):
        Plan.decode(plan_with(kill).encode())


def test_the_real_stack_says_that_it_can_not() -> None:
    """Its proxies are shared: a partial partition is left out by name."""
    cut = Cut(id="half", link=Link.AGENT_RELAY, at_s=2.0, for_s=10.0, only="ann")
    (left_out,) = not_playable(plan_with(cut))
    assert "can't tell ann from the others" in left_out.reason
