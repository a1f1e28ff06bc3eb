"""Plans drawn from a seed, as a swarm: each leaves out some kinds of faults and leans on others.

A fault that is always there hides what only its absence shows (a hand-off that works only because everybody reconnects
all the time), so every kind is off in a good part of the seeds and dominant in some. Sizes are small, so that their
limits are reached: pages of a few rows, a window of a few events, retentions of seconds. Sleeps end near the edges of
retention, where exactness is hard.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import msgspec

from faults.draws import NAMES, TYPES, drawn_limits, drawn_publishers, missed
from faults.generate import hour_of_week
from faults.plan import (
    Agent,
    Awake,
    Pinned,
    Plan,
    RelayTimes,
    Retention,
    Servers,
    Workload,
)
from faults.transports import TransportName, over
from faults.vocabulary import KINDS, PowerLoss, ProcessName
from sim.habits import SLACK_S, with_habits
from sim.swarm_faults import CLUSTER_KINDS, Swarm, drawn_faults, full_disks, length_s, redis_faults, skew_of
from sim.weeks import length_s as weeks_length_s
from sim.weeks import weeks_plan

FIRST_KINDS = tuple(kind for kind in KINDS if kind != "disk_full")
OFF_SHARE = 0.4
CLUSTER_SHARE = 0.3
DOMINANT_SHARE = 0.3
DOMINANT_WEIGHT = 12.0
QUIET_SHARE = 0.03
"""Seeds without any fault: what is broken there needs none."""
FAULTS_MAX = 10
SLOW_SHARE = 0.2
"""Seeds with slow readers of large events and little room between: each drawn for itself, one in a hundred has all."""
HANDLERS_MS = (0, 0, 0, 20, 200, 500)
SLOW_HANDLERS_MS = (20, 200, 500)
WEEKS_EVERY = 40
"""One seed of so many plays weeks."""
EDGE_S = (0.0, 0.05, 0.3, 1.0, 2.5)
"""How far from an edge of retention a sleep ends, either way."""


def drawn(seed: int) -> Swarm:
    """The swarm of a seed."""
    rng = random.Random(f"swarm/{seed}")
    is_cluster = rng.random() < CLUSTER_SHARE
    weights = {kind: 0.0 if is_off(rng) else rng.uniform(0.2, 1.0) for kind in FIRST_KINDS}
    dominant = rng.choice(FIRST_KINDS) if rng.random() < DOMINANT_SHARE else None
    if dominant is not None:
        weights[dominant] = DOMINANT_WEIGHT
        is_cluster = is_cluster or dominant in CLUSTER_KINDS
    if not is_cluster:
        weights |= dict.fromkeys(CLUSTER_KINDS, 0.0)
    faults = 0 if rng.random() < QUIET_SHARE or not any(weights.values()) else rng.randint(1, FAULTS_MAX)
    weights["disk_full"] = _weight_of_full_disks(random.Random(f"swarm-disks/{seed}"), dominant)
    return Swarm(seed=seed, weights=weights, dominant=dominant, faults=faults, is_cluster=is_cluster)


def _weight_of_full_disks(rng: random.Random, dominant: str | None) -> float:
    """Drawn apart from the kinds that there were before it, so that no seed's other faults changed with it."""
    if is_off(rng):
        return 0.0
    return DOMINANT_WEIGHT if dominant is None and rng.random() < DOMINANT_SHARE / 8 else rng.uniform(0.2, 1.0)


def is_off(rng: random.Random) -> bool:
    """Whether a kind of fault is left out of a seed."""
    return rng.random() < OFF_SHARE


def swarm_plan(seed: int) -> Plan:
    """The plan of a seed: one of forty is of weeks, with the real retention, the others of half a minute."""
    return weeks_plan(seed, drawn(seed)) if _plays_weeks(seed) else short_plan(seed)


def _plays_weeks(seed: int) -> bool:
    return seed % WEEKS_EVERY == WEEKS_EVERY - 1


