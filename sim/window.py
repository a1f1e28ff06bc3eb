"""The ADR's window: 21 days of production, with its events, agents and settings, and nothing that fails."""

from __future__ import annotations

import json
import math
import random
import resource
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from faults.generate import TYPES, hour_of_week
from faults.plan import Agent, Awake, Plan, Publisher, RelayTimes, Retention, Workload
from reports.verdict import EXIT_CODES
from sim.trial import try_plan

DAYS = 21.0
EVENTS = 13_228
AGENTS = 12
DAY_S = 86_400.0
HOUR_S = 3_600.0
SHIFT_HOURS = 8
SPELL_HOURS = (0.25, 2.5)
"""How long an agent works at a time, from and to."""
PAUSE_MIN_S = 60.0
PRESENCE_S = 60.0
"""Tasks are given to agents at work, and not in their last minute: the ADR counted no stale redispatch."""
PRODUCTION = RelayTimes(
    sweep_interval_s=120.0,
    heartbeat_s=15.0,
    bookmark_s=5.0,
    redispatch_after_s=600.0,
    retry_min_ms=1_000,
    retry_max_ms=5_000,
    drain_deadline_s=20.0,
    lease_s=30.0,
    dedupe_window_s=120.0,
    publish_timeout_s=5.0,
    database_timeout_s=5.0,
    tail_poll_s=0.5,
    ready_after_silence_s=10.0,
    idle_check_s=30.0,
)
"""The relay's defaults; a test holds them to `system/settings.py`."""


def window_plan(*, seed: int = 1, days: float = DAYS) -> Plan:
    """The window of a seed, or its first days: events in the rhythm of a real week, at the window's rate."""
    hours = round(days * 24)
    rhythm = hour_of_week()
    return Plan(
        name=f"window-{days:g}-days",
        seed=seed,
        duration_s=days * DAY_S,
        converge_within_s=120.0,
        retention=Retention(critical_s=7 * DAY_S, standard_s=DAY_S),
        slack_s=20.0,
        relay=PRODUCTION,
        workload=Workload(
            events=round(EVENTS * days / DAYS),
            shape=tuple(rhythm[hour % len(rhythm)] for hour in range(max(1, hours))),
            publishers=(Publisher(name="mesh", via="http"), Publisher(name="bridge", via="nats")),
            types=TYPES,
            presence_s=PRESENCE_S,
        ),
        agents=tuple(
            Agent(
                name=f"agent-{number:02d}",
                start_from="earliest",
                ack_interval_s=5.0,
                awake=_shifts(random.Random(f"{seed}/agent-{number:02d}"), days),
            )
            for number in range(1, AGENTS + 1)
        ),
        faults=(),
    )


def _shifts(rng: random.Random, days: float) -> tuple[Awake, ...]:
    """When one agent works: a spell in each shift, at an hour drawn by the week's rhythm; between them it sleeps.

    Two spells of neighbouring shifts are at most 16 hours apart, so that no gap outlasts the shorter retention.
    """
    rhythm = hour_of_week()
    spells: list[Awake] = []
    for shift in range(math.ceil(days * 24 / SHIFT_HOURS)):
        hours = range(shift * SHIFT_HOURS, (shift + 1) * SHIFT_HOURS)
        (hour,) = rng.choices(hours, [rhythm[one % len(rhythm)] for one in hours])
        from_s = (hour + rng.random()) * HOUR_S
        until_s = min(from_s + rng.uniform(*SPELL_HOURS) * HOUR_S, (shift + 1) * SHIFT_HOURS * HOUR_S)
        if spells and from_s - (spells[-1].until_s or 0.0) < PAUSE_MIN_S:
            from_s = spells.pop().from_s
        spells.append(Awake(from_s=round(from_s, 3), until_s=round(until_s, 3)))
    last_s = days * DAY_S
    awake = [one for one in spells if one.from_s < last_s]
    # the last one stays, to be caught up in the end
    return *awake[:-1], Awake(from_s=awake[-1].from_s if awake else 0.0)


def window_command(
    days: Annotated[float, typer.Option("--days", min=0.01, max=DAYS, help="Only the first days.")] = DAYS,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as one line of JSON.")] = False,
) -> None:
    """Play the ADR's window: 21 days, 13,228 events, 12 agents, production settings, no faults.

    Exit codes: 0 held, 1 violated, 3 not converged, 4 could not run.
    """
    plan = window_plan(seed=seed, days=days)
    began_s = time.monotonic()
    with Console(stderr=True).status(f"simulating {days:g} days …"):
        trial = try_plan(plan)
    document: dict[str, Any] = {
        "verdict": trial.verdict,
        "reason": trial.reason,
        "days": days,
        "events": trial.events,
        "deliveries": trial.deliveries,
        "wall_s": round(time.monotonic() - began_s, 1),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "steps": trial.steps,
        "trace_sha256": trial.trace_sha256,
        **trial.counters,
    }
    if as_json:
        typer.echo(json.dumps(document))
    else:
        for name, value in document.items():
            typer.echo(f"  {name:20} {value}")
    raise typer.Exit({str(verdict): code for verdict, code in EXIT_CODES.items()}.get(trial.verdict, 4))
