"""The operating envelope: for how long may a part be away before which promise breaks? At production's retention.

A plan lets one part be away for one length of time: a server loses its power, another process is killed, and both are
started again in the end; a link is cut both ways. Two agents are there all the time, one comes and goes. Events of both
classes, to one agent and to all, lie on either side of the outage's beginning and end, in its middle, and all over it.

Up to `BRISK_S` the relay's intervals and limits are production's. Longer outages have longer ones, and everybody tries
again every minute, not every few seconds: what an outage breaks depends on its length, not on how often one knocks. How
soon all are caught up does depend on it: of long outages that figure says no more than that they are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import msgspec

from faults.draws import STANDARD, TYPES
from faults.plan import Agent, Awake, Pinned, Plan, Publisher, Workload
from faults.planted import planted
from faults.transports import TransportName, over
from faults.vocabulary import REPLICAS, Cut, Fault, Kill, Link, PowerLoss, ProcessName
from reports.review.evidence import Outage
from reports.review.outages import outage_of
from sim.trial import Played, play
from sim.weeks import DAY_S, HOUR_S, RETENTION, TIMES
from sim.window import PRODUCTION
from system.event import ALL_AGENTS, CRITICAL_TYPES

LENGTHS_S = (60.0, 900.0, 3 * HOUR_S, DAY_S, 3 * DAY_S, 9 * DAY_S)
"""The last is longer than the stream keeps events, which is 8 days."""
QUICK_S = (60.0, DAY_S)
DEAR, DEAR_QUICK_S = ("nats", "relay-nats"), (60.0, 3 * HOUR_S)
"""Without NATS a replica dials it every three seconds at most, whatever its settings: a day of that costs most."""
BRISK_S = 900.0
BRISK = PRODUCTION
PATIENT = msgspec.structs.replace(
    TIMES, retry_max_ms=60_000, publish_timeout_s=60.0, database_timeout_s=60.0, tail_poll_s=60.0
)
BRISK_RETRY_S, PATIENT_RETRY_S = 5.0, 60.0
"""How long publishers pause at most before they try again."""
BEGINS_S = 600.0
AFTER_S = 1_200.0
CONVERGE_S = 900.0
SLACK_S = 2.0
EDGE_S = 5.0
"""How far from an outage's beginning and end, either way, something is published."""
SPREAD = 12
"""Events that are drawn, over all of the plan."""
WORKERS, VISITOR = ("worker-1", "worker-2"), "visitor"
MESH = "mesh"
"""The publisher over HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What can be away, and how it is."""

    how: str
    processes: Sequence[tuple[ProcessName, str | None]] = ()
    """Killed, with the one of them that it is; a server loses its power."""
    link: Link | None = None
    """Cut."""
    only_over: TransportName | None = None

    def faults(self, length_s: float) -> tuple[Fault, ...]:
        """It is away for so long."""
        if self.link is not None:
            return (Cut(id=f"cut-{self.link.value}", link=self.link, at_s=BEGINS_S, for_s=length_s),)
        return tuple(
            (PowerLoss if process in SERVERS else Kill)(
                id=f"away-{only or process.value}", process=process, only=only, at_s=BEGINS_S, down_s=length_s
            )
            for process, only in self.processes
        )


SERVERS = (ProcessName.NATS, ProcessName.POSTGRES, ProcessName.REDIS)
DARK, KILLED, CUT = "without power", "killed, and started again in the end", "cut off both ways"
PARTS: Mapping[str, Part] = {
    "nats": Part(how=DARK, processes=((ProcessName.NATS, None),)),
    "postgres": Part(how=DARK, processes=((ProcessName.POSTGRES, None),)),
    "redis": Part(how=DARK, processes=((ProcessName.REDIS, None),), only_over=TransportName.REDIS),
    "relay": Part(how=KILLED, processes=tuple((ProcessName.RELAY, one) for one in REPLICAS)),
    **{one: Part(how=KILLED, processes=((ProcessName.RELAY, one),)) for one in REPLICAS},
    "agent": Part(how=KILLED, processes=((ProcessName.AGENT, WORKERS[0]),)),
    "publisher": Part(how=KILLED, processes=((ProcessName.PUBLISHER, MESH),)),
    "relay-nats": Part(how=CUT, link=Link.RELAY_NATS),
    "relay-postgres": Part(how=CUT, link=Link.RELAY_POSTGRES),
    "relay-redis": Part(how=CUT, link=Link.RELAY_REDIS, only_over=TransportName.REDIS),
    "agent-relay": Part(how=CUT, link=Link.AGENT_RELAY),
}
"""By its name in the vocabulary; `relay` is every replica, and one of the two replicas leads."""


def parts_over(transport: TransportName | None) -> list[str]:
    """What can be away under a transport."""
    return [what for what, part in PARTS.items() if part.only_over in (None, transport)]


