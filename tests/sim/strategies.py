"""Hypothesis strategies for plans: small by construction, and shrinking towards no faults, one agent and few events.

Each property has its own emphasis, for an event that is never repeated can't be stored twice, and an agent that never
sleeps is never told anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from faults.plan import (
    Agent,
    Awake,
    Pinned,
    Plan,
    Publisher,
    RelayLimits,
    RelayTimes,
    Retention,
    TypeWeight,
    Workload,
)
from faults.vocabulary import (
    LINKS,
    PROCESSES,
    ClockSkew,
    Cut,
    Direction,
    DiskFull,
    Down,
    Fault,
    HalfOpen,
    Kill,
    Link,
    Pause,
    PowerLoss,
    ProcessName,
    ResetPeer,
    Restart,
)
from sim import weeks

DURATION_S = 14.0
DAY_S = 86_400.0
CRITICAL, STANDARD = "task.assigned", "note.added"
TIMES = RelayTimes(
    sweep_interval_s=0.5, heartbeat_s=2.0, redispatch_after_s=60.0, drain_deadline_s=1.0, ready_after_silence_s=4.0
)
DEFAULT_LIMITS = RelayLimits()
CALM = Retention(critical_s=600.0, standard_s=300.0)
SHORT = Retention(critical_s=5.0, standard_s=2.5)
"""A week and a day, squeezed."""
REAL_EDGES_S = (0.0, 1.0, -1.0, 5.0, -5.0, 250.0, -250.0, 400.0, -400.0)
"""Likewise, of a real day or week: within the judge's doubt, and before and after the next sweep."""
EDGES_S = (0.0, 0.05, -0.05, 0.4, -0.4, 0.8, -0.8, 1.5, -1.5)
"""What a sleep differs by from a retention: on the edge, within the judge's doubt, and beyond it either way."""


def moments(least_s: float, most_s: float) -> st.SearchStrategy[float]:
    """Times in a plan, in whole tenths of a second."""
    return st.integers(round(least_s * 10), round(most_s * 10)).map(lambda tenths: tenths / 10)


def link_faults(links: Sequence[Link] = LINKS) -> st.SearchStrategy[Fault]:
    """One fault on a link; at most 5 s of the first 12."""
    kinds: list[Any] = [Cut, ResetPeer, HalfOpen, Down]

    def made(kind: Any, link: Link, at_s: float, for_s: float, direction: Direction) -> Fault:
        way = Direction.BOTH if kind is Down else direction
        fault: Fault = kind(id=f"{link}", link=link, at_s=at_s, for_s=for_s, direction=way)
        return fault

    places = (st.sampled_from(links), moments(0.5, 7.0), moments(0.3, 5.0), st.sampled_from(Direction))
    return st.builds(made, st.sampled_from(kinds), *places)


def full_disks() -> st.SearchStrategy[Fault]:
    """One full disk, likewise."""

    def made(process: ProcessName, at_s: float, for_s: float) -> Fault:
        return DiskFull(id=f"{process}", process=process, at_s=at_s, for_s=for_s)

    return st.builds(
        made, st.sampled_from((ProcessName.NATS, ProcessName.POSTGRES)), moments(0.5, 7.0), moments(0.3, 5.0)
    )


def process_faults(kinds: Sequence[Any] = (Kill, Pause, Restart, PowerLoss, ClockSkew)) -> st.SearchStrategy[Fault]:
    """One fault on a process, likewise."""

    def made(kind: Any, process: ProcessName, at_s: float, for_s: float) -> Fault:
        length: dict[str, Any] = {"for_s": for_s} if kind in (Pause, ClockSkew) else {"down_s": for_s}
        if kind is Restart:
            length = {}
        if kind is ClockSkew:
            length["skew_ms"] = 200 if process is ProcessName.POSTGRES else 3_600_000
        fault: Fault = kind(id=f"{process}", process=process, at_s=at_s, **length)
        return fault

    return st.builds(made, st.sampled_from(kinds), st.sampled_from(PROCESSES), moments(0.5, 7.0), moments(0.3, 5.0))


def faults(most: int = 3) -> st.SearchStrategy[tuple[Fault, ...]]:
    """Faults on targets of their own."""
    one = st.one_of(link_faults(), process_faults(), full_disks())
    return st.lists(one, max_size=most, unique_by=lambda fault: fault.target).map(tuple)


def sleepers(retention: Retention) -> st.SearchStrategy[tuple[Awake, ...]]:
    """An agent's times awake: one sleep, as long as a retention and a little more or less."""

    def made(asleep_s: float, edge_s: float, by_s: float) -> tuple[Awake, ...]:
        wakes_s = round(asleep_s + max(0.3, edge_s + by_s), 3)
        return (Awake(from_s=0.0, until_s=asleep_s), Awake(from_s=wakes_s))

    edges = st.sampled_from((retention.standard_s, retention.critical_s))
    return st.builds(made, moments(1.0, 4.0), edges, st.sampled_from(EDGES_S))


