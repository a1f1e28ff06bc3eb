"""What the real stack can't play is named with its reason; nothing is dropped in silence."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given

from faults.plan import Agent, Awake, Plan, Servers
from faults.playable import RETURN_S, Ground, not_playable, playable, servers_refused, toxic_of
from faults.vocabulary import (
    KINDS,
    ClockSkew,
    Cut,
    Direction,
    DiskFull,
    Fault,
    HalfOpen,
    Kill,
    Latency,
    LeaderChange,
    Link,
    LinkFault,
    Pause,
    PowerLoss,
    ProcessName,
    QuorumLoss,
    Restart,
    kind_of,
)
from tests.faults.test_plan import latency, plans, small_plan

PLAYED = {"cut", "down", "latency", "bandwidth", "timeout", "reset_peer", "slicer", "slow_close", "limit_data"}
PLACE: dict[str, Any] = {"at_s": 10.0, "for_s": 5.0}


def test_every_kind_is_played_or_named() -> None:
    """Each kind of the vocabulary has a toxic, is a signal, or is on the list of those left out."""
    left_out = {
        one.kind
        for one in not_playable(
            small_plan(
                faults=(
                    HalfOpen(id="a", link=Link.AGENT_RELAY, **PLACE),
                    PowerLoss(id="b", process=ProcessName.NATS, at_s=1.0, down_s=1.0),
                    ClockSkew(id="c", process=ProcessName.POSTGRES, skew_ms=5, **PLACE),
                    LeaderChange(id="d", process=ProcessName.NATS, at_s=1.0, down_s=1.0),
                    QuorumLoss(id="e", process=ProcessName.NATS, **PLACE),
                )
            )
        )
    }
    assert left_out == {"half_open", "power_loss", "clock_skew", "leader_change", "quorum_loss"}
    assert PLAYED | left_out | {"pause", "kill", "restart", "disk_full"} == set(KINDS)
    assert {kind_of(kind) for kind in get_args(LinkFault)} == PLAYED | {"half_open"}


def test_full_disks_need_disks_that_can_be_filled() -> None:
    """Where no small disk can be mounted, `disk_full` is left out with the reason; all else is played as before."""
    full = DiskFull(id="f", process=ProcessName.NATS, **PLACE)
    plan = small_plan(faults=(full, Pause(id="p", process=ProcessName.POSTGRES, at_s=1.0, for_s=1.0)))
    assert not_playable(plan) == ()
    left_out = not_playable(plan, ground=Ground(no_disks="no tmpfs here"))
    assert [(one.fault, one.kind, one.reason) for one in left_out] == [("f", "disk_full", "no tmpfs here")]
    assert [fault.id for fault in playable(plan, ground=Ground(no_disks="no tmpfs here"))] == ["p"]


def test_what_others_started_is_hit_by_commands() -> None:
    """A fault without its commands is left out and says which; it is then no outage either. Agents need none."""
    faults = (
        Kill(id="k", process=ProcessName.NATS, at_s=1.0, down_s=1.0),
        Restart(id="r", process=ProcessName.POSTGRES, at_s=1.0),
        Pause(id="p", process=ProcessName.RELAY, only="relay-2", at_s=1.0, for_s=1.0),
        Pause(id="q", process=ProcessName.RELAY, only="relay-1", at_s=2.0, for_s=1.0),
        Kill(id="a", process=ProcessName.AGENT, only="ann", at_s=3.0, down_s=1.0),
        latency(id="l", link=Link.RELAY_POSTGRES, at_s=1.0),
    )
    plan = small_plan(agents=(SLEEPER,), faults=faults)
    commands = {
        "nats": frozenset({"kill"}),
        "postgres": frozenset({"kill", "start"}),
        "relay-1": frozenset({"pause", "resume"}),
    }
    ground = Ground(commands=commands)
    assert [(one.fault, one.reason) for one in not_playable(plan, ground=ground)] == [
        ("k", "the stack file has no command to start nats"),
        ("r", "the stack file has no command to stop postgres"),
        ("p", "the stack file has no command to pause or resume relay-2"),
    ]
    assert [fault.id for fault in playable(plan, ground=ground)] == ["q", "a", "l"]


def test_a_full_disk_is_an_outage_of_its_server() -> None:
    """NATS is restarted at its end, and Postgres may have ended: nothing behind a link is proved meanwhile."""
    full = DiskFull(id="f", process=ProcessName.POSTGRES, **PLACE)
    beside = Latency(id="l", link=Link.RELAY_POSTGRES, at_s=12.0, for_s=5.0, latency_ms=50)
    plan = small_plan(faults=(full, beside))
    assert [(one.fault, "(f)" in one.reason) for one in not_playable(plan)] == [("l", True)]
    assert not_playable(plan, ground=Ground(no_disks="no tmpfs here"))[0].fault == "f"
    assert [one.fault for one in not_playable(plan, ground=Ground(no_disks="no tmpfs here"))] == ["f"]


def test_faults_on_redis_are_played_as_on_the_other_servers() -> None:
    """Under the transport redis its links and its process are hit; a link is not, while Redis itself is away."""
    faults = (
        Latency(id="l", link=Link.RELAY_REDIS, at_s=1.0, for_s=5.0, latency_ms=50),
        Pause(id="p", process=ProcessName.REDIS, at_s=12.0, for_s=2.0),
        Cut(id="c", link=Link.RELAY_REDIS, at_s=13.0, for_s=3.0),
        DiskFull(id="f", process=ProcessName.REDIS, at_s=15.0, for_s=1.0),
        PowerLoss(id="w", process=ProcessName.REDIS, at_s=17.0, down_s=1.0),
    )
    plan = msgspec.structs.replace(small_plan(faults=faults), transport="redis")
    assert [(one.fault, one.kind) for one in not_playable(plan)] == [("c", "cut"), ("w", "power_loss")]
    assert [fault.id for fault in playable(plan)] == ["l", "p", "f"]


def test_three_nats_servers_are_refused() -> None:
    """The real stack has one NATS server, and says so; how it syncs is a line of its configuration."""
    assert servers_refused(small_plan(servers=Servers(nats_sync="interval"))) is None
    refused = servers_refused(small_plan(servers=Servers(nats_replicas=3)))
    assert refused is not None
    assert refused.startswith("servers.nats_replicas: expected 1 on the real stack, got 3")


@given(plans())
def test_what_is_not_played_is_what_is_left_out(plan: Plan) -> None:
    """Played and left-out faults together are the plan's, each once, in its order."""
    left_out = {one.fault for one in not_playable(plan)}
    played = [fault.id for fault in playable(plan)]
    assert [fault.id for fault in plan.faults if fault.id in left_out or fault.id in played] == [
        fault.id for fault in plan.faults
    ]
    assert left_out.isdisjoint(played)


