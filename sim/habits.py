"""What people do in a few seeds only: each habit is drawn from a stream of its own, so that no other seed changes."""

from __future__ import annotations

import random

import msgspec

from faults.plan import Agent, Plan, Retention
from reports.checkers.reminders import BESIDE

FORGETFUL_SHARE = 0.15
"""Seeds in which an agent loses its stored cursor."""
FORGETFUL_CRASHES_MAX = 3
SLACK_S = 0.5
"""What ages may be off where no clock of Postgres is touched."""
CHOOSY_SHARE = 0.1
"""Seeds in which an agent asks for some types only."""
UNANSWERED_SHARE = 0.08
"""Seeds in which nothing stands between an agent that acknowledges nothing and what it has to be reminded of."""
PAGING_SHARE = 0.12
"""Seeds in which an agent has no stream, and asks for pages."""
PAGES_EVERY_S = (0.2, 0.5, 1.0)
EXTENDED_SHARE = 0.1
"""Seeds in which some events have every attribute that they may have."""
EXTENDED_EVENTS = 0.3
ACK_INTERVALS_S = (0.3, 0.5, 2.0)
"""Behind what it has handled by so much is what an agent has acknowledged: that is what it may see again."""


def with_habits(plan: Plan) -> Plan:
    """The plan of a seed with what its people are given to, beside what it has already."""
    return _extended(_paging(_choosy(_unanswered(_forgetful(plan)))))


def _forgetful(plan: Plan) -> Plan:
    """One agent loses its cursor with each of its crashes, and comes back by what it acknowledged."""
    rng = random.Random(f"forgetful/{plan.seed}")
    if rng.random() >= FORGETFUL_SHARE:
        return plan
    one = rng.choice(plan.agents)
    crashes = {*one.crashes_s, *(_while_awake(rng, one, plan.duration_s) for _ in range(FORGETFUL_CRASHES_MAX))}
    forgets = msgspec.structs.replace(
        one,
        forgets=True,
        crashes_s=tuple(sorted(crashes)),
        start_from=rng.choice((None, "acked")),
        ack_interval_s=rng.choice(ACK_INTERVALS_S),
    )
    return msgspec.structs.replace(plan, agents=tuple(forgets if agent is one else agent for agent in plan.agents))


def _unanswered(plan: Plan) -> Plan:
    """One agent acknowledges nothing, and nothing keeps the relay from reminding it: drawn together, for each is rare.

    What is left of the faults hits people and their links only.
    """
    rng = random.Random(f"unanswered/{plan.seed}")
    others = [agent for agent in plan.agents if not agent.forgets]
    if rng.random() >= UNANSWERED_SHARE or not others:
        return plan
    one = rng.choice(others)
    silent = msgspec.structs.replace(one, ack_interval_s=None)
    faults = tuple(fault for fault in plan.faults if fault.target in BESIDE)
    return msgspec.structs.replace(
        plan,
        agents=tuple(silent if agent is one else agent for agent in plan.agents),
        faults=faults,
        slack_s=SLACK_S,
        retention=Retention(critical_s=600.0, standard_s=plan.retention.standard_s),
        relay=msgspec.structs.replace(plan.relay, redispatch_after_s=rng.choice((1.0, 3.0))),
        limits=msgspec.structs.replace(plan.limits, redispatch_max=rng.choice((1, 3))),
    )


def _choosy(plan: Plan) -> Plan:
    """One agent asks for two of the types only: what else is addressed to it goes past it, and moves its place."""
    rng = random.Random(f"choosy/{plan.seed}")
    if rng.random() >= CHOOSY_SHARE:
        return plan
    one = rng.choice(plan.agents)
    types = rng.sample([kind.type for kind in plan.workload.types], 2)
    choosy = msgspec.structs.replace(one, types=tuple(types))
    return msgspec.structs.replace(plan, agents=tuple(choosy if agent is one else agent for agent in plan.agents))


def _paging(plan: Plan) -> Plan:
    """One agent reads pages of JSON, acknowledges nothing, and makes up a cursor now and then."""
    rng = random.Random(f"paging/{plan.seed}")
    others = [agent for agent in plan.agents if not agent.forgets]
    if rng.random() >= PAGING_SHARE or not others:
        return plan
    one = rng.choice(others)
    paging = msgspec.structs.replace(
        one,
        pages_every_s=rng.choice(PAGES_EVERY_S),
        ack_interval_s=None,
        start_from=rng.choice((None, "earliest")),
    )
    return msgspec.structs.replace(plan, agents=tuple(paging if agent is one else agent for agent in plan.agents))


def _extended(plan: Plan) -> Plan:
    """Publishers that say more of an event than they must, in other words than the relay's own."""
    if random.Random(f"extended/{plan.seed}/habit").random() >= EXTENDED_SHARE:
        return plan
    return msgspec.structs.replace(
        plan, workload=msgspec.structs.replace(plan.workload, extended_share=EXTENDED_EVENTS)
    )


def _while_awake(rng: random.Random, agent: Agent, duration_s: float) -> float:
    """A moment at which an agent is awake, to the millisecond."""
    awake = rng.choice(agent.awake)
    until_s = duration_s if awake.until_s is None else awake.until_s
    return round(awake.from_s + rng.uniform(0.1, 0.9) * (until_s - awake.from_s), 3)
