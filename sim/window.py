"""The ADR's window: 21 days of production, with its events, agents and settings, and nothing that fails."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from faults.generate import TYPES, hour_of_week
from faults.plan import Agent, Awake, Plan, Publisher, RelayTimes, Retention, Workload

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


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """How many agents there are, and how they work and sleep; by default as in the ADR's window."""

    agents: int = AGENTS
    shift_hours: int = SHIFT_HOURS
    """A spell of work lies in each shift."""
    spell_hours: tuple[float, float] = SPELL_HOURS
    sleep_s: float | None = None
    """How long `sleepers` sleep between two spells; None: nobody does, all work in shifts."""
    sleepers: int = 0
    """The first so many agents."""


def window_plan(*, seed: int = 1, days: float = DAYS, people: People | None = None) -> Plan:
    """The window of a seed, or its first days: events in the rhythm of a real week, at the window's rate."""
    people = people or People()
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
                awake=_awake(random.Random(f"{seed}/agent-{number:02d}"), days, number, people),
            )
            for number in range(1, people.agents + 1)
        ),
        faults=(),
    )


def _awake(rng: random.Random, days: float, number: int, people: People) -> tuple[Awake, ...]:
    if people.sleep_s is not None and number <= people.sleepers:
        return _sleeps(rng, days, people.sleep_s, people.spell_hours)
    return _shifts(rng, days, people.shift_hours, people.spell_hours)


def _shifts(rng: random.Random, days: float, shift_hours: int, spell_hours: tuple[float, float]) -> tuple[Awake, ...]:
    """When one agent works: a spell in each shift, at an hour drawn by the week's rhythm; between them it sleeps.

    Two spells of neighbouring shifts are less than two shifts apart: with shifts of eight hours no gap outlasts the
    shorter retention.
    """
    rhythm = hour_of_week()
    spells: list[Awake] = []
    for shift in range(math.ceil(days * 24 / shift_hours)):
        hours = range(shift * shift_hours, (shift + 1) * shift_hours)
        (hour,) = rng.choices(hours, [rhythm[one % len(rhythm)] for one in hours])
        from_s = (hour + rng.random()) * HOUR_S
        until_s = min(from_s + rng.uniform(*spell_hours) * HOUR_S, (shift + 1) * shift_hours * HOUR_S)
        if spells and from_s - (spells[-1].until_s or 0.0) < PAUSE_MIN_S:
            from_s = spells.pop().from_s
        spells.append(Awake(from_s=round(from_s, 3), until_s=round(until_s, 3)))
    last_s = days * DAY_S
    awake = [one for one in spells if one.from_s < last_s]
    # the last one stays, to be caught up in the end
    return *awake[:-1], Awake(from_s=awake[-1].from_s if awake else 0.0)


def _sleeps(rng: random.Random, days: float, sleep_s: float, spell_hours: tuple[float, float]) -> tuple[Awake, ...]:
    """Spells of work with sleeps of one length between them; the first spell is longer, or all would sleep at once.

    The window must have room for a spell, a sleep and the beginning of another spell.
    """
    end_s = days * DAY_S
    room_s = end_s - sleep_s - spell_hours[1] * HOUR_S
    extra_s = rng.uniform(0.0, max(0.0, min(sleep_s, room_s)))
    awake: list[Awake] = []
    from_s = 0.0
    while True:
        until_s = from_s + extra_s + rng.uniform(*spell_hours) * HOUR_S
        if until_s + sleep_s >= end_s:
            return *awake, Awake(from_s=round(from_s, 3))
        awake.append(Awake(from_s=round(from_s, 3), until_s=round(until_s, 3)))
        from_s, extra_s = until_s + sleep_s, 0.0
