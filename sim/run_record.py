"""The first record of a simulated run's history: what was asked of it."""

from __future__ import annotations

from faults.plan import Plan
from faults.recorder import Recorder
from faults.vocabulary import ClockSkew, ProcessName
from reports import history
from sim.clock import EPOCH_NS
from sim.environment import S
from system.event import CRITICAL_TYPES


def note_run(recorder: Recorder, plan: Plan) -> None:
    """Write what the judge must know of a plan."""
    recorder.record(
        history.Run,
        plan=plan.name,
        seed=plan.seed,
        world="sim",
        retention_ns=history.ByClass(
            critical=round(plan.retention.critical_s * S), standard=round(plan.retention.standard_s * S)
        ),
        critical_types=tuple(sorted(CRITICAL_TYPES)),
        slack_ns=round(plan.slack_s * S),
        started_at=f"simulated, from {EPOCH_NS // S} s of the Unix epoch",
        converge_bound_ns=round(plan.converge_within_s * S),
        dedupe_window_ns=0 if _is_nats_skewed(plan) else round(plan.relay.dedupe_window_s * S),
        command=("meshrelay", "sim", "replay", f"{plan.name}.json"),
    )


def _is_nats_skewed(plan: Plan) -> bool:
    """Whether NATS's memory of ids, which goes by its wall clock, may be of any length."""
    return any(isinstance(one, ClockSkew) and one.process is ProcessName.NATS for one in plan.faults)
