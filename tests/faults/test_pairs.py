"""The pairs of kinds and targets are those that a plan may have, and no others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from faults.check import problems_of
from faults.generate import main_plan
from faults.pairs import pairs_of
from faults.plan import Plan, Servers
from faults.transports import TransportName, over
from faults.vocabulary import KINDS, Fault, Link, ProcessName

MEASURES: dict[str, dict[str, Any]] = {
    "latency": {"latency_ms": 100},
    "bandwidth": {"rate_kb_s": 10},
    "timeout": {"timeout_ms": 0},
    "slicer": {"average_size_bytes": 10, "delay_us": 1_000},
    "slow_close": {"delay_ms": 100},
    "limit_data": {"limit_bytes": 100},
    "clock_skew": {"skew_ms": 100},
    "restart": {"for_s": None},
}


def is_allowed(plan: Plan, kind: str, target: Link | ProcessName) -> bool:
    """Whether a plan may have this kind of fault on this target, whatever its measures."""
    where = {"link" if isinstance(target, Link) else "process": target.value}
    for length in ({"for_s": 1.0}, {"down_s": 1.0}, {}):
        fields = {"kind": kind, "id": "one", "at_s": 1.0, **where, **length, **MEASURES.get(kind, {})}
        try:
            fault: Fault = msgspec.convert({k: v for k, v in fields.items() if v is not None}, Fault)
        except msgspec.ValidationError:
            continue
        return not problems_of(msgspec.structs.replace(plan, faults=(fault,)))
    return False


@pytest.mark.parametrize("transport", list(TransportName))
def test_what_a_plan_may_have(transport: TransportName) -> None:
    """Every pair can be in a plan, none twice; every other kind and target can not."""
    plan = msgspec.structs.replace(over(main_plan(1), transport), servers=Servers(nats_replicas=3))
    every = [(kind, target) for kind in KINDS for target in (*Link, *ProcessName)]
    allowed = [(kind, target.value) for kind, target in every if is_allowed(plan, kind, target)]
    assert sorted(pairs_of(transport.value)) == sorted(allowed)
    assert {kind for kind, _ in allowed} == set(KINDS)
