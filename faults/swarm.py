"""Plans for the real stack, drawn from a seed as a swarm: each leaves out some kinds of faults and leans on others.

A minute of some three thousand events, a dozen agents and about two dozen faults, all of which the real stack can play
and prove. Sleeps end near the edges of retention; sizes are small enough for their limits to be reached. What the
simulator's swarms do with thousands of seeds this does with tens, on real servers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from faults.draws import TYPES, missed
from faults.measures import LINK_KINDS, link_fault
from faults.plan import Agent, Awake, Pinned, Plan, Publisher, RelayLimits, RelayTimes, Retention, Workload
from faults.playable import not_playable
from faults.transports import TransportName, over
from faults.vocabulary import LINKS, REPLICAS, Direction, DiskFull, Fault, Kill, Link, Pause, ProcessName, Restart

DURATION_S = 60.0
FAULTS_MS = (2_000, 58_000)
"""When faults may be on: everybody begins, and the last are lifted, in peace."""
FAULTS = (20, 28)
LENGTH_MS = (2_800, 6_000)
"""How long a fault on a link lasts; the shortest is as long as the slowest proof."""
DOWN_MS = (200, 3_000)
PAUSE_MS = (500, 6_000)
"""Beyond the lease in most plans: a leader that wakes as a zombie."""
FULL_MS = (500, 5_000)
LINK_REST_MS = 1_200
PROCESS_REST_MS = 3_000
"""Between two faults on one target: it is proved that the first is over."""
TRIES_MAX = 60
"""Places tried for a fault, before the plan goes without it."""

OFF_SHARE = 0.25
DOMINANT_SHARE = 0.4
DOMINANT_WEIGHT = 8.0
ONLY_SHARE = 0.4
"""Faults on a link of the replicas that hit one of them."""

PROCESS_KINDS = ("pause", "kill", "restart", "disk_full")
PLAYED = (*LINK_KINDS, *PROCESS_KINDS)
"""The kinds that are drawn, where no others are asked for."""
REDIS_FAULTS = (6, 9)
"""On Redis and the way to it, beside the others, where the transport is redis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What faults are played on."""

    links: Sequence[Link]
    processes: Sequence[ProcessName]
    """By how often each is taken."""
    stores: Sequence[ProcessName]
    """Whose disk can be full."""


EVERYWHERE = Reach(
    links=LINKS,
    processes=(ProcessName.RELAY,) * 3
    + (ProcessName.NATS,) * 2
    + (ProcessName.POSTGRES,) * 2
    + (ProcessName.AGENT,) * 2,
    stores=(ProcessName.NATS, ProcessName.POSTGRES),
)
ON_REDIS = Reach(links=(Link.RELAY_REDIS,), processes=(ProcessName.REDIS,), stores=(ProcessName.REDIS,))

EVENTS = (2_600, 3_400)
AGENTS = 12
STEADY = 3
EDGE_S = (0.0, 0.3, 1.0, 2.5)
"""How far from an edge of retention a sleep ends, either way."""
PUBLISHERS = tuple(
    Publisher(name=f"{via}-{number}", via=via, batch_max=batch)  # type: ignore[arg-type]
    for via, number, batch in (("http", 1, 20), ("http", 2, 10), ("nats", 1, 20), ("nats", 2, 10))
)


class KindsInvalid(ValueError):
    """Text that names kinds of faults which are not drawn here."""


def kinds_of(text: str | None) -> tuple[str, ...]:
    """The kinds that a text like `kill,cut` names, in the vocabulary's order; None: all. Raises KindsInvalid."""
    if text is None:
        return PLAYED
    named = {word.strip() for word in text.split(",")}
    if not named <= set(PLAYED):
        raise KindsInvalid(f"--kinds: expected some of {','.join(PLAYED)}, got {text!r}")
    return tuple(kind for kind in PLAYED if kind in named)


