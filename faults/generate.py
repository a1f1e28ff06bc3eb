"""The main plan: a week's rhythm squeezed into a minute, with everything in it that the promises are about.

Equal seeds give equal bytes. What must be in a plan is there by construction, not by luck: the run is laid out in
three stretches with faults and two quiet windows between them, in which the long sleepers wake, so that each gap has
the length that it was meant to have.

    0        2                     31.5    33.5                54      56.5      65   67 s
    | start  | kill 1, stretch 1   | quiet | stretch 2, kill 2 | quiet | stretch 3 | heal

Kill 1 comes before anybody sleeps long, so that those who wake in the first quiet window meet the relay that they left,
with whatever it remembers of them; those who wake in the second meet a new one.

pg-writer's three troubles (relay-nats, relay-postgres, kills of the relay) never overlap, so that an event is late in
Postgres by at most one of them; `LATE_S` is that, and the retention is scaled to stand out against it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib import resources

import msgspec

from faults.measures import link_fault
from faults.plan import Agent, Awake, Pinned, Plan, Publisher, Retention, TypeWeight, Workload
from faults.playable import RETURN_S, TOXICS
from faults.vocabulary import (
    Direction,
    Fault,
    Kill,
    Link,
    ProcessName,
)

DURATION_MS = 67_000
STRETCHES_MS = ((2_000, 31_500), (33_500, 54_000), (56_500, 65_000))
QUIET_MS = ((31_700, 33_200), (54_200, 56_000))
SLACK_S = 1.0
LATE_S = 9.0
"""An idle machine needs 5 s; a busy one takes longer to start a relay."""
RETENTION = Retention(critical_s=35.0, standard_s=13.5)
CONVERGE_WITHIN_S = 30.0

FAULT_MS = (2_800, 3_400)
REST_MS = 1_800
"""After each of pg-writer's troubles: time to come back before the next."""
KILL_DOWN_MS = (500, 1_200)
KILL_SLOT_MS = KILL_DOWN_MS[1] + int(RETURN_S * 1000)
KILL_SHIFT_MS = (1_000, 3_000)
"""How far each kill may be from the end of its stretch; the longest faults still fit beside it."""

WRITER_FAULTS = (3, 2, 1)
"""Link faults between relay and servers, for each stretch."""
OTHER_FAULTS = (2, 1, 1)
"""Faults on each other link, for each stretch."""

SLEEP_FULL_MS = (2_000, 3_000)
SLEEP_PARTIAL_MS = (24_400, 25_000)
SLEEP_GONE_MS = (46_000, 46_800)
"""Long enough that what comes within the first 0.9 s of them is past its retention, slack and lateness included."""

EVENTS = 5_400
TYPES = (
    TypeWeight(type="task.assigned", weight=20),
    TypeWeight(type="task.created", weight=10),
    TypeWeight(type="task.mentioned", weight=10),
    TypeWeight(type="task.completed", weight=20),
    TypeWeight(type="agent.status", weight=30),
    TypeWeight(type="note.added", weight=10),
)
PUBLISHERS = tuple(
    [Publisher(name=f"http-{n}", via="http") for n in (1, 2, 3)]
    + [Publisher(name=f"nats-{n}", via="nats") for n in (1, 2)]
)
STEADY, FULL, PARTIAL, GONE = 8, 6, 5, 5
"""How many agents never sleep, or sleep so that their gaps are of a kind; 24 in all."""


def main_plan(seed: int) -> Plan:
    """The main plan for a seed."""
    rng = random.Random(f"plan/{seed}")
    faults = _faults(rng)
    agents, pinned = _agents(rng)
    return Plan(
        name=f"main-{seed}",
        seed=seed,
        duration_s=DURATION_MS / 1000,
        converge_within_s=CONVERGE_WITHIN_S,
        retention=RETENTION,
        slack_s=SLACK_S,
        late_s=LATE_S,
        workload=Workload(
            events=EVENTS,
            shape=hour_of_week(),
            publishers=PUBLISHERS,
            types=TYPES,
            broadcast_share=0.03,
            repeat_share=0.02,
            pinned=tuple(pinned),
        ),
        agents=tuple(agents),
        faults=tuple(faults),
    )


def hour_of_week() -> tuple[int, ...]:
    """How busy each of the 168 hours of a week is, Monday 00:00 UTC first; the file says whose hours these are."""
    text = (resources.files("faults") / "data" / "hour_of_week.csv").read_text()
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")][1:]
    return tuple(int(count) for _, count in sorted(rows, key=lambda row: int(row[0])))


# Faults


def _faults(rng: random.Random) -> list[Fault]:
    deck = _deck(rng)
    placed: list[tuple[int, Fault]] = []
    links = _links_of_writer(rng)
    for number, (begin, end) in enumerate(STRETCHES_MS):
        if number < len(KILL_SHIFT_MS):
            kill_at, begin, end = _place_kill(rng, begin, end, KILL_SHIFT_MS[number], early=number == 0)
            kill = Kill(id="", process=ProcessName.RELAY, at_s=kill_at / 1000, down_s=rng.randint(*KILL_DOWN_MS) / 1000)
            placed.append((kill_at, kill))
        on_writer = [links.pop() for _ in range(WRITER_FAULTS[number])]
        for targets in (on_writer, *([link] * OTHER_FAULTS[number] for link in _OTHERS)):
            for at_ms, for_ms, link in _placed(rng, begin, end, targets):
                placed.append((at_ms, link_fault(rng, *deck.pop(), link=link, at_ms=at_ms, for_ms=for_ms)))
    assert not deck, deck
    placed.sort(key=lambda item: (item[0], item[1].target))
    return [_named(fault, number) for number, (_, fault) in enumerate(placed, start=1)]


