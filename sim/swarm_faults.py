"""One fault of each kind, with its measures drawn: short against a plan of half a minute, long against its leases."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from faults.vocabulary import (
    LINKS,
    PROCESSES,
    REPLICAS,
    Bandwidth,
    ClockSkew,
    Cut,
    Direction,
    DiskFull,
    Down,
    Fault,
    HalfOpen,
    Kill,
    Latency,
    LeaderChange,
    LimitData,
    Link,
    Pause,
    PowerLoss,
    ProcessName,
    QuorumLoss,
    ResetPeer,
    Restart,
    Slicer,
    SlowClose,
    Timeout,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """What a seed draws before its plan: how often each kind of fault comes."""

    seed: int
    weights: dict[str, float]
    """By kind, 0 where it is off."""
    dominant: str | None
    faults: int
    is_cluster: bool
    """Whether NATS runs on three servers."""

    def shown(self, faults: int) -> str:
        """One line for people of a plan with so many faults: what was drawn and found no room in it is no matter."""
        if not faults:
            return "no faults"
        on = sorted(((weight, kind) for kind, weight in self.weights.items() if weight), reverse=True)
        total = sum(weight for weight, _ in on)
        return f"{faults} faults, drawn from " + ", ".join(f"{kind} {weight / total:.0%}" for weight, kind in on)


CLUSTER_KINDS = ("leader_change", "quorum_loss")
PROCESS_KINDS = ("pause", "kill", "restart", "power_loss", "clock_skew")
PEOPLE = (ProcessName.AGENT, ProcessName.PUBLISHER)
SERVERS = tuple(process for process in PROCESSES if process not in PEOPLE)
LASTING_SHARE = 0.7
"""Clocks that stay wrong for the rest of the plan: outside, too, nobody sets them after a few seconds."""
REDIS_SHARE = 0.5
"""Of the swarm's faults, so many more on Redis, under the transport of that name."""
PARTIAL_SHARE = 0.25
"""Link faults that hit one replica only."""
SKEW_MS = (5_000, 60_000, 3_600_000)
JUDGED_SKEW_MS = (200, 1_500)
"""Retention is by Postgres's clock, or Redis's: what it is off by is what nobody can hold against the relay."""
JUDGED = (ProcessName.POSTGRES, ProcessName.REDIS)
"""Whose clocks decide what is past retention."""


def targets_of(kind: str) -> list[Link | ProcessName]:
    """What a kind of fault can be played on; what events depend on is there three times."""
    if kind in CLUSTER_KINDS:
        return [ProcessName.NATS]
    return [*SERVERS * 3, *PEOPLE] if kind in PROCESS_KINDS else [*LINKS]


def length_s(rng: random.Random, kind: str) -> float:
    """How long a fault lasts, in s."""
    if kind == "restart":
        return 0.0
    return round(rng.uniform(0.3, 2.0) if rng.random() < 0.4 else rng.uniform(2.0, 8.0), 3)


def skew_of(fault: Fault) -> float:
    """How far a fault sets a clock wrong, in s."""
    return fault.skew_ms / 1000 if isinstance(fault, ClockSkew) else 0.0


def drawn_faults(
    rng: random.Random,
    swarm: Swarm,
    duration_s: float,
    length: Callable[[random.Random, str], float],
    targets: Callable[[str], Sequence[Link | ProcessName]] = targets_of,
) -> list[Fault]:
    """Faults of the swarm's kinds, none over another on one target; `length` draws how long one lasts, in s.

    `targets` says what a kind can be played on; kinds without any are left out.
    """
    kinds = [kind for kind, weight in swarm.weights.items() if weight and kind != "disk_full" and targets(kind)]
    weights = [swarm.weights[kind] for kind in kinds]
    free_from: dict[Link | ProcessName, float] = dict.fromkeys([*Link, *ProcessName], 1.0)
    found = []
    for number, kind in enumerate(rng.choices(kinds, weights, k=swarm.faults) if kinds else (), start=1):
        target = rng.choice(targets(kind))
        for_s = length(rng, kind)
        at_s = round(free_from[target] + rng.uniform(0.0, (duration_s - free_from[target]) * 0.6), 3)
        if at_s + for_s > duration_s:
            continue
        if kind == "clock_skew" and rng.random() < LASTING_SHARE:
            for_s = round(duration_s - at_s, 3)
        free_from[target] = at_s + for_s + 0.2
        direction = Direction.BOTH if kind == "down" else rng.choice(list(Direction))
        identity = f"{number}-{kind}-{target.value}"
        found.append(made(rng, kind, identity, target=target, direction=direction, at_s=at_s, for_s=for_s))
    return sorted(found, key=lambda fault: fault.at_s)


def redis_targets_of(kind: str) -> list[Link | ProcessName]:
    """What a kind of fault can be played on beside that, where the relay's transport is redis."""
    if kind in CLUSTER_KINDS:
        return []
    return [ProcessName.REDIS] if kind in PROCESS_KINDS else [Link.RELAY_REDIS]