def lengths_s(what: str, *, quick: bool = False) -> tuple[float, ...]:
    """For how long a part is away, in s."""
    if not quick:
        return LENGTHS_S
    return DEAR_QUICK_S if what in DEAR else QUICK_S


def outage_plan(what: str, length_s: float, *, seed: int = 1, transport: TransportName | None = None) -> Plan:
    """One part away for so many seconds. Raises KeyError for a part that is not in PARTS."""
    faults = PARTS[what].faults(length_s)
    rng = random.Random(f"outage/{seed}")
    is_brisk = length_s <= BRISK_S
    retry_s = BRISK_RETRY_S if is_brisk else PATIENT_RETRY_S
    duration_s = BEGINS_S + length_s + AFTER_S
    plan = Plan(
        name=f"outage-{what}-{length_s:g}s-{seed}",
        seed=seed,
        duration_s=duration_s,
        converge_within_s=CONVERGE_S,
        retention=RETENTION,
        slack_s=SLACK_S,
        relay=BRISK if is_brisk else PATIENT,
        workload=Workload(
            events=SPREAD,
            shape=(1,),
            publishers=(
                Publisher(name=MESH, via="http", retry_max_s=retry_s),
                Publisher(name="bridge", via="nats", retry_max_s=retry_s),
            ),
            types=TYPES,
            broadcast_share=0.2,
            pinned=tuple(_pinned(rng, length_s)),
        ),
        agents=tuple(_agents(length_s)),
        faults=faults,
    )
    return over(plan, transport)


def outage_plans(
    transport: TransportName | None = None, *, seed: int = 1, quick: bool = False
) -> Iterator[tuple[str, float, Plan]]:
    """The whole envelope over a transport: what is away, for how long in s, and the plan; `quick`: two lengths each."""
    for what in parts_over(transport):
        for length_s in lengths_s(what, quick=quick):
            yield what, length_s, outage_plan(what, length_s, seed=seed, transport=transport)


def measure_outage(encoded: bytes, what: str, length_s: float, bug: str | None = None) -> Outage:
    """Play a plan that came as text, with a planted bug or none; what a worker calls.

    Raises WorldFailed, NotModelled, PlanInvalid, OSError.
    """
    plan = Plan.decode(encoded)
    with planted(bug) if bug is not None else nullcontext():
        return outage_from(play(plan), plan, what, length_s, bug)


def outage_from(played: Played, plan: Plan, what: str, length_s: float, bug: str | None = None) -> Outage:
    """The outage of a plan that was played."""
    return outage_of(
        played.index,
        played.report,
        transport=plan.transport,
        what=what,
        how=PARTS[what].how,
        length_s=length_s,
        command=command_of(what, length_s, seed=plan.seed, transport=plan.transport, bug=bug),
    )


def command_of(what: str, length_s: float, *, seed: int, transport: str, bug: str | None) -> str:
    """What plays it again."""
    command = f"meshrelay sim outage --what {what} --for {shown_s(length_s)} --seed {seed} --transport {transport}"
    return command if bug is None else f"{command} --bug {bug}"


UNITS_S = {"d": DAY_S, "h": HOUR_S, "m": 60.0, "s": 1.0}


def shown_s(length_s: float) -> str:
    """A length in the largest unit that it is a whole number of."""
    unit = next((name for name, unit_s in UNITS_S.items() if length_s % unit_s == 0), "s")
    return f"{length_s / UNITS_S[unit]:g}{unit}"


def _agents(length_s: float) -> Iterator[Agent]:
    common: dict[str, Any] = {"ack_interval_s": 5.0, "start_from": "earliest", "token_ttl_s": DAY_S}
    for name in WORKERS:
        yield Agent(name=name, **common)
    spells = ((0.0, BEGINS_S / 2), (BEGINS_S + 0.3 * length_s, BEGINS_S + 0.6 * length_s))
    awake = [Awake(from_s=from_s, until_s=until_s) for from_s, until_s in spells]
    # back before the end, so that it waits for that as the others do
    yield Agent(name=VISITOR, awake=(*awake, Awake(from_s=BEGINS_S + 0.9 * length_s)), **common)


def _pinned(rng: random.Random, length_s: float) -> Iterator[Pinned]:
    ends_s = BEGINS_S + length_s
    edges_s = (BEGINS_S - EDGE_S, BEGINS_S + EDGE_S, BEGINS_S + length_s / 2, ends_s - EDGE_S, ends_s + EDGE_S)
    for at_s in (*edges_s, ends_s + AFTER_S / 2):
        for agent in (*WORKERS, VISITOR, ALL_AGENTS):
            for kind in (rng.choice(sorted(CRITICAL_TYPES)), STANDARD):
                yield Pinned(at_s=round(at_s + rng.uniform(0.0, 1.0), 3), agent=agent, type=kind)
