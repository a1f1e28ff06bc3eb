"""Whom a fault on a process hits, where there are several of its kind; pure, and the same in both worlds."""

from __future__ import annotations

import random
from collections.abc import Sequence

from faults.clients import clients_of
from faults.plan import Plan
from faults.vocabulary import REPLICAS, ProcessFaultBase, ProcessName
from reports.history import owner_of


def victim_of(plan: Plan, fault: ProcessFaultBase, names: Sequence[str] | None = None) -> str:
    """The name of the process that a fault hits: the one it names, else drawn by the plan's seed and the fault's id.

    `names` are those to choose from, by default the plan's.
    """
    if fault.only is not None:
        return fault.only
    return random.Random(f"{plan.seed}/{fault.id}").choice(list(names or processes(plan, fault.process)))


def processes(plan: Plan, process: ProcessName) -> list[str]:
    """The names of a plan's processes of a kind; of an agent with several clients, the first stands for it."""
    match process:
        case ProcessName.RELAY:
            return list(REPLICAS)
        case ProcessName.AGENT:
            return [client.name for client in clients_of(plan) if owner_of(client.name) == client.name]
        case ProcessName.PUBLISHER:
            return [publisher.name for publisher in plan.workload.publishers]
        case _:
            return [process.value]