@st.composite
def plans(
    draw: st.DrawFn,
    *,
    retention: Retention = CALM,
    given_faults: st.SearchStrategy[tuple[Fault, ...]] | None = None,
    sleeping: bool = False,
    repeats: bool = False,
    crashes: bool = False,
    limits: RelayLimits = DEFAULT_LIMITS,
    times: RelayTimes = TIMES,
) -> Plan:
    """A whole plan of 14 s; `sleeping` has agents sleep to the edges of retention, with something to miss on each."""
    agents, pinned = [], []
    for name in ("a", "ab", "b")[: draw(st.integers(1, 3))]:
        kept = retention if retention is SHORT else Retention(critical_s=4.0, standard_s=1.5)
        awake = draw(sleepers(kept)) if sleeping else (Awake(from_s=0.0),)
        if sleeping:
            at_s = (awake[0].until_s or 0.0) + draw(st.sampled_from((0.02, 0.2)))
            pinned += [Pinned(at_s=at_s, agent=name, type=kind) for kind in (CRITICAL, STANDARD)]
        crash_s = draw(moments(0.2, (awake[0].until_s or DURATION_S) - 0.1)) if crashes else None
        agents.append(
            Agent(
                name=name,
                awake=awake,
                crashes_s=() if crash_s is None else (crash_s,),
                handler_ms=draw(st.sampled_from((0, 50))),
                ack_interval_s=draw(st.sampled_from((1.0, None))),
                start_from="earliest",
            )
        )
    chosen = draw(given_faults if given_faults is not None else faults())
    skewed = any(isinstance(one, ClockSkew) and one.process is ProcessName.POSTGRES for one in chosen)
    return Plan(
        name="property",
        seed=draw(st.integers(0, 2**32)),
        duration_s=DURATION_S,
        converge_within_s=90.0,
        retention=retention,
        slack_s=0.9 if skewed else 0.6,
        relay=times,
        limits=limits,
        workload=Workload(
            events=draw(st.integers(1, 25)),
            shape=(1,),
            publishers=(Publisher(name="web", via="http"), Publisher(name="bridge", via="nats")),
            types=(TypeWeight(type=CRITICAL, weight=1), TypeWeight(type=STANDARD, weight=1)),
            broadcast_share=draw(st.sampled_from((0.0, 0.3))),
            repeat_share=0.5 if repeats else 0.0,
            pinned=tuple(sorted(pinned, key=lambda pin: pin.at_s)),
        ),
        agents=tuple(agents),
        faults=chosen,
    )


@st.composite
def real_edges(draw: st.DrawFn, *, kept_days: int) -> Plan:
    """An agent that sleeps for a day, or for seven, and a little more or less, at the real retention.

    Events of both classes come as it falls asleep, and somewhat later; sweeps are five minutes apart.
    """
    asleep_s = draw(moments(60.0, 600.0))
    wakes_s = asleep_s + kept_days * DAY_S + draw(st.sampled_from(REAL_EDGES_S))
    pins = [
        Pinned(at_s=asleep_s + after_s, agent="a", type=kind)
        for after_s in (1.0, draw(st.sampled_from(REAL_EDGES_S)) % 1_000.0 + 2.0)
        for kind in (CRITICAL, STANDARD)
    ]
    return Plan(
        name="real-edge",
        seed=draw(st.integers(0, 2**32)),
        duration_s=wakes_s + 900.0,
        converge_within_s=3_600.0,
        retention=Retention(critical_s=7 * DAY_S, standard_s=DAY_S),
        slack_s=2.0,
        relay=weeks.TIMES,
        limits=draw(st.sampled_from((DEFAULT_LIMITS, RelayLimits(page_rows=1)))),
        workload=Workload(
            events=draw(st.integers(1, 12)),
            shape=(1,),
            publishers=(Publisher(name="web", via="http"), Publisher(name="bridge", via="nats")),
            types=(TypeWeight(type=CRITICAL, weight=1), TypeWeight(type=STANDARD, weight=1)),
            pinned=tuple(sorted(pins, key=lambda pin: pin.at_s)),
        ),
        agents=(
            Agent(
                name="a",
                awake=(Awake(from_s=0.0, until_s=asleep_s), Awake(from_s=wakes_s)),
                ack_interval_s=draw(st.sampled_from((5.0, None))),
                start_from="earliest",
            ),
        ),
        faults=(),
    )