_OTHERS = (Link.PUBLISHER_NATS, Link.AGENT_RELAY)


def _deck(rng: random.Random) -> list[tuple[str, Direction]]:
    """The kinds and directions to deal: every toxic at least once, one-way and two-way of both kinds, and two cuts."""
    count = sum(WRITER_FAULTS) + len(_OTHERS) * sum(OTHER_FAULTS)
    first = [kind for kind in TOXICS if kind != "down"]
    rng.shuffle(first)
    ways = [Direction.BOTH, Direction.UPSTREAM, Direction.DOWNSTREAM]
    deck = [(kind, ways[index] if index < len(ways) else rng.choice(ways)) for index, kind in enumerate(first)]
    deck += [("down", Direction.BOTH), ("cut", Direction.BOTH), ("cut", rng.choice(ways[1:]))]
    deck += [(rng.choice(first), rng.choice(ways)) for _ in range(count - len(deck))]
    rng.shuffle(deck)
    return deck


def _links_of_writer(rng: random.Random) -> list[Link]:
    half = sum(WRITER_FAULTS) // 2
    links = [Link.RELAY_NATS] * half + [Link.RELAY_POSTGRES] * (sum(WRITER_FAULTS) - half)
    rng.shuffle(links)
    return links


def _place_kill(rng: random.Random, begin: int, end: int, shift_max: int, *, early: bool) -> tuple[int, int, int]:
    """A kill near the beginning or the end of a stretch, and what is left of the stretch for faults on links."""
    shift = rng.randint(0, shift_max)
    if early or rng.random() < 0.5:
        return begin + shift, begin + shift + KILL_SLOT_MS, end
    kill_at = end - shift - KILL_SLOT_MS
    return kill_at, begin, kill_at


def _placed(rng: random.Random, begin: int, end: int, links: Sequence[Link]) -> list[tuple[int, int, Link]]:
    """Spread faults over a stretch, in a random rhythm, with a rest after each: (at, length, link)."""
    lengths = [rng.randint(*FAULT_MS) for _ in links]
    spare = end - begin - sum(lengths) - REST_MS * len(links)
    assert spare >= 0, (begin, end, lengths)
    shifts = sorted(rng.randint(0, spare) for _ in links)
    found, used = [], begin
    for shift, length, link in zip(shifts, lengths, links, strict=True):
        found.append((used + shift, length, link))
        used += length + REST_MS
    return found


def _named(fault: Fault, number: int) -> Fault:
    return msgspec.structs.replace(fault, id=f"{number:02d}-{fault.kind}-{fault.target}")


# Agents


def _agents(rng: random.Random) -> tuple[list[Agent], list[Pinned]]:
    count = STEADY + FULL + PARTIAL + GONE
    sleeps: list[list[tuple[int, int]]] = [[] for _ in range(STEADY)]
    sleeps += [_naps(rng) for _ in range(FULL)]
    sleeps += [[_sleep(rng, SLEEP_PARTIAL_MS, QUIET_MS[number % 2])] for number in range(PARTIAL)]
    sleeps += [[_sleep(rng, SLEEP_GONE_MS, QUIET_MS[1])] for _ in range(GONE)]
    agents, pinned = [], []
    for number, intervals in enumerate(sleeps, start=1):
        name = f"agent-{number:02d}"
        agents.append(
            _agent(rng, name, intervals, silent=number % 8 == 0, slow=number % 11 == 1, renews=number % 5 == 2)
        )
        for begin, _ in intervals:
            at_s = (begin + rng.randint(100, 900)) / 1000
            pinned += [Pinned(at_s=at_s, agent=name, type=one) for one in ("task.mentioned", "task.completed")]
    assert len(agents) == count
    return agents, sorted(pinned, key=lambda pin: pin.at_s)


def _sleep(rng: random.Random, length_ms: tuple[int, int], wake_ms: tuple[int, int]) -> tuple[int, int]:
    wake = rng.randint(*wake_ms)
    return wake - rng.randint(*length_ms), wake


def _naps(rng: random.Random) -> list[tuple[int, int]]:
    """A nap that ends in each quiet window, and one somewhere between."""
    first, last = (_sleep(rng, SLEEP_FULL_MS, window) for window in QUIET_MS)
    between = _sleep(rng, SLEEP_FULL_MS, (first[1] + SLEEP_FULL_MS[1] + 1_000, last[0] - 1_000))
    return [first, between, last]


def _agent(
    rng: random.Random, name: str, sleeps: list[tuple[int, int]], *, silent: bool, slow: bool, renews: bool
) -> Agent:
    """`silent` never acknowledges, `slow` takes its time over an event, `renews` has tokens that expire in the run."""
    edges = [0, *(edge for sleep in sleeps for edge in sleep), DURATION_MS]
    awake = list(zip(edges[::2], edges[1::2], strict=True))
    crashes = sorted(rng.randint(begin + 500, end - 500) for begin, end in awake if rng.random() < 0.5)
    return Agent(
        name=name,
        awake=tuple(
            Awake(from_s=begin / 1000, until_s=None if end == DURATION_MS else end / 1000) for begin, end in awake
        ),
        crashes_s=tuple(crash / 1000 for crash in crashes),
        handler_ms=rng.randint(30, 80) if slow else 0,
        ack_interval_s=None if silent else 1.0,
        start_from=rng.choice((None, "earliest")),
        token_ttl_s=float(rng.randint(15, 25)) if renews else 3_600.0,
    )
