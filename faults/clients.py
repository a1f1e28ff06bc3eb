"""The clients of a plan's agents: an agent with several connections has several, each with a cursor of its own; pure.

In a history the second client of `ann` is called `ann#2`, which no agent can be called: the judge holds each client to
all that its agent is owed.
"""

from __future__ import annotations

import msgspec

from faults.plan import Agent, Plan
from reports.history import CLIENT_MARK


def clients_of(plan: Plan) -> list[Agent]:
    """Every client, as an agent of the client's name; only an agent's first one acknowledges and crashes.

    An acknowledgement is the agent's: what one client acknowledged would tell another, that has no cursor yet, where
    to begin.
    """
    return [
        agent
        if number == 1
        else msgspec.structs.replace(
            agent, name=f"{agent.name}{CLIENT_MARK}{number}", ack_interval_s=None, start_from="earliest", crashes_s=()
        )
        for agent in plan.agents
        for number in range(1, agent.connections + 1)
    ]