def short_plan(seed: int) -> Plan:
    """Half a minute of a few agents, some tens of events, and the faults that the seed's swarm drew."""
    rng = random.Random(f"swarm-plan/{seed}")
    duration_s = rng.choice((18.0, 24.0, 32.0))
    retention = _retention(rng)
    swarm = drawn(seed)
    faults = drawn_faults(rng, swarm, duration_s, length_s)
    faults += full_disks(random.Random(f"disks/{seed}"), swarm, faults, duration_s)
    is_slow = rng.random() < SLOW_SHARE
    agents, pinned = _agents(rng, retention, duration_s, handlers_ms=SLOW_HANDLERS_MS if is_slow else HANDLERS_MS)
    limits = drawn_limits(rng)
    if is_slow:
        limits = msgspec.structs.replace(limits, hub_window_events=rng.choice((1, 5)), slow_client_bytes=1_024)
    plan = Plan(
        name=f"swarm-{seed}",
        seed=seed,
        duration_s=duration_s,
        converge_within_s=90.0,
        retention=retention,
        slack_s=SLACK_S + sum(abs(skew_of(fault)) for fault in faults if fault.target == ProcessName.POSTGRES),
        servers=Servers(nats_replicas=3 if swarm.is_cluster else 1),
        relay=_times(rng),
        limits=limits,
        workload=Workload(
            events=rng.randint(20, 150),
            shape=hour_of_week() if rng.random() < 0.3 else (1, *(rng.randint(0, 9) for _ in range(8))),
            publishers=drawn_publishers(rng),
            types=TYPES,
            broadcast_share=rng.choice((0.05, 0.3)),
            repeat_share=rng.choice((0.0, 0.2)),
            data_bytes_max=16_000 if is_slow else rng.choice((50, 400, 4_000, 16_000)),
            pinned=tuple(pinned),
        ),
        agents=tuple(agents),
        faults=tuple(faults),
    )
    return with_habits(plan)


def unsynced_plan(seed: int) -> Plan:
    """The plan of a seed with NATS as it ships, which syncs at intervals, and a power loss that takes its tail.

    No relay holds G8 under it, nor what follows: acknowledged events are gone, their places given out again. But
    a new epoch begins, and whoever comes back with a cursor of the former is told.
    """
    plan = short_plan(seed)
    rng = random.Random(f"unsynced/{seed}")
    at_s = round(rng.uniform(0.3, 0.7) * plan.duration_s, 3)
    loss = PowerLoss(id="unsynced-tail", process=ProcessName.NATS, at_s=at_s, down_s=1.0)
    return msgspec.structs.replace(
        plan,
        name=f"unsynced-{seed}",
        servers=Servers(nats_sync="interval"),
        faults=(loss, *(fault for fault in plan.faults if fault.kind not in CLUSTER_KINDS and fault.target != "nats")),
    )


def redis_plan(seed: int) -> Plan:
    """The plan of a seed under the transport redis: what it has without, and faults on Redis beside them."""
    return msgspec.structs.replace(_with_redis_faults(short_plan(seed), length_s), name=f"redis-{seed}")


def _with_redis_faults(plan: Plan, length: Callable[[random.Random, str], float]) -> Plan:
    """A swarm's plan over Redis, with faults on that beside the others, which stay as they are."""
    rng = random.Random(f"redis-faults/{plan.seed}")
    more = redis_faults(rng, drawn(plan.seed), plan.duration_s, length)
    return msgspec.structs.replace(
        over(plan, TransportName.REDIS),
        slack_s=plan.slack_s + sum(abs(skew_of(fault)) for fault in more),
        faults=(*plan.faults, *more),
    )


def swarm_plan_over(seed: int, transport: TransportName | None) -> Plan:
    """What a seed plays over a transport: the same workload and faults, and with Redis faults on that beside them."""
    if transport is not TransportName.REDIS:
        return over(swarm_plan(seed), transport)
    return _with_redis_faults(swarm_plan(seed), weeks_length_s) if _plays_weeks(seed) else redis_plan(seed)


