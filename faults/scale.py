"""A plan made to fit the real stack: its times squeezed, and what is left out of it said. Pure.

A simulated week costs seconds, a real one a week: so every time of a plan can be multiplied by one factor. What is no
time of the plan stays: how many ms a latency adds, how long a handler takes. What a real machine needs stays as well:
leases, timeouts and intervals never shrink below those that the relay is tried with, ages are known no better than a
busy machine knows them, and a fault on a link lasts, where there is room, for as long as a probe needs to prove it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

from faults.plan import Plan, RelayTimes
from faults.playable import NotPlayable, not_playable
from faults.proof import experiment_for
from faults.vocabulary import Fault, LeaderChange, LinkFaultBase, QuorumLoss

DURATION_S_MAX = 120.0
"""What is longer is squeezed to this: nobody waits for more."""
CONVERGE_S_MIN = 45.0
SLACK_S_MIN = 1.0
PROOF_SPARE_S = 0.3
"""What a fault lasts beyond what its proof takes at most."""

TIMES = frozenset({
    "at_s", "for_s", "down_s", "from_s", "until_s", "crashes_s", "ack_interval_s", "token_ttl_s", "critical_s",
    "standard_s", "presence_s", "pages_every_s",
})  # fmt: skip
"""The fields, of whatever part of a plan, that are times of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A plan as the real stack plays it."""

    plan: Plan
    """Wholly playable: both worlds play every fault of it."""
    factor: float
    left_out: tuple[NotPlayable, ...]
    """The faults of the original that are not in it."""

    def shown(self) -> str:
        """One line for people."""
        left = f", without {len(self.left_out)} faults" if self.left_out else ""
        return f"{self.plan.name}: {self.plan.duration_s:g} s (times {self.factor:.4g}){left}"


def fitted(plan: Plan, factor: float | None = None) -> Fitted:
    """The plan with its times multiplied by this factor, or one that suits it, and with what can't be played left out.

    NATS is asked for one server, whatever the plan says. Raises PlanInvalid if the times come to lie too close.
    """
    if factor is None:
        factor = min(1.0, DURATION_S_MAX / plan.duration_s)
    clustered = {fault.id for fault in plan.faults if isinstance(fault, LeaderChange | QuorumLoss)}
    left_out = [one for one in not_playable(plan) if one.fault in clustered]
    alone = msgspec.structs.replace(
        plan,
        servers=msgspec.structs.replace(plan.servers, nats_replicas=1),
        faults=tuple(fault for fault in plan.faults if fault.id not in clustered),
    )
    shown = lengthened(scaled(alone, factor))
    left_out += not_playable(shown)
    names = {one.fault for one in left_out}
    kept = tuple(fault for fault in shown.faults if fault.id not in names)
    return Fitted(plan=msgspec.structs.replace(shown, faults=kept), factor=factor, left_out=tuple(left_out))


def scaled(plan: Plan, factor: float) -> Plan:
    """The plan with every time of it multiplied. Raises PlanInvalid."""
    fields: dict[str, Any] = msgspec.to_builtins(plan)
    relay = fields.pop("relay")
    fields = _times(fields, factor, is_time=False)
    least = msgspec.to_builtins(RelayTimes())
    # an interval is what the relay is tried with at least, or what the plan says if that is quicker still
    fields["relay"] = {
        name: max(_time(value, factor), min(value, least[name])) if name.endswith("_s") else value
        for name, value in relay.items()
    }
    fields["duration_s"] = _time(plan.duration_s, factor)
    fields["late_s"] = _time(plan.late_s, factor)
    fields["slack_s"] = max(SLACK_S_MIN, _time(plan.slack_s, factor))
    fields["converge_within_s"] = max(CONVERGE_S_MIN, _time(plan.converge_within_s, factor))
    return Plan.decode(msgspec.json.encode(fields), source=f"{plan.name} times {factor:g}")


def lengthened(plan: Plan) -> Plan:
    """The plan with faults on links as long as their proof needs, as far as there is room before the next."""
    room_s: dict[str, float] = {}
    ordered = sorted(plan.faults, key=lambda fault: (fault.target, fault.at_s))
    for fault, after in pairwise([*ordered, None]):
        assert fault is not None
        is_same = after is not None and after.target == fault.target
        room_s[fault.id] = after.at_s - 0.2 if after is not None and is_same else plan.duration_s
    return msgspec.structs.replace(plan, faults=tuple(_lengthened(fault, room_s[fault.id]) for fault in plan.faults))


def _lengthened(fault: Fault, until_s: float) -> Fault:
    if not isinstance(fault, LinkFaultBase):
        return fault
    needed_s = experiment_for(fault).wait_s + PROOF_SPARE_S
    if fault.for_s >= needed_s or fault.at_s + needed_s > until_s:
        return fault
    return msgspec.structs.replace(fault, for_s=round(needed_s, 3))


def _times(value: Any, factor: float, *, is_time: bool) -> Any:
    """A part of a plan with the numbers multiplied that stand under the names of times."""
    if isinstance(value, dict):
        return {name: _times(one, factor, is_time=name in TIMES) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_times(one, factor, is_time=is_time) for one in value]
    return _time(value, factor) if is_time and value is not None else value


def _time(value: float, factor: float) -> float:
    """In whole ms, rounded down so that what ended in time still does; what was above 0 stays so."""
    return max(math.floor(value * factor * 1000 + 1e-6) / 1000, 0.001 if value else 0.0)
