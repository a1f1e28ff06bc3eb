"""G8 where it depends on a server's setting, and clocks that are wrong: what is lost, and who is blamed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import pytest

from faults.plan import Agent, Awake, Plan, Servers
from faults.recorder import Recorder
from faults.vocabulary import ClockSkew, Cut, Link, PowerLoss, ProcessName
from reports import history
from reports.api import judge
from reports.report import Report
from sim.trial import simulate
from sim.world import World
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim

HOUR_MS = 3_600_000


def dark_plan(nats_sync: Literal["always", "interval"]) -> Plan:
    """NATS loses its power while Postgres can't be reached: what it has acknowledged is nowhere else."""
    plan = plan_with(
        Cut(id="away", link=Link.RELAY_POSTGRES, at_s=3.0, for_s=6.0),
        PowerLoss(id="dark", process=ProcessName.NATS, at_s=6.0, down_s=1.0),
    )
    return msgspec.structs.replace(plan, servers=Servers(nats_sync=nats_sync))


def violated(report: Report) -> set[str]:
    """The guarantees that a run broke."""
    return {one.guarantee for one in report.guarantees if one.verdict == "violated"}


def test_a_power_loss_of_a_server_that_does_not_sync_is_blamed_on_its_setting() -> None:
    """With NATS's default fsync acknowledged events are lost: G1 and G8 are violated, and the setting is named."""
    report, outcome = simulate(dark_plan("interval"), None)
    assert report.verdict == "violated"
    assert violated(report) == {"G1", "G8"}, report.reason
    assert "G8 (1 lost-unsynced)" in report.reason
    assert "NATS ran with sync_interval 2m, not always" in report.reason
    assert not outcome.relay_exits
    assert not outcome.client_failures


def test_a_power_loss_of_a_server_that_syncs_costs_nothing() -> None:
    """The same plan with `sync_interval: always`: G8 is held."""
    report, outcome = simulate(dark_plan("always"), None)
    assert report.verdict == "held", report.reason
    assert [one.verdict for one in report.guarantees if one.guarantee == "G8"] == ["held"]
    assert outcome.events == 150


@pytest.mark.parametrize("skew_ms", [HOUR_MS, -HOUR_MS])
def test_a_relay_whose_clock_is_an_hour_off_expires_nothing(skew_ms: int, tmp_path: Path) -> None:
    """Age counts on Postgres's clock alone: an hour on the only relay's is longer than all retention, and harmless."""
    plan = plan_with(ClockSkew(id="f", process=ProcessName.RELAY, at_s=4.0, for_s=15.0, skew_ms=skew_ms))
    late = Agent(name="eve", start_from="earliest", awake=(Awake(from_s=14.0),))
    plan = msgspec.structs.replace(plan, agents=(*plan.agents, late))
    path = tmp_path / "history.jsonl"
    world = World(plan, lambda clock_ns: Recorder(path, clock_ns=clock_ns), relays=1)
    outcome = world.run()
    report = judge(path)
    assert report.verdict == "held", (report.reason, report.findings[:3])
    assert (report.counts["gaps told"], report.counts["410s told"]) == (0, 0)
    records = history.read_history(path).records
    to_eve = [one.t_ns / 1e9 for one in records if isinstance(one, history.Publish) and one.agent in ("eve", "_all")]
    got = sum(isinstance(one, history.Deliver) and one.agent == "eve" for one in records)
    assert len(to_eve) >= got > 20
    assert min(to_eve) < 10.0, "much was published before the late agent came, under a right clock and a wrong one"
    assert outcome.events == 150