def chaos_plan(seed: int, kinds: Sequence[str] = PLAYED) -> Plan:
    """The plan of a seed, with faults of these kinds (of PLAYED) alone."""
    rng = random.Random(f"chaos/{seed}")
    retention = _retention(rng)
    agents, pinned = _agents(rng, retention)
    plan = Plan(
        name=chaos_name(seed, kinds),
        seed=seed,
        duration_s=DURATION_S,
        converge_within_s=45.0,
        retention=retention,
        slack_s=1.0,
        relay=_times(rng),
        limits=_limits(rng),
        workload=Workload(
            events=rng.randint(*EVENTS),
            shape=(1, *(rng.randint(0, 9) for _ in range(11))),
            publishers=PUBLISHERS,
            types=TYPES,
            broadcast_share=rng.choice((0.02, 0.1)),
            repeat_share=rng.choice((0.0, 0.05)),
            data_bytes_max=rng.choice((50, 400, 4_000)),
            pinned=tuple(pinned),
        ),
        agents=tuple(agents),
        faults=(),
    )
    return msgspec.structs.replace(plan, faults=tuple(_faults(random.Random(f"chaos-faults/{seed}"), plan, kinds)))


def chaos_plan_over(seed: int, transport: TransportName | None, kinds: Sequence[str] = PLAYED) -> Plan:
    """What a seed plays over a transport: the same workload and faults, and with Redis faults on that beside them."""
    plan = over(chaos_plan(seed, kinds), transport)
    if transport is not TransportName.REDIS:
        return plan
    more = _faults(random.Random(f"chaos-redis-faults/{seed}"), plan, kinds, ON_REDIS, REDIS_FAULTS)
    return msgspec.structs.replace(plan, faults=tuple(sorted((*plan.faults, *more), key=_by_time)))


def chaos_name(seed: int, kinds: Sequence[str]) -> str:
    """What a plan is called."""
    chosen = "" if set(kinds) == set(PLAYED) else "-".join(kinds)[:32] + "-"
    return f"chaos-{chosen}{seed}"


# Faults


def _faults(
    rng: random.Random,
    plan: Plan,
    kinds: Sequence[str],
    reach: Reach = EVERYWHERE,
    numbers: tuple[int, int] = FAULTS,
) -> list[Fault]:
    """As many as drawn, less those that found no place; each can be played and proved beside the plan's and others."""
    weights = _weights(rng, kinds)
    found: list[Fault] = []
    for number in range(1, rng.randint(*numbers) + 1):
        kind = rng.choices(kinds, weights)[0]
        for _ in range(TRIES_MAX):
            fault = _fault(rng, kind, number, reach)
            if _fits(plan, [*plan.faults, *found], fault):
                found.append(fault)
                break
    return sorted(found, key=_by_time)


def _by_time(fault: Fault) -> tuple[float, str]:
    return fault.at_s, fault.id


def _weights(rng: random.Random, kinds: Sequence[str]) -> list[float]:
    weights = [0.0 if rng.random() < OFF_SHARE else rng.uniform(0.3, 1.0) for _ in kinds]
    if rng.random() < DOMINANT_SHARE or not any(weights):
        weights[rng.randrange(len(kinds))] = DOMINANT_WEIGHT
    return weights


def _fault(rng: random.Random, kind: str, number: int, reach: Reach) -> Fault:
    if kind in LINK_KINDS:
        return _on_link(rng, kind, number, reach)
    process = rng.choice(reach.stores if kind == "disk_full" else reach.processes)
    identity = f"{number:02d}-{kind}-{process.value}"
    longest_ms = {"pause": PAUSE_MS, "kill": DOWN_MS, "restart": (0, 0), "disk_full": FULL_MS}[kind]
    for_ms = rng.randint(*longest_ms)
    at_s = rng.randint(FAULTS_MS[0], FAULTS_MS[1] - for_ms) / 1000
    match kind:
        case "pause":
            return Pause(id=identity, process=process, at_s=at_s, for_s=for_ms / 1000)
        case "disk_full":
            return DiskFull(id=identity, process=process, at_s=at_s, for_s=for_ms / 1000)
        case "kill":
            return Kill(id=identity, process=process, at_s=at_s, down_s=for_ms / 1000)
        case _:
            return Restart(id=identity, process=process, at_s=at_s)