def test_a_fault_that_ends_before_its_proof_is_left_out() -> None:
    """A fault must last as long as its proof takes, which depends on what it does."""
    assert not_playable(small_plan(faults=(latency(for_s=1.2),))) == ()
    (short,) = not_playable(small_plan(faults=(latency(for_s=1.1),)))
    (slow,) = not_playable(small_plan(faults=(latency(for_s=5.0, latency_ms=3_000),)))
    assert short.reason == "its proof takes up to 1.2 s, and it lasts 1.1 s"
    assert slow.reason == "its proof takes up to 7 s, and it lasts 5 s"


@pytest.mark.parametrize(
    "outage",
    [
        Kill(id="out", process=ProcessName.RELAY, only="relay-2", at_s=12.0, down_s=1.0),
        Pause(id="out", process=ProcessName.RELAY, only="relay-2", at_s=12.0, for_s=1.0),
        Restart(id="out", process=ProcessName.RELAY, only="relay-2", at_s=12.0),
    ],
)
def test_a_fault_without_a_server_behind_it_is_left_out(outage: Fault) -> None:
    """A link whose server is away, or has only just come back, could not be told from a faulty one."""
    (left_out,) = not_playable(small_plan(faults=(latency(), outage)))
    assert left_out.reason == "relay-2 is away meanwhile (out), so nothing could prove it"
    after = latency(at_s=outage.until_s + RETURN_S)
    elsewhere = latency(id="nats", link=Link.RELAY_NATS)
    other = latency(id="other", only="relay-1")
    assert not_playable(small_plan(faults=(after, elsewhere, other, outage))) == ()


