"""A plan's timeline: everything in it, in the order of its times; and what reconnect gaps it holds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.gaps import GapKind, kind_of_gap, planned_gaps
from faults.generate import main_plan
from faults.plan import Agent, Awake, Plan, Retention
from faults.schedule import Step, What, agent_steps, timeline
from faults.vocabulary import Kill, ProcessName, Restart
from tests.faults.test_plan import latency, plans, small_plan


@given(plans())
def test_every_fault_begins_and_then_ends(plan: Plan) -> None:
    """Each fault begins once, at its time, and ends once, at its time, never before it has begun."""
    steps = timeline(plan, plan.faults)
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
    for fault in plan.faults:
        own = [(step.what, step.at_s) for step in steps if step.subject == fault.id]
        assert own == [(What.BEGIN, fault.at_s), (What.END, fault.until_s)]


def test_ends_come_before_beginnings() -> None:
    """At one instant what ends is lifted before what begins is played: neighbours on a link don't overlap."""
    steps = timeline(small_plan(), [latency(id="b", at_s=15.0), latency(id="a")])
    assert [(step.what, step.subject) for step in steps if step.at_s == 15.0] == [
        (What.END, "a"),
        (What.BEGIN, "b"),
    ]


def test_a_restart_has_no_end() -> None:
    """What a process does by itself, ending and starting, is not waited for by the timeline."""
    restart = Restart(id="r", process=ProcessName.RELAY, at_s=5.0)
    kill = Kill(id="k", process=ProcessName.NATS, at_s=5.0, down_s=1.0)
    steps = [step for step in timeline(small_plan(), [restart, kill]) if step.subject in "rk"]
    assert steps == [
        Step(at_s=5.0, what=What.BEGIN, subject="k"),
        Step(at_s=5.0, what=What.BEGIN, subject="r"),
        Step(at_s=6.0, what=What.END, subject="k"),
    ]


def test_an_agents_steps() -> None:
    """An agent wakes and sleeps by turns, and crashes in between."""
    agent = Agent(name="a", awake=(Awake(from_s=1.0, until_s=4.0), Awake(from_s=6.0)), crashes_s=(7.0, 2.0))
    assert [(step.at_s, step.what) for step in agent_steps(agent)] == [
        (1.0, What.WAKE),
        (2.0, What.CRASH),
        (4.0, What.SLEEP),
        (6.0, What.WAKE),
        (7.0, What.CRASH),
    ]


@given(st.integers(0, 1_000_000))
def test_the_main_plans_timeline_is_complete(seed: int) -> None:
    """Every wake, sleep, crash and fault of a generated plan is on its timeline, once."""
    plan = main_plan(seed)
    steps = Counter(step.what for step in timeline(plan, plan.faults))
    assert steps[What.BEGIN] == steps[What.END] == len(plan.faults)
    assert steps[What.WAKE] == sum(len(agent.awake) for agent in plan.agents)
    assert steps[What.SLEEP] == steps[What.WAKE] - len(plan.agents)
    assert steps[What.CRASH] == sum(len(agent.crashes_s) for agent in plan.agents)


KEPT = Retention(critical_s=30.0, standard_s=10.0)


@pytest.mark.parametrize(
    ("length_s", "kind"),
    [
        (8.0, GapKind.FULL),
        (8.1, GapKind.UNCLEAR),
        (11.9, GapKind.UNCLEAR),
        (12.0, GapKind.PARTIAL),
        (28.0, GapKind.PARTIAL),
        (28.1, GapKind.UNCLEAR),
        (32.0, GapKind.GONE),
    ],
)
def test_kinds_of_gaps(length_s: float, kind: GapKind) -> None:
    """A gap has a kind only if it is off both limits by the margin; at a limit either answer may be right."""
    assert kind_of_gap(length_s, KEPT, margin_s=2.0) is kind


def test_planned_gaps() -> None:
    """Each sleep between two times awake is a gap; before the first and after the last there is none."""
    agent = Agent(name="a", awake=(Awake(from_s=1.0, until_s=4.0), Awake(from_s=20.0, until_s=25.0)))
    (gap,) = planned_gaps(small_plan(agents=(agent,)))
    assert (gap.agent, gap.from_s, gap.until_s, gap.kind) == ("a", 4.0, 20.0, GapKind.PARTIAL)
