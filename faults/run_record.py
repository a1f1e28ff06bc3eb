"""What a run's history says of the run itself: first what was asked of it, last what it alone has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from faults.clients import clients_of
from faults.plan import Agent, Plan
from faults.playable import NotPlayable
from faults.recorder import Recorder
from faults.vocabulary import ClockSkew, Pause, ProcessName
from reports import history
from reports.history import owner_of
from system.event import CRITICAL_TYPES

REMINDED_LATE_S = 5.0
"""For what a look has to do: a hundred copies over an ocean, each marked by a statement of its own."""


def note_run(
    recorder: Recorder,
    plan: Plan,
    *,
    world: Literal["sim", "real"],
    started_at: str,
    command: Sequence[str],
    versions: Mapping[str, str] | None = None,
) -> None:
    """Write it; `command` repeats the run, `versions` say what took part."""
    recorder.record(
        history.Run,
        plan=plan.name,
        seed=plan.seed,
        world=world,
        retention_ns=history.ByClass(critical=_ns(plan.retention.critical_s), standard=_ns(plan.retention.standard_s)),
        critical_types=tuple(sorted(CRITICAL_TYPES)),
        slack_ns=_ns(plan.slack_s),
        started_at=started_at,
        versions=dict(versions or {}),
        converge_bound_ns=_ns(plan.converge_within_s),
        dedupe_window_ns=0 if _is_nats_skewed(plan) else _ns(plan.relay.dedupe_window_s),
        command=tuple(command),
        tells_handled=True,
        token_slack_ns=_ns(plan.slack_s + _relays_late_by_s(plan)),
        reminders=_reminders(plan) if world == "sim" else None,
    )


def note_end(
    recorder: Recorder,
    *,
    relay_exits: int,
    client_failures: Sequence[str],
    untimely: Sequence[str],
    left_out: Sequence[NotPlayable],
    played: int,
) -> None:
    """Write what no other record says; a plan of whose faults none was played proves nothing of them."""
    times = f" {relay_exits} times" if relay_exits > 1 else ""
    broken = [f"the relay ended by itself{times}"] if relay_exits else []
    broken += [f"a client gave up: {failure}" for failure in client_failures]
    none_played = [f"none of the plan's {len(left_out)} faults could be played"] if left_out and not played else []
    recorder.record(
        history.Witness,
        broken=tuple(broken),
        useless=(*untimely, *none_played),
        left_out=tuple(f"{one.fault} ({one.kind}): {one.reason}" for one in left_out),
    )


def _reminders(plan: Plan) -> history.Reminders | None:
    """When a copy must be there; None where agents may be given an assignment before it is stored, or never again.

    The redispatcher looks every quarter of the limit, but not more often than twice a second, and a fifth later by
    jitter. After a fault a leader may have to be found first, and dead connections to be noticed.
    """
    times = plan.relay
    if plan.transports != {"cursor"} or plan.limits.redispatch_max == 0:
        return None
    look_s = 1.2 * max(0.5, min(times.redispatch_after_s / 4, 600.0))
    settle_s = 4 * times.lease_s + 2 * times.idle_check_s + times.database_timeout_s + times.publish_timeout_s
    return history.Reminders(
        after_ns=_ns(times.redispatch_after_s),
        within_ns=_ns(times.redispatch_after_s + look_s + REMINDED_LATE_S),
        settle_ns=_ns(settle_s),
        silent=tuple(client.name for client in clients_of(plan) if _is_silent(client, plan)),
    )


def _is_silent(client: Agent, plan: Plan) -> bool:
    """Whether neither a client nor another of its agent acknowledges anything."""
    return all(one.ack_interval_s is None for one in plan.agents if one.name == owner_of(client.name))


def _is_nats_skewed(plan: Plan) -> bool:
    """Whether NATS's memory of ids, which goes by its wall clock, may be of any length."""
    return any(isinstance(one, ClockSkew) and one.process is ProcessName.NATS for one in plan.faults)


def _relays_late_by_s(plan: Plan) -> float:
    """By how much a relay may be late to notice a moment of the true time: its clock is put back, or it sleeps."""
    of_relays = [one for one in plan.faults if isinstance(one, ClockSkew | Pause) and one.process is ProcessName.RELAY]
    put_back_s = [max(0, -one.skew_ms) / 1000 for one in of_relays if isinstance(one, ClockSkew)]
    return sum(put_back_s) + sum(one.for_s for one in of_relays if isinstance(one, Pause))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