SLEEPER = Agent(name="ann", awake=(Awake(from_s=0.0, until_s=5.0), Awake(from_s=20.0)))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Kill(id="k", process=ProcessName.PUBLISHER, only="http", at_s=1.0, down_s=1.0), "the publishers live in the"),
        (Kill(id="k", process=ProcessName.AGENT, only="ann", at_s=10.0, down_s=1.0), "agent ann sleeps then"),
        (Kill(id="k", process=ProcessName.AGENT, only="ann", at_s=20.1, down_s=1.0), "agent ann sleeps then"),
        (latency(only="ann"), "agents and publishers share the proxies of a link"),
    ],
)
def test_what_is_not_there_to_be_hit_is_left_out(fault: Fault, reason: str) -> None:
    """Publishers share the player's process, a sleeping agent has none, and a proxy serves all agents alike."""
    (left_out,) = not_playable(small_plan(agents=(SLEEPER,), faults=(fault,)))
    assert left_out.reason.startswith(reason)


def test_replicas_and_agents_at_work_are_hit() -> None:
    """Each replica has proxies of its own, and each agent that is awake has a process."""
    faults = (
        latency(only="relay-1"),
        Kill(id="agent", process=ProcessName.AGENT, only="ann", at_s=3.0, down_s=1.0),
        Pause(id="replica", process=ProcessName.RELAY, only="relay-2", at_s=30.0, for_s=1.0),
    )
    assert not_playable(small_plan(agents=(SLEEPER,), faults=faults)) == ()


def test_cuts_hold_bytes_and_one_way_cuts_one_way() -> None:
    """A cut is played by what keeps bytes, not by what drops them, on the ways that it names."""
    cut = Cut(id="c", link=Link.AGENT_RELAY, direction=Direction.UPSTREAM, **PLACE)
    toxic = toxic_of(cut)
    assert toxic is not None
    assert toxic.type == "latency"
    assert toxic.attributes["latency"] > 3_600_000
    assert cut.directions == (Direction.UPSTREAM,)
    assert msgspec.structs.replace(cut, direction=Direction.BOTH).directions == (
        Direction.UPSTREAM,
        Direction.DOWNSTREAM,
    )


def test_attributes_are_in_toxiproxys_units() -> None:
    """Milliseconds stay milliseconds: a latency of 100 ms is `latency: 100`."""
    toxic = toxic_of(Latency(id="l", link=Link.AGENT_RELAY, latency_ms=100, jitter_ms=7, **PLACE))
    assert toxic is not None
    assert toxic.attributes == {"latency": 100, "jitter": 7}


def test_two_replicas_are_away_one_after_the_other() -> None:
    """The real stack plays faults on processes of one kind one by one: of two at once it leaves out the second."""
    one = Kill(id="one", process=ProcessName.RELAY, only="relay-1", at_s=10.0, down_s=5.0)
    two = Kill(id="two", process=ProcessName.RELAY, only="relay-2", at_s=12.0, down_s=5.0)
    later = Kill(id="later", process=ProcessName.RELAY, only="relay-2", at_s=20.0, down_s=5.0)
    plan = small_plan(faults=(one, two, later))
    assert [fault.id for fault in playable(plan)] == ["one", "later"]
    (left_out,) = not_playable(plan)
    assert left_out.reason == "relay-1 is away meanwhile (one), and faults on a relay are played one by one"
