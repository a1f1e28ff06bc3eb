"""Plans over the ADR's options."""

from __future__ import annotations

import pytest

from faults.plan import Plan
from faults.swarm import chaos_plan
from faults.transports import MARGINS_S, TransportName, as_option, over
from sim.swarm import swarm_plan


def test_a_plan_over_its_own_transport_is_the_plan() -> None:
    """Nothing changes where nothing is asked for, so that what was found with a seed is found again."""
    plan = chaos_plan(1)
    assert over(plan, None) is plan
    assert over(plan, TransportName.CURSOR) is plan


@pytest.mark.parametrize("transport", [TransportName.JETSTREAM, TransportName.REDIS])
def test_the_same_workload_and_faults_over_another_transport(transport: TransportName) -> None:
    """Only the transport, its name and its own margin differ; the plan can be stored, read and turned back."""
    plan = swarm_plan(3)
    other = over(plan, transport)
    assert other.transport == transport.value
    assert other.name == f"{plan.name}-{transport.value}"
    assert (other.workload, other.agents, other.faults, other.seed) == (
        plan.workload,
        plan.agents,
        plan.faults,
        plan.seed,
    )
    assert Plan.decode(other.encode()) == other
    back = over(other, TransportName.CURSOR)
    assert (back.transport, back.name) == ("cursor", plan.name)


def test_the_margin_is_squeezed_as_the_retention_is() -> None:
    """A day's margin over half a minute's retention would keep everything: option A would never be put to the test."""
    margins = {over(swarm_plan(seed), TransportName.JETSTREAM).relay.expiry_margin_s for seed in range(12)}
    assert margins == set(MARGINS_S)


def test_a_command_that_repeats_a_run_names_the_transport() -> None:
    """What a campaign prints must play the same."""
    assert as_option(None) == ""
    assert as_option(TransportName.REDIS) == " --transport redis"