def redis_faults(
    rng: random.Random, swarm: Swarm, duration_s: float, length: Callable[[random.Random, str], float]
) -> list[Fault]:
    """Faults on Redis and the way to it, of the swarm's kinds; `rng` is a stream of their own.

    About half as many as the swarm's others, which they leave as they are.
    """
    fewer = replace(swarm, faults=sum(rng.random() < REDIS_SHARE for _ in range(swarm.faults)))
    found = drawn_faults(rng, fewer, duration_s, length, redis_targets_of)
    found += full_disks(rng, fewer, found, duration_s, (ProcessName.REDIS,))
    return sorted(found, key=lambda fault: fault.at_s)


def full_disks(
    rng: random.Random,
    swarm: Swarm,
    others: Sequence[Fault],
    duration_s: float,
    stores: Sequence[ProcessName] = (ProcessName.NATS, ProcessName.POSTGRES),
) -> list[Fault]:
    """Full disks in the swarm's proportion, wherever the other faults leave their server alone."""
    share = swarm.weights["disk_full"] / (sum(swarm.weights.values()) or 1.0)
    found: list[Fault] = []
    for number in range(1, sum(rng.random() < share for _ in range(swarm.faults)) + 1):
        process = rng.choice(stores)
        for_s = round(rng.uniform(0.3, 6.0), 3)
        at_s = round(rng.uniform(1.0, duration_s - for_s - 0.5), 3)
        beside = [fault for fault in (*others, *found) if fault.target == process]
        if all(at_s > fault.until_s + 0.2 or fault.at_s > at_s + for_s + 0.2 for fault in beside):
            identity = f"disk-{number}-{process.value}"
            found.append(DiskFull(id=identity, process=process, at_s=at_s, for_s=for_s))
    return found


def made(
    rng: random.Random,
    kind: str,
    identity: str,
    *,
    target: Link | ProcessName,
    direction: Direction,
    at_s: float,
    for_s: float,
) -> Fault:
    """A fault of a kind. Raises KeyError for a kind that has no measures here."""
    if isinstance(target, ProcessName):
        return _ON_PROCESS[kind](rng, {"id": identity, "process": target, "at_s": at_s}, for_s)
    place = {"id": identity, "link": target, "direction": direction, "at_s": at_s, "for_s": for_s}
    if target is not Link.PUBLISHER_NATS and rng.random() < PARTIAL_SHARE:
        place["only"] = rng.choice(REPLICAS)
    return _ON_LINK[kind](rng, place)


def _latency(rng: random.Random, place: dict[str, Any]) -> Fault:
    latency_ms = rng.choice((50, 300, 1_500))
    return Latency(**place, latency_ms=latency_ms, jitter_ms=rng.randint(0, latency_ms // 3))


def _slicer(rng: random.Random, place: dict[str, Any]) -> Fault:
    size = rng.choice((7, 40, 200))
    return Slicer(**place, average_size_bytes=size, delay_us=1_000 if size < 20 else rng.randint(1_000, 20_000))


def _skew(rng: random.Random, place: dict[str, Any], for_s: float) -> Fault:
    choices = JUDGED_SKEW_MS if place["process"] in JUDGED else SKEW_MS
    return ClockSkew(**place, for_s=for_s, skew_ms=rng.choice(choices) * rng.choice((-1, 1)))


_ON_LINK: dict[str, Callable[[random.Random, dict[str, Any]], Fault]] = {
    "cut": lambda rng, place: Cut(**place),
    "down": lambda rng, place: Down(**place),
    "latency": _latency,
    "bandwidth": lambda rng, place: Bandwidth(**place, rate_kb_s=rng.choice((1, 10, 60))),
    "timeout": lambda rng, place: Timeout(**place, timeout_ms=rng.choice((0, 500))),
    "reset_peer": lambda rng, place: ResetPeer(**place, timeout_ms=rng.choice((0, 100))),
    "slicer": _slicer,
    "slow_close": lambda rng, place: SlowClose(**place, delay_ms=rng.choice((100, 2_000))),
    "limit_data": lambda rng, place: LimitData(**place, limit_bytes=rng.choice((1, 200, 1_000, 8_000))),
    "half_open": lambda rng, place: HalfOpen(**place),
}
_ON_PROCESS: dict[str, Callable[[random.Random, dict[str, Any], float], Fault]] = {
    "pause": lambda rng, place, for_s: Pause(**place, for_s=for_s),
    "kill": lambda rng, place, for_s: Kill(**place, down_s=for_s),
    "restart": lambda rng, place, for_s: Restart(**place),
    "power_loss": lambda rng, place, for_s: PowerLoss(**place, down_s=for_s),
    "clock_skew": _skew,
    "leader_change": lambda rng, place, for_s: LeaderChange(**place, down_s=for_s),
    "quorum_loss": lambda rng, place, for_s: QuorumLoss(**place, for_s=for_s),
}
