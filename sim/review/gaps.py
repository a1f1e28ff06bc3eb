"""Loss and notice against the reconnect gap, around both retentions as they are in production: 24 h and 7 days.

One plan has an agent for each gap. It works, leaves, and comes back after that gap; while it is away something of
both classes is published just after it left, half-way, at the edge of each retention seen from its return, and just
before it. So each absence gives a trial of each class, and half of an agent's trials are far from an edge for free.
Nothing else goes wrong: what faults add to it is the swarm's business.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

from faults.draws import STANDARD, TYPES
from faults.plan import Agent, Awake, Pinned, Plan, Publisher, Workload
from faults.planted import planted
from faults.transports import TransportName, over
from reports.review.evidence import GapTrial
from reports.review.gaps import gap_trials
from sim.trial import Played, play
from sim.weeks import CONVERGE_S, DAY_S, HOUR_S, RETENTION, TIMES
from system.event import ALL_AGENTS, CRITICAL_TYPES

SHARES = (0.1, 0.5, 0.9, 1.1, 1.5, 2.0)
"""Of a retention."""
OFF_S = (-2 * HOUR_S, -300.0, -30.0, 30.0, 300.0, 2 * HOUR_S)
"""From a retention. What was published as an agent left is then past it by less than a sweep's interval, or by more."""
WORKS_S = 1_200.0
"""Before it leaves, and after it came back: then everything that it missed is behind it."""
APART_S = 120.0
"""Between the leaving of two agents, at most."""
LATE_S = 3.0
"""How long after its leaving, or before its return, what lies at the edge of an absence is published."""
EDGE_S = 15.0
"""How far from the edge of retention, seen from its return, either way."""
GAP_S_MIN = 60.0
"""What is shorter is no gap of this sweep, but a replica or a client that goes on."""
SLACK_S = 2.0
"""Clocks drift apart by 2 ppm: by 1.2 s in a week."""


def gaps_s(*, quick: bool = False) -> tuple[float, ...]:
    """The gaps, in s, ascending; `quick` leaves out the week's, which take two weeks."""
    retentions = (RETENTION.standard_s,) if quick else (RETENTION.standard_s, RETENTION.critical_s)
    found = {round(kept_s * share, 3) for kept_s in retentions for share in SHARES}
    return tuple(sorted(found | {kept_s + off_s for kept_s in retentions for off_s in OFF_S}))


def gap_plan(seed: int, transport: TransportName | None = None, *, quick: bool = False) -> Plan:
    """One agent for each gap; what a seed draws are moments within seconds, publishers, and who acknowledges."""
    rng = random.Random(f"gaps/{seed}")
    agents: list[Agent] = []
    pinned: list[Pinned] = []
    gaps = gaps_s(quick=quick)
    duration_s = WORKS_S + APART_S + gaps[-1] + WORKS_S
    for number, gap_s in enumerate(gaps, start=1):
        name = f"away-{number:02d}"
        left_s = round(WORKS_S + rng.uniform(0.0, APART_S), 3)
        back_s = round(left_s + gap_s, 3)
        until_s = None if number == len(gaps) else back_s + WORKS_S
        agents.append(
            Agent(
                name=name,
                awake=(Awake(from_s=0.0, until_s=left_s), Awake(from_s=back_s, until_s=until_s)),
                ack_interval_s=rng.choice((None, 5.0)),
                start_from="earliest",
                token_ttl_s=DAY_S,
            )
        )
        pinned += _missed(rng, name, left_s, back_s)
    for day in range(int(duration_s / DAY_S)):
        pinned += _both(rng, ALL_AGENTS, round((day + rng.random()) * DAY_S, 3))
    return over(_plan(seed, duration_s, agents, pinned), transport)


def gap_plans(seeds: Iterable[int], transport: TransportName | None = None, *, quick: bool = False) -> Iterator[Plan]:
    """The plan of each seed."""
    return (gap_plan(seed, transport, quick=quick) for seed in seeds)


def measure_gap(encoded: bytes, bug: str | None = None) -> list[GapTrial]:
    """Play a plan that came as text, with a planted bug or none; what a worker calls.

    Raises WorldFailed, NotModelled, PlanInvalid, OSError.
    """
    plan = Plan.decode(encoded)
    with planted(bug) if bug is not None else nullcontext():
        return trials_of(play(plan), plan)


def trials_of(played: Played, plan: Plan) -> list[GapTrial]:
    """The trials of a plan that was played."""
    return gap_trials(played.index, plan.transport, gap_s_min=GAP_S_MIN)


def _plan(seed: int, duration_s: float, agents: list[Agent], pinned: list[Pinned]) -> Plan:
    return Plan(
        name=f"gaps-{seed}",
        seed=seed,
        duration_s=duration_s,
        converge_within_s=CONVERGE_S,
        retention=RETENTION,
        slack_s=SLACK_S,
        relay=TIMES,
        workload=Workload(
            events=0,
            shape=(1,),
            publishers=(Publisher(name="mesh", via="http"), Publisher(name="bridge", via="nats")),
            types=TYPES,
            data_bytes_max=400,
            pinned=tuple(sorted(pinned, key=lambda pin: (pin.at_s, pin.agent, pin.type))),
        ),
        agents=tuple(agents),
        faults=(),
    )


def _missed(rng: random.Random, agent: str, left_s: float, back_s: float) -> Iterator[Pinned]:
    """What there is to be missed, and something on either side of it that leads the agent past it."""
    moments = [left_s - WORKS_S / 2, left_s + rng.uniform(1.0, LATE_S), (left_s + back_s) / 2, back_s - LATE_S]
    for kept_s in (RETENTION.standard_s, RETENTION.critical_s):
        moments += [at_s for off_s in (-EDGE_S, EDGE_S) if (at_s := back_s - kept_s + off_s) > left_s + LATE_S]
    for at_s in (*moments, back_s + WORKS_S / 2):
        yield from _both(rng, agent, round(at_s, 3))


def _both(rng: random.Random, agent: str, at_s: float) -> Iterator[Pinned]:
    yield Pinned(at_s=at_s, agent=agent, type=rng.choice(sorted(CRITICAL_TYPES)))
    yield Pinned(at_s=at_s, agent=agent, type=STANDARD)
