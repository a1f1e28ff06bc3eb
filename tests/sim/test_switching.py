"""A running deployment goes from one transport to another and back, replica by replica, and loses nothing."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from faults.plan import Awake, Plan
from faults.transports import TransportName, over
from faults.vocabulary import Cut, Direction, Fault, Kill, Link, ProcessName, Restart
from sim.swarm import short_plan
from sim.trial import try_plan
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.options
BETWEEN_S = 2.5
"""Both kinds of replicas serve for so long."""


def switching(*ways: str, first_s: float = 2.0) -> list[Fault]:
    """Each way: both replicas, one after the other, come back over that transport."""
    moments = itertools.count()
    return [
        Restart(
            id=f"{number}-{transport}-{replica}",
            process=ProcessName.RELAY,
            only=replica,
            at_s=first_s + next(moments) * BETWEEN_S,
            transport=transport,  # type: ignore[arg-type]
        )
        for number, transport in enumerate(ways)
        for replica in ("relay-1", "relay-2")
    ]


def widened(plan: Plan) -> Plan:
    """With the margin that option A needs, and time for all restarts."""
    relay = over(plan, TransportName.JETSTREAM).relay
    return msgspec.structs.replace(plan, relay=relay, duration_s=max(plan.duration_s, 18.0))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ways", [("jetstream", "cursor"), ("redis", "cursor"), ("jetstream", "redis", "cursor")])
def test_there_and_back_loses_nothing(ways: tuple[str, ...], seed: int) -> None:
    """While both kinds run, agents go from one to the other with the same cursors."""
    plan = widened(plan_with(*switching(*ways), seed=seed))
    assert plan.transports == {"cursor", *ways}
    trial = try_plan(plan)
    assert trial.verdict == "held", trial.reason


@pytest.mark.parametrize("way", ["jetstream", "redis"])
def test_switching_amid_faults_and_sleep_loses_nothing(way: str) -> None:
    """An agent sleeps over the whole of it, a server dies between the two replicas, and one way of a link is cut."""
    faults: list[Any] = [
        *switching(way, "cursor"),
        Kill(id="nats", process=ProcessName.NATS, at_s=3.0, down_s=1.0),
        Cut(id="way", link=Link.RELAY_POSTGRES, direction=Direction.UPSTREAM, at_s=7.2, for_s=1.5),
    ]
    plan = widened(plan_with(*sorted(faults, key=lambda fault: fault.at_s), seed=11))
    sleeper = msgspec.structs.replace(
        plan.agents[0], awake=(Awake(from_s=0.0, until_s=1.5), Awake(from_s=plan.duration_s - 2.0))
    )
    trial = try_plan(msgspec.structs.replace(plan, agents=(sleeper, *plan.agents[1:])))
    assert trial.verdict == "held", trial.reason


def test_what_is_drawn_stays_as_it_is() -> None:
    """No seed switches by itself: what was found with one is found again."""
    assert all(short_plan(seed).transports == {"cursor"} for seed in range(50))
