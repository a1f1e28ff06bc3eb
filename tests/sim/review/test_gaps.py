"""The sweep of gaps in small: around 24 h, over every transport, and with a relay that hushes up what it sweeps."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import meshrelay
from faults.plan import Plan
from faults.transports import TransportName
from reports.review.evidence import GapTrial
from sim.review.gaps import SLACK_S, gap_plan, gap_plans, gaps_s, measure_gap
from sim.weeks import DAY_S, RETENTION, TIMES

pytestmark = pytest.mark.report
SWEPT_S = TIMES.sweep_interval_s * 1.2 + 60.0
"""How long an event may outlive its retention: the longest pause between two sweeps, and what a sweep takes."""


def measured(seed: int, transport: TransportName, bug: str | None = None) -> list[GapTrial]:
    """The trials of a seed."""
    return measure_gap(gap_plan(seed, transport, quick=True).encode(), bug)


def test_gaps_lie_on_both_sides_of_both_retentions() -> None:
    """A twentieth of a percent and less, and far off; the quick ones are some of them."""
    for kept_s in (RETENTION.standard_s, RETENTION.critical_s):
        offs_s = [gap_s - kept_s for gap_s in gaps_s()]
        assert min(off_s for off_s in offs_s if off_s > 0) == 30.0
        assert max(off_s for off_s in offs_s if off_s < 0) == -30.0
    assert max(gaps_s()) == 2 * RETENTION.critical_s
    assert set(gaps_s(quick=True)) < set(gaps_s())
    assert max(gaps_s(quick=True)) == 2 * DAY_S


def test_a_seed_is_a_plan() -> None:
    """Equal seeds give equal plans, others differ, all can be read from their files, and say over what they go."""
    first, second = gap_plans((1, 2), TransportName.REDIS)
    assert first.encode() == gap_plan(1, TransportName.REDIS).encode()
    assert first.workload.pinned != second.workload.pinned
    for plan in (first, second, gap_plan(1, quick=True)):
        assert Plan.decode(plan.encode()) == plan
    assert (first.transport, gap_plan(1).transport) == ("redis", "cursor")


@pytest.mark.parametrize("transport", list(TransportName))
def test_within_retention_all_is_delivered_and_beyond_it_all_is_told(transport: TransportName) -> None:
    """Each planned gap is a trial of either class; nothing is lost, nothing told too early, nothing gone kept quiet."""
    trials = measured(1, transport)
    assert all(one.transport == transport.value and one.seed == 1 for one in trials)
    for kept in ("critical", "standard"):
        of_class = sorted(one.gap_s for one in trials if one.retention_class == kept)
        assert of_class == pytest.approx(gaps_s(quick=True), abs=SLACK_S)
    for one in trials:
        assert one.lost == 0, one
        assert one.delivered >= one.within, one
        assert one.delivered + one.told == one.events, one
        if one.gap_s < one.retention_s:
            assert (one.within, one.told) == (one.events, 0), one
        if one.retention_class == "standard":
            assert one.told > 0 or one.gap_s < one.retention_s + SWEPT_S, one
            assert (one.notice == "gap") == (one.told > 0), one


def test_a_relay_that_sweeps_without_a_word_is_seen() -> None:
    """The planted bug loses what it should have told: beyond retention, and of that class alone."""
    trials = measured(1, TransportName.CURSOR, "sweeper-without-floors")
    lossy = [one for one in trials if one.lost]
    assert lossy
    assert all(one.retention_class == "standard" and one.gap_s > one.retention_s for one in lossy)
    assert all(one.notice == "none" for one in lossy)


def test_the_command_tells_the_trials() -> None:
    """One line a trial; the exit code is the verdict's, and an unknown bug is refused with those that there are."""
    command = meshrelay.command(["sim"])
    broken = CliRunner().invoke(command, ["sim", "gaps", "--quick", "--bug", "sweeper-without-floors"])
    assert broken.exit_code == 1, broken.output
    assert broken.output.count("standard") == broken.output.count("critical") == len(gaps_s(quick=True))
    assert "violated: the history shows breaches of G2" in broken.output
    refused = CliRunner().invoke(command, ["sim", "gaps", "--bug", "none-such"])
    assert refused.exit_code == 2
    assert "sweeper-without-floors" in refused.output
