"""The operating envelope in small: every part can be away and is back, and what it costs is told."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

import meshrelay
from faults.plan import Plan
from faults.transports import TransportName
from faults.vocabulary import REPLICAS
from reports.review.evidence import Outage
from sim.review.envelope import (
    LENGTHS_S,
    PARTS,
    lengths_s,
    measure_outage,
    outage_plan,
    outage_plans,
    parts_over,
    shown_s,
)

pytestmark = pytest.mark.report


def measured(what: str, length_s: float, transport: TransportName = TransportName.CURSOR) -> Outage:
    """One outage."""
    return measure_outage(outage_plan(what, length_s, transport=transport).encode(), what, length_s)


def invoked(*arguments: str) -> tuple[int, str]:
    """What the command exits with and says."""
    result = CliRunner().invoke(meshrelay.command(["sim"]), ["sim", "outage", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("transport", list(TransportName))
def test_every_part_is_away_for_every_length(transport: TransportName) -> None:
    """Each plan can be read from its file; Redis is a part only where it is there; the quick form is a part."""
    plans = {(what, length_s): plan for what, length_s, plan in outage_plans(transport)}
    assert list(plans) == [(what, length_s) for what in parts_over(transport) for length_s in LENGTHS_S]
    quick = [one[:2] for one in outage_plans(transport, quick=True)]
    assert quick == [(what, length_s) for what in parts_over(transport) for length_s in lengths_s(what, quick=True)]
    assert set(quick) < set(plans)
    assert ("redis" in parts_over(transport)) == (transport is TransportName.REDIS)
    for (_, length_s), plan in plans.items():
        assert Plan.decode(plan.encode()) == plan
        assert plan.transport == transport.value
        assert plan.faults
        assert all(fault.until_s - fault.at_s == length_s for fault in plan.faults)


def test_all_replicas_may_be_away_at_once() -> None:
    """`relay` is every replica; two faults on one kind of process can be told apart if each names another one."""
    plan = outage_plan("relay", 60.0)
    assert [getattr(fault, "only", None) for fault in plan.faults] == list(REPLICAS)
    outage = measured("relay", 60.0)
    assert outage.verdict == "held"
    assert outage.refused > 0
    assert outage.caught_up_s is not None
    assert outage.caught_up_s > 0


@pytest.mark.parametrize(
    ("what", "transport"),
    [("nats", TransportName.JETSTREAM), ("postgres", TransportName.CURSOR), ("redis", TransportName.REDIS)],
)
def test_a_minute_without_a_server_breaks_nothing(what: str, transport: TransportName) -> None:
    """Publishers are refused only where the stream is away; everybody is caught up soon after it is back."""
    outage = measured(what, 60.0, transport)
    assert (outage.verdict, outage.violated, outage.lost) == ("held", (), 0)
    assert (outage.refused > 0) == (what == "nats")
    assert outage.caught_up_s is not None
    assert outage.caught_up_s < 30


def test_who_is_away_beyond_a_retention_is_told() -> None:
    """An agent that is away for 26 hours is told of standard events, not of critical ones."""
    outage = measured("agent", 26 * 3_600.0)
    assert (outage.verdict, outage.lost, outage.told_critical) == ("held", 0, 0)
    assert outage.told_standard > 0


def test_the_command_plays_an_outage_again() -> None:
    """What an outage's command prints is that outage."""
    outage = measured("relay-1", 60.0)
    words = outage.command.split()
    assert words[:3] == ["meshrelay", "sim", "outage"]
    code, output = invoked(*words[3:], "--json")
    assert code == 0, output
    assert json.loads(output.splitlines()[-1]) == json.loads(msgspec.json.encode(outage))
    code, output = invoked("--what", "publisher", "--for", "1m")
    assert code == 0
    assert "caught_up_s" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--what", "redis", "--for", "1m"), "expected one of nats, postgres, relay"),
        (("--what", "moon", "--for", "1m", "--transport", "redis"), "relay-redis, agent-relay over redis, got 'moon'"),
        (("--what", "nats", "--for", "3 hours"), "expected a number with s, m, h or d"),
        (("--what", "nats", "--for", "0s"), "got '0s'"),
        (("--what", "nats", "--for", "400d"), "to 116d"),
        (("--what", "nats", "--for", "1m", "--bug", "none-such"), "--bug: expected one of"),
    ],
)
def test_what_can_not_be_is_refused(arguments: tuple[str, ...], said: str) -> None:
    """With what was expected and what came."""
    code, output = invoked(*arguments)
    assert code == 2
    assert said in output


def test_lengths_are_shown_as_they_are_asked_for() -> None:
    """In the largest unit that divides them."""
    assert [shown_s(one) for one in LENGTHS_S] == ["1m", "15m", "3h", "1d", "3d", "9d"]
    assert shown_s(90.0) == "90s"
    assert shown_s(0.5) == "0.5s"
    assert all(part.how for part in PARTS.values())