def _on_link(rng: random.Random, kind: str, number: int, reach: Reach) -> Fault:
    link = rng.choice(reach.links)
    for_ms = rng.randint(*LENGTH_MS)
    at_ms = rng.randint(FAULTS_MS[0], FAULTS_MS[1] - for_ms)
    direction = Direction.BOTH if kind == "down" else rng.choice(list(Direction))
    only = rng.choice(REPLICAS) if link is not Link.PUBLISHER_NATS and rng.random() < ONLY_SHARE else None
    fault = link_fault(rng, kind, direction, link=link, at_ms=at_ms, for_ms=for_ms)
    return msgspec.structs.replace(fault, id=f"{number:02d}-{kind}-{link.value}", only=only)


def _fits(plan: Plan, found: Sequence[Fault], fault: Fault) -> bool:
    """Whether a fault can be played and proved beside those that are there, and they beside it."""
    rest_s = (PROCESS_REST_MS if fault.target in tuple(ProcessName) else LINK_REST_MS) / 1000
    for other in found:
        is_apart = fault.at_s >= other.until_s + rest_s or other.at_s >= fault.until_s + rest_s
        if other.target == fault.target and not is_apart:
            return False
    return not not_playable(msgspec.structs.replace(plan, faults=(*found, fault)))


# Relay and agents


def _retention(rng: random.Random) -> Retention:
    standard_s = round(rng.uniform(4.0, 9.0), 2)
    return Retention(critical_s=round(standard_s * rng.uniform(1.5, 3.0), 2), standard_s=standard_s)


def _times(rng: random.Random) -> RelayTimes:
    return RelayTimes(
        sweep_interval_s=rng.choice((0.3, 1.0, 2.0)),
        bookmark_s=rng.choice((0.5, 1.0, 3.0)),
        redispatch_after_s=rng.choice((8.0, 60.0)),
        lease_s=rng.choice((1.0, 2.0, 4.0)),
        idle_check_s=rng.choice((0.5, 1.0)),
    )


def _limits(rng: random.Random) -> RelayLimits:
    """Small, but enough for fifty events a second where an answer takes 200 ms, as far apart as the simulator goes."""
    return RelayLimits(
        page_rows=rng.choice((20, 100, None)),
        tail_rows=rng.choice((50, None)),
        writer_batch=rng.choice((25, 100, None)),
        hub_window_events=rng.choice((5, 50, None)),
        slow_client_bytes=rng.choice((8_192, None)),
        redispatch_max=rng.choice((1, 3)),
    )


def _agents(rng: random.Random, retention: Retention) -> tuple[list[Agent], list[Pinned]]:
    agents: list[Agent] = []
    pinned: list[Pinned] = []
    for number in range(1, AGENTS + 1):
        name = f"agent-{number:02d}"
        awake = [(0.0, DURATION_S)] if number <= STEADY else list(_awake(rng, retention))
        for (_, asleep_s), (wakes_s, _) in pairwise(awake):
            pinned += missed(rng, name, (asleep_s, wakes_s), retention, edges_s=EDGE_S, after_s=0.05)
        crashes = [round(rng.uniform(a + 0.5, b - 0.5), 3) for a, b in awake if b - a > 3 and rng.random() < 0.3]
        agents.append(
            Agent(
                name=name,
                awake=tuple(Awake(from_s=a, until_s=None if b >= DURATION_S else b) for a, b in awake),
                crashes_s=tuple(crashes),
                handler_ms=rng.choice((0, 0, 0, 20)),
                ack_interval_s=rng.choice((None, 0.5, 2.0)),
                start_from=rng.choice((None, "earliest")),
                token_ttl_s=rng.choice((10.0, 3_600.0)),
                connections=2 if number == 1 else 1,
            )
        )
    return agents, sorted(pinned, key=lambda pin: (pin.at_s, pin.agent, pin.type))


def _awake(rng: random.Random, retention: Retention) -> Iterator[tuple[float, float]]:
    """Times awake, with sleeps between them that end near the edges of retention."""
    at_s = 0.0
    while True:
        asleep_s = round(at_s + rng.uniform(1.5, 8.0), 3)
        edge_s = rng.choice((retention.standard_s, retention.critical_s, 1.0))
        wakes_s = round(asleep_s + max(0.5, edge_s + rng.choice(EDGE_S) * rng.choice((-1, 1))), 3)
        if wakes_s > DURATION_S - 2.0:
            break
        yield at_s, asleep_s
        at_s = wakes_s
    yield at_s, DURATION_S
