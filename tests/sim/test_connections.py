"""An agent with two connections has two clients, and each is owed everything."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from faults.clients import clients_of, owner_of
from faults.plan import Plan
from reports.api import judge
from reports.verdict import Witnessed
from sim.trial import simulate
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
