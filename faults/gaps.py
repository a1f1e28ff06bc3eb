"""The reconnect gaps that a plan gives its agents, and what each must lead to. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from itertools import pairwise

from faults.plan import Plan, Retention


class GapKind(enum.StrEnum):
    """What an agent finds when it comes back, if events of both classes went to it right after it left."""

    FULL = "full"
    """Everything is there: full replay."""
    PARTIAL = "partial"
    """Only standard events are gone: `relay.gap`."""
    GONE = "gone"
    """Critical events are gone too: 410."""
    UNCLEAR = "unclear"
    """Too near to a limit: either may be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGap:
    """One sleep of one agent."""

    agent: str
    from_s: float
    until_s: float
    kind: GapKind


def kind_of_gap(length_s: float, retention: Retention, margin_s: float) -> GapKind:
    """The kind of a gap of this length, given how far ages may be off."""
    if length_s <= retention.standard_s - margin_s:
        return GapKind.FULL
    if retention.standard_s + margin_s <= length_s <= retention.critical_s - margin_s:
        return GapKind.PARTIAL
    if length_s >= retention.critical_s + margin_s:
        return GapKind.GONE
    return GapKind.UNCLEAR


def planned_gaps(plan: Plan) -> tuple[PlannedGap, ...]:
    """Every sleep between two times awake, in the plan's order."""
    found = []
    for agent in plan.agents:
        for before, after in pairwise(agent.awake):
            assert before.until_s is not None, agent.name
            length_s = round(after.from_s - before.until_s, 6)  # a plan's times are decimals: 32.956 - 7.956 is 25
            kind = kind_of_gap(length_s, plan.retention, plan.slack_s + plan.late_s)
            found.append(PlannedGap(agent=agent.name, from_s=before.until_s, until_s=after.from_s, kind=kind))
    return tuple(found)