def family_plan_over(family: str, seed: int, transport: TransportName) -> Plan:
    """What a seed of a family plays over a transport, with Redis faults where that is Redis."""
    if transport is TransportName.REDIS and family == "swarm":
        return redis_plan(seed)
    return over(PLANS[family](seed), transport)


PLANS: dict[str, Callable[[int], Plan]] = {
    "swarm": short_plan,
    "jetstream": lambda seed: over(short_plan(seed), TransportName.JETSTREAM),
    "unsynced": unsynced_plan,
    "redis": redis_plan,
    "weeks": lambda seed: weeks_plan(seed, drawn(seed)),
}
"""Families of plans by name."""


def _retention(rng: random.Random) -> Retention:
    """Long enough for everything, or so short that sleeps outlast it."""
    if rng.random() < 0.35:
        return Retention(critical_s=600.0, standard_s=300.0)
    standard_s = round(rng.uniform(2.0, 6.0), 2)
    return Retention(critical_s=round(standard_s * rng.uniform(1.2, 3.0), 2), standard_s=standard_s)


def _times(rng: random.Random) -> RelayTimes:
    retry_min_ms = rng.choice((50, 200))
    return RelayTimes(
        sweep_interval_s=rng.choice((0.5, 1.0, 3.0)),
        heartbeat_s=rng.choice((1.0, 2.0)),
        bookmark_s=rng.choice((0.5, 1.0, 3.0)),
        redispatch_after_s=rng.choice((3.0, 8.0, 60.0)),
        retry_min_ms=retry_min_ms,
        retry_max_ms=retry_min_ms * 4,
        drain_deadline_s=rng.choice((1.0, 3.0)),
        lease_s=rng.choice((1.0, 2.0, 4.0)),
        dedupe_window_s=rng.choice((1.0, 120.0)),
        tail_poll_s=rng.choice((0.3, 1.0)),
        ready_after_silence_s=rng.choice((2.0, 4.0)),
        idle_check_s=rng.choice((0.5, 1.0, 5.0)),
    )


def _agents(
    rng: random.Random, retention: Retention, duration_s: float, *, handlers_ms: Sequence[int]
) -> tuple[list[Agent], list[Pinned]]:
    agents: list[Agent] = []
    pinned: list[Pinned] = []
    for name in NAMES[: rng.randint(2, len(NAMES))]:
        awake = list(_awake(rng, retention, duration_s)) if rng.random() < 0.6 else [(0.0, duration_s)]
        for (_, asleep_s), (wakes_s, _) in pairwise(awake):
            pinned += missed(rng, name, (asleep_s, wakes_s), retention, edges_s=EDGE_S, after_s=0.05)
        crashes = sorted(
            round(rng.uniform(begin, end - 0.1), 3) for begin, end in awake if end - begin > 1 and rng.random() < 0.3
        )
        agents.append(
            Agent(
                name=name,
                awake=tuple(Awake(from_s=a, until_s=None if b >= duration_s else b) for a, b in awake),
                crashes_s=tuple(crashes),
                handler_ms=rng.choice(handlers_ms),
                ack_interval_s=rng.choice((None, 0.5, 2.0)),
                start_from=rng.choice((None, "earliest", "acked")),
                token_ttl_s=rng.choice((5.0, 3_600.0, 3_600.0)),
                connections=rng.choice((1, 1, 1, 1, 2)),
            )
        )
    return agents, sorted(pinned, key=lambda pin: (pin.at_s, pin.agent, pin.type))


def _awake(rng: random.Random, retention: Retention, duration_s: float) -> Iterator[tuple[float, float]]:
    """Times awake, with sleeps between them that end near the edges of retention where they can."""
    at_s = 0.0
    for _ in range(rng.randint(1, 6)):
        asleep_s = round(at_s + rng.uniform(0.5, 6.0), 3)
        edge_s = rng.choice((retention.standard_s, retention.critical_s, 1.0))
        wakes_s = round(asleep_s + max(0.2, edge_s + rng.choice(EDGE_S) * rng.choice((-1, 1))), 3)
        if wakes_s > duration_s - 1.0:
            break
        yield at_s, asleep_s
        at_s = wakes_s
    yield at_s, duration_s
