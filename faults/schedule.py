"""A plan as a list of steps in time: what begins, ends, wakes, sleeps and crashes, and when. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from faults.plan import Agent, Plan
from faults.vocabulary import Fault


class What(enum.IntEnum):
    """What a step does; at one instant, ends come before beginnings, in this order."""

    END = 1
    """A fault is lifted."""
    SLEEP = 2
    CRASH = 3
    WAKE = 4
    BEGIN = 5
    """A fault is played."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Step:
    """One thing to do."""

    at_s: float
    what: What
    subject: str
    """A fault's id, or an agent's name."""


def timeline(plan: Plan, faults: Sequence[Fault]) -> list[Step]:
    """The plan's agents and these of its faults, as steps in the order in which they are to be taken."""
    steps = [step for agent in plan.agents for step in agent_steps(agent)]
    for fault in faults:
        steps.append(Step(at_s=fault.at_s, what=What.BEGIN, subject=fault.id))
        if fault.until_s > fault.at_s:
            steps.append(Step(at_s=fault.until_s, what=What.END, subject=fault.id))
    return sorted(steps)


def agent_steps(agent: Agent) -> list[Step]:
    """When one agent wakes, sleeps and crashes, in order."""
    steps = [Step(at_s=crash_s, what=What.CRASH, subject=agent.name) for crash_s in agent.crashes_s]
    for awake in agent.awake:
        steps.append(Step(at_s=awake.from_s, what=What.WAKE, subject=agent.name))
        if awake.until_s is not None:
            steps.append(Step(at_s=awake.until_s, what=What.SLEEP, subject=agent.name))
    return sorted(steps)
