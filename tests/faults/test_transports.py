"""Plans over the ADR's options."""

from __future__ import annotations

import msgspec
import pytest

from faults.plan import Plan, PlanInvalid
from faults.playable import Ground, not_playable
from faults.swarm import chaos_plan
from faults.transports import MARGINS_S, SWEEPS_WITHIN_MARGIN, TransportName, as_option, over
from faults.vocabulary import ClockSkew, Cut, Link, ProcessName, Restart
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
    calm = [msgspec.structs.replace(swarm_plan(seed), faults=()) for seed in range(12)]
    relays = [over(plan, TransportName.JETSTREAM).relay for plan in calm]
    margins = {round(one.expiry_margin_s - one.sweep_interval_s * SWEEPS_WITHIN_MARGIN, 3) for one in relays}
    assert margins == set(MARGINS_S)


def test_the_margin_covers_how_long_nothing_is_stored() -> None:
    """What pg-writer stores late lives longer in Postgres than in the stream, unless the margin allows for it."""
    plan = msgspec.structs.replace(swarm_plan(1), faults=())
    away = Cut(id="c", link=Link.RELAY_POSTGRES, at_s=1.0, for_s=7.0)
    elsewhere = Cut(id="e", link=Link.AGENT_RELAY, at_s=1.0, for_s=7.0)
    calm_s, away_s, elsewhere_s = (
        over(msgspec.structs.replace(plan, faults=faults), TransportName.JETSTREAM).relay.expiry_margin_s
        for faults in ((), (away,), (elsewhere,))
    )
    assert away_s - calm_s == pytest.approx(7.0)
    assert elsewhere_s == calm_s


def test_the_margin_covers_what_the_clocks_are_off_by() -> None:
    """Beyond that option A promises nothing, and no operator would run it so."""
    plan = msgspec.structs.replace(swarm_plan(1), faults=())
    skew = ClockSkew(id="s", process=ProcessName.NATS, at_s=1.0, for_s=2.0, skew_ms=60_000)
    skewed = msgspec.structs.replace(plan, faults=(skew,))
    calm_s, skewed_s = (over(one, TransportName.JETSTREAM).relay.expiry_margin_s for one in (plan, skewed))
    assert skewed_s - calm_s == pytest.approx(120.0)


def test_a_command_that_repeats_a_run_names_the_transport() -> None:
    """What a campaign prints must play the same."""
    assert as_option(None) == ""
    assert as_option(TransportName.REDIS) == " --transport redis"


def switched(process: ProcessName, transport: str | None = "redis") -> Plan:
    """A plan in which a process comes back over another transport."""
    fault = Restart(id="switch", process=process, at_s=5.0, transport=transport)  # type: ignore[arg-type]
    return msgspec.structs.replace(chaos_plan(1), faults=(fault,))


def test_a_plan_knows_all_transports_of_its_course() -> None:
    """What a run needs is there from its beginning."""
    assert switched(ProcessName.RELAY).transports == {"cursor", "redis"}
    assert switched(ProcessName.RELAY, None).transports == {"cursor"}


def test_only_replicas_switch() -> None:
    """A server has no transport: such a plan is refused, with the reason."""
    assert Plan.decode(switched(ProcessName.RELAY).encode())
    with pytest.raises(PlanInvalid, match="expected no transport for process 'nats', got 'redis'"):
        Plan.decode(switched(ProcessName.NATS).encode())


def test_what_others_started_is_not_switched() -> None:
    """Its settings are theirs: the fault is left out, and named."""
    ground = Ground(commands={"relay-1": frozenset({"stop", "start"}), "relay-2": frozenset({"stop", "start"})})
    (left_out,) = not_playable(switched(ProcessName.RELAY), ground=ground)
    assert left_out.reason == "the settings of what others started are theirs"
    assert not_playable(switched(ProcessName.RELAY)) == ()
