"""What people do in a few seeds only: drawn apart from everything else, and judged as everybody is."""

from __future__ import annotations

import msgspec
import pytest

from faults.plan import Agent, Plan
from faults.planted import PLANTED
from sim.habits import with_habits
from sim.hunt import hunt
from sim.swarm import short_plan
from sim.trial import try_plan
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim


def forgetful_plan(seed: int = 1) -> Plan:
    """Everybody loses its cursor twice in the middle of the work, slowly acknowledged."""
    plan = plan_with(seed=seed)
    agents = tuple(
        Agent(name=one.name, start_from="acked", ack_interval_s=2.0, crashes_s=(5.1, 9.7), forgets=True)
        for one in plan.agents
    )
    return msgspec.structs.replace(plan, agents=agents)


def test_an_agent_that_lost_its_cursor_comes_back_by_its_ack() -> None:
    """It sees again what it had not acknowledged, loses nothing, and the run waits until it has caught up."""
    trial = try_plan(forgetful_plan())
    assert trial.verdict == "held", trial.reason
    assert {"reconnect.by_ack", "agent.got_again"} <= set(trial.marks)


def test_a_few_seeds_have_a_habit_and_no_other_is_changed_by_it() -> None:
    """What a seed draws beside its habits is what it drew before there were any."""
    seeds = range(200)
    forgetful = [seed for seed in seeds if any(agent.forgets for agent in short_plan(seed).agents)]
    assert 15 <= len(forgetful) <= 50
    for seed in forgetful:
        plan = short_plan(seed)
        assert sum(agent.forgets for agent in plan.agents) == 1
        assert Plan.decode(plan.encode()) == plan
        assert with_habits(plan).faults == plan.faults


def test_a_place_that_nobody_acknowledged_is_found_out() -> None:
    """An agent that comes back by its ack, and is begun with behind what it was sent, misses what it never handled."""
    found = hunt("acked-is-what-was-sent", 1_000, 40)
    assert found.seeds, found
    assert PLANTED["acked-is-what-was-sent"].guarantees & set(found.violated)
