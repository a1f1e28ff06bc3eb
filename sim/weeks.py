"""Plans of weeks at the real retention: a day and seven, long outages, agents that mostly sleep, wakes near the edges.

Short plans squeeze the retention and so play a week in half a minute; what they can't show is what only time does: a
cursor from last week, a stream that has aged out, tokens that ran out a hundred times, timers set for hours. The
relay's own intervals are long here, so that a week costs seconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

from faults.draws import NAMES, TYPES, drawn_limits, drawn_publishers, missed
from faults.generate import hour_of_week
from faults.plan import Agent, Awake, Pinned, Plan, RelayTimes, Retention, Servers, Workload
from faults.vocabulary import ProcessName
from sim.swarm_faults import Swarm, drawn_faults, skew_of

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S
RETENTION = Retention(critical_s=7 * DAY_S, standard_s=DAY_S)
DAYS = (8.0, 8.0, 9.0, 15.0)
EDGE_S = (0.0, 1.0, 5.0, 30.0, 250.0, 400.0, 2 * HOUR_S)
"""How far from an edge of retention a sleep ends, either way: before, within and after a sweep's interval."""
TIMES = RelayTimes(
    sweep_interval_s=300.0,
    heartbeat_s=600.0,
    bookmark_s=60.0,
    redispatch_after_s=6 * HOUR_S,
    retry_min_ms=1_000,
    retry_max_ms=5_000,
    drain_deadline_s=20.0,
    lease_s=600.0,
    dedupe_window_s=120.0,
    publish_timeout_s=5.0,
    database_timeout_s=5.0,
    tail_poll_s=5.0,
    ready_after_silence_s=60.0,
    idle_check_s=300.0,
)
PATIENT_KINDS = ("pause", "latency", "bandwidth", "slicer", "slow_close", "half_open", "clock_skew")
"""Faults under which connections stand: where they fail, everybody dials again every few seconds."""
CONVERGE_S = 2 * HOUR_S
"""Half an hour until a client gives up a silent stream, and what lease and back-off add."""


def weeks_plan(seed: int, swarm: Swarm) -> Plan:
    """Eight to sixteen days of a few agents, some tens of events, and the faults that the swarm drew."""
    rng = random.Random(f"weeks/{seed}")
    duration_s = rng.choice(DAYS) * DAY_S
    faults = drawn_faults(rng, swarm, duration_s, length_s)
    agents, pinned = _agents(rng, duration_s)
    return Plan(
        name=f"weeks-{seed}",
        seed=seed,
        duration_s=duration_s,
        converge_within_s=CONVERGE_S,
        retention=RETENTION,
        slack_s=2.0 + sum(abs(skew_of(fault)) for fault in faults if fault.target == ProcessName.POSTGRES),
        servers=Servers(nats_replicas=3 if swarm.is_cluster else 1),
        relay=TIMES,
        limits=drawn_limits(rng),
        workload=Workload(
            events=rng.randint(30, 120),
            shape=hour_of_week(),
            publishers=drawn_publishers(rng),
            types=TYPES,
            broadcast_share=rng.choice((0.05, 0.3)),
            repeat_share=rng.choice((0.0, 0.2)),
            data_bytes_max=400,
            pinned=tuple(pinned),
        ),
        agents=tuple(agents),
        faults=tuple(faults),
    )


def length_s(rng: random.Random, kind: str) -> float:
    """Seconds, a quarter of an hour, or hours where nobody tries again all the time."""
    if kind == "restart":
        return 0.0
    choices = [rng.uniform(1.0, 60.0), rng.uniform(60.0, 900.0)]
    if kind in PATIENT_KINDS:
        choices.append(rng.uniform(1.0, 30.0) * HOUR_S)
    return round(rng.choice(choices), 3)


def _agents(rng: random.Random, duration_s: float) -> tuple[list[Agent], list[Pinned]]:
    agents: list[Agent] = []
    pinned: list[Pinned] = []
    for name in NAMES[: rng.randint(2, 5)]:
        awake = list(_awake(rng, duration_s))
        for (_, asleep_s), (wakes_s, _) in pairwise(awake):
            pinned += missed(rng, name, (asleep_s, wakes_s), RETENTION, edges_s=EDGE_S, after_s=rng.choice((1.0, 20.0)))
        agents.append(
            Agent(
                name=name,
                awake=tuple(Awake(from_s=a, until_s=None if b >= duration_s else b) for a, b in awake),
                crashes_s=tuple(round(rng.uniform(a, b - 1.0), 3) for a, b in awake if rng.random() < 0.2),
                handler_ms=rng.choice((0, 0, 300)),
                ack_interval_s=rng.choice((None, 5.0, 60.0)),
                start_from=rng.choice((None, "earliest", "acked")),
                token_ttl_s=rng.choice((HOUR_S, DAY_S)),
                connections=rng.choice((1, 1, 2)),
            )
        )
    return agents, sorted(pinned, key=lambda pin: (pin.at_s, pin.agent, pin.type))


def _awake(rng: random.Random, duration_s: float) -> Iterator[tuple[float, float]]:
    """Spells of work; the sleeps between them last minutes, hours, or a retention and a little more or less."""
    at_s = round(rng.uniform(0.0, HOUR_S), 3)
    while True:
        asleep_s = round(at_s + rng.uniform(60.0, 3 * HOUR_S), 3)
        edge_s = rng.choice(
            (RETENTION.standard_s, RETENTION.standard_s, RETENTION.critical_s, rng.uniform(0.1, 12) * HOUR_S)
        )
        wakes_s = round(asleep_s + max(60.0, edge_s + rng.choice(EDGE_S) * rng.choice((-1, 1))), 3)
        if wakes_s > duration_s - 600.0:
            break
        yield at_s, asleep_s
        at_s = wakes_s
    yield at_s, duration_s
