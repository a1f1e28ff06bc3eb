"""Plans made to fit the real stack: every time by one factor, nothing else changed, what is left out said."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.generate import main_plan
from faults.plan import Plan, PlanInvalid
from faults.playable import not_playable
from faults.proof import experiment_for
from faults.scale import CONVERGE_S_MIN, DURATION_S_MAX, SLACK_S_MIN, fitted, lengthened, scaled
from faults.vocabulary import Kill, LinkFaultBase, ProcessName
from sim.swarm import swarm_plan
from tests.faults.test_plan import latency, small_plan

seeds = st.integers(0, 5_000)


@settings(max_examples=30)
@given(seeds)
def test_what_is_fitted_is_played_whole(seed: int) -> None:
    """A fitted plan is sound, short enough, on one NATS server, and has no fault that the real stack leaves out."""
    plan = swarm_plan(seed)
    fit = fitted(plan)
    assert Plan.decode(fit.plan.encode()) == fit.plan
    assert not_playable(fit.plan) == ()
    assert fit.plan.duration_s <= DURATION_S_MAX
    assert fit.plan.servers.nats_replicas == 1
    kept, left_out = {fault.id for fault in fit.plan.faults}, {one.fault for one in fit.left_out}
    assert not kept & left_out
    assert kept | left_out == {fault.id for fault in plan.faults}


@settings(max_examples=30)
@given(seeds, st.floats(0.5, 4.0))
def test_times_keep_their_proportions(seed: int, factor: float) -> None:
    """Every time of agents, faults, pinned events and retention is multiplied, to the ms; the order of all stays."""
    plan = main_plan(seed)
    found = scaled(plan, factor)

    def times(one: Plan) -> list[float]:
        return [
            *(fault.at_s for fault in one.faults),
            *(fault.until_s for fault in one.faults),
            *(awake.from_s for agent in one.agents for awake in agent.awake),
            *(awake.until_s or 0.0 for agent in one.agents for awake in agent.awake),
            *(crash for agent in one.agents for crash in agent.crashes_s),
            *(pinned.at_s for pinned in one.workload.pinned),
            one.duration_s,
            one.retention.critical_s,
            one.retention.standard_s,
        ]

    for before, after in zip(times(plan), times(found), strict=True):
        assert after == pytest.approx(before * factor, abs=0.0025)


def test_what_is_no_time_stays() -> None:
    """Measures of faults, sizes, counts and handlers are not multiplied, nor is the seed that draws the events."""
    plan = main_plan(3)
    found = scaled(plan, 2.0)
    for before, after in zip(plan.faults, found.faults, strict=True):
        moved = {"at_s", "for_s", "down_s"}
        kept = {name for name in msgspec.structs.asdict(before) if name not in moved}
        assert {name: getattr(before, name) for name in kept} == {name: getattr(after, name) for name in kept}
    assert (found.seed, found.limits, found.workload.events) == (plan.seed, plan.limits, plan.workload.events)
    assert [one.handler_ms for one in found.agents] == [one.handler_ms for one in plan.agents]


def test_what_a_machine_needs_is_not_squeezed() -> None:
    """Leases, timeouts and slack stay what a real machine can keep, however short the plan becomes."""
    plan = main_plan(3)
    found = scaled(plan, 0.5)
    assert found.relay == plan.relay
    assert found.slack_s == SLACK_S_MIN
    assert found.converge_within_s == CONVERGE_S_MIN


def test_faults_last_as_long_as_their_proof() -> None:
    """A fault on a link that is too short to be proved is lengthened, but never into the next one or past the end."""
    early, close, last = latency(id="a", at_s=1.0), latency(id="b", at_s=20.0), latency(id="c", at_s=20.9)
    short = [msgspec.structs.replace(fault, for_s=0.2) for fault in (early, close, last)]
    kill = Kill(id="k", process=ProcessName.NATS, at_s=40.0, down_s=0.1)
    plan = msgspec.structs.replace(small_plan(faults=(*short, kill)), duration_s=60.0)
    found = {fault.id: fault for fault in lengthened(plan).faults}
    lasts = {name: fault.until_s - fault.at_s for name, fault in found.items()}
    needed_s = experiment_for(early).wait_s
    assert lasts["a"] >= needed_s
    assert lasts["c"] >= needed_s
    assert lasts["b"] == pytest.approx(0.2)
    assert lasts["k"] == pytest.approx(0.1)
    ends = sorted((fault.target, fault.at_s, fault.until_s) for fault in found.values())
    assert all(before[2] <= after[1] for before, after in pairwise(ends) if before[0] == after[0])
    assert not isinstance(found["k"], LinkFaultBase)


def test_weeks_become_minutes() -> None:
    """A plan of many days is squeezed whole: retention, sleeps and faults keep their places."""
    plan = swarm_plan(39)
    fit = fitted(plan)
    assert plan.duration_s > 7 * 86_400
    assert fit.plan.duration_s == DURATION_S_MAX
    share = plan.retention.critical_s / plan.duration_s
    assert fit.plan.retention.critical_s / fit.plan.duration_s == pytest.approx(share, rel=1e-3)


def test_times_that_come_to_lie_too_close_are_refused() -> None:
    """A plan whose order is lost by squeezing is no plan, and the error says which one it was."""
    with pytest.raises(PlanInvalid, match="times 1e-06"):
        scaled(main_plan(3), 1e-6)
