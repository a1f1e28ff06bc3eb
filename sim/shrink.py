"""A failing plan made as small as it can be while it still fails in the same way.

Whole parts go first (faults, agents, publishers), then numbers become smaller and options plain. A step that makes the
plan fail differently, or not at all, is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from faults.check import problems_of
from faults.plan import Agent, Awake, Plan, RelayLimits, Workload
from sim.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """The smallest plan that was found, what it came to, and how many trials that took."""

    plan: Plan
    trial: Trial
    trials: int


def shrink(
    plan: Plan,
    failed: Trial,
    attempt: Callable[[Plan], Trial],
    *,
    trials_max: int = 300,
    told: Callable[[int, Plan], None] = lambda trials, plan: None,
) -> Shrunk:
    """Make a plan smaller for as long as it fails in the class of `failed`, within so many trials.

    After a step that holds it goes on where it is: what was tried before it has just failed, and is tried again only
    when all else has been.
    """
    best, outcome, trials = plan, failed, 0
    place, progress = 0, False
    while trials < trials_max:
        steps = list(_smaller(best))
        if place >= len(steps):
            if not progress:
                break
            place, progress = 0, False
            continue
        smaller = steps[place]
        place += 1
        if problems_of(smaller):
            continue
        trials += 1
        trial = attempt(smaller)
        told(trials, best)
        if trial.failure_class == failed.failure_class and not trial.is_untried:
            best, outcome, progress = smaller, trial, True
            place -= 1  # where the next one stands now
    return Shrunk(plan=best, trial=outcome, trials=trials)


def _with(part: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(part, **changes)


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans that are smaller by one step, the largest steps first."""
    for faults in _fewer(plan.faults):
        yield _with(plan, faults=faults)
    for agents in _fewer(plan.agents, least=1):
        names = {agent.name for agent in agents} | {"_all"}
        pinned = tuple(pin for pin in plan.workload.pinned if pin.agent in names)
        yield _with(plan, agents=agents, workload=_with(plan.workload, pinned=pinned))
    for workload in _smaller_workload(plan.workload):
        yield _with(plan, workload=workload)
    for number, agent in enumerate(plan.agents):
        for plainer in _plainer_agent(agent):
            yield _with(plan, agents=(*plan.agents[:number], plainer, *plan.agents[number + 1 :]))
    for name, value in plan.limits.given().items():
        assert value is not None
        yield _with(plan, limits=_with(plan.limits, **{name: getattr(RelayLimits(), name)}))
    for number, fault in enumerate(plan.faults):
        for field in ("for_s", "down_s"):
            length_s = getattr(fault, field, 0.0)
            if length_s > 0.5:
                shorter = _with(fault, **{field: round(length_s / 2, 3)})
                yield _with(plan, faults=(*plan.faults[:number], shorter, *plan.faults[number + 1 :]))
    if plan.duration_s > 5.0:
        yield _with(plan, duration_s=round(plan.duration_s * 0.7, 3))


def _fewer(parts: tuple[Any, ...], *, least: int = 0) -> Iterator[tuple[Any, ...]]:
    """Without the first half, without the second, then without each."""
    count = len(parts)
    if count > 3 and count // 2 >= least:
        yield parts[count // 2 :]
        yield parts[: count // 2]
    if count > least:
        for number in range(count):
            yield (*parts[:number], *parts[number + 1 :])


def _smaller_workload(work: Workload) -> Iterator[Workload]:
    if work.events:
        yield _with(work, events=0)
        yield _with(work, events=work.events // 2)
        yield _with(work, events=work.events - 1)
    for pinned in _fewer(work.pinned):
        yield _with(work, pinned=pinned)
    for publishers in _fewer(work.publishers, least=1):
        yield _with(work, publishers=publishers)
    for name in ("broadcast_share", "repeat_share", "data_bytes_max"):
        if getattr(work, name):
            yield _with(work, **{name: 0})
    if len(work.shape) > 1:
        yield _with(work, shape=(1,))


def _plainer_agent(agent: Agent) -> Iterator[Agent]:
    for crashes in _fewer(agent.crashes_s):
        yield _with(agent, crashes_s=crashes)
    if agent.awake != (Awake(from_s=0.0),):
        yield _with(agent, awake=(Awake(from_s=0.0),))
    if agent.connections > 1:
        yield _with(agent, connections=1)
    if agent.handler_ms:
        yield _with(agent, handler_ms=0)
    if agent.token_ttl_s < 3_600:
        yield _with(agent, token_ttl_s=3_600.0)
