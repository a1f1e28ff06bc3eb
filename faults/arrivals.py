"""The single events of a plan's workload, drawn from its seed: when, by whom, to whom, of which type. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from faults.plan import Plan
from system.event import ALL_AGENTS

MORE = [1.10, 10**19, "日本 \u2028 ✓", {"b": None, "a": [True, 1]}]
"""What is easily lost on the way: digits, characters of several bytes, an order, a difference."""
BESIDE: dict[str, Any] = {
    "time": "2026-01-31T08:00:00.123456789+14:00",
    "dataschema": "urn:meshrelay:schema?v=1#é",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "priority": -7,
    "urgent": False,
}
"""Attributes that few events have: those that CloudEvents names, and extensions of each type."""
SETTLED_S = 1.0
"""How long an agent is there before publishers know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One event that a publisher is given to publish."""

    at_s: float
    id: str
    publisher: str
    agent: str
    """The addressee: an agent, or `_all`."""
    type: str
    data_bytes: int
    repeated: bool
    """Whether it is published once more after its acknowledgement."""
    extended: bool = False
    """Whether it has every attribute that it may have, and is written for people to read."""

    def event(self) -> bytes:
        """The CloudEvent; equal at every attempt, as a retry must be."""
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/chaos/{self.publisher}",
            "type": self.type,
            "subject": self.agent,
            "datacontenttype": "application/json",
            "data": {"of": self.id, "text": "x" * self.data_bytes, "more": MORE},
        }
        if not self.extended:
            return msgspec.json.encode(attributes)
        return msgspec.json.format(msgspec.json.encode(attributes | BESIDE), indent=2)


def arrivals(plan: Plan) -> list[Arrival]:
    """All events of a plan, in the order of their times; equal plans give equal lists."""
    work = plan.workload
    rng, apart = random.Random(f"arrivals/{plan.seed}"), random.Random(f"extended/{plan.seed}")
    times = [(at_s, None) for at_s in _times(rng, work.events, work.shape, plan.duration_s)]
    pinned = [(pin.at_s, pin) for pin in work.pinned]
    agents = [agent.name for agent in plan.agents]
    types = [one.type for one in work.types]
    weights = list(itertools.accumulate(one.weight for one in work.types))
    found = []
    for number, (at_s, pin) in enumerate(sorted([*times, *pinned], key=lambda item: item[0])):
        broadcast = rng.random() < work.broadcast_share or not agents
        if broadcast:
            drawn_agent = ALL_AGENTS
        elif work.presence_s is None:
            drawn_agent = rng.choice(agents)
        else:
            at_s, drawn_agent = _present(rng, plan, at_s, work.presence_s)
        drawn_type = rng.choices(types, cum_weights=weights)[0]
        found.append(
            Arrival(
                at_s=at_s,
                id=f"{plan.seed:x}-{number:05d}",
                publisher=rng.choice(work.publishers).name,
                agent=pin.agent if pin else drawn_agent,
                type=pin.type if pin else drawn_type,
                data_bytes=rng.randint(0, work.data_bytes_max),
                repeated=rng.random() < work.repeat_share,
                extended=apart.random() < work.extended_share,
            )
        )
    return found if work.presence_s is None else sorted(found, key=lambda arrival: arrival.at_s)


def _present(rng: random.Random, plan: Plan, at_s: float, stays_s: float) -> tuple[float, str]:
    """An agent that is there for long enough, and when: now, or as soon as the next one has come."""
    soonest: dict[str, float] = {}
    for agent in plan.agents:
        for awake in agent.awake:
            until_s = plan.duration_s if awake.until_s is None else awake.until_s
            if until_s - stays_s >= max(at_s, awake.from_s + SETTLED_S):
                soonest[agent.name] = max(at_s, awake.from_s + SETTLED_S)
                break
    if not soonest:
        return at_s, rng.choice(plan.agents).name
    first_s = min(soonest.values())
    return first_s, rng.choice([name for name, from_s in soonest.items() if from_s == first_s])


def _times(rng: random.Random, count: int, shape: Sequence[int], duration_s: float) -> Iterator[float]:
    """`count` instants whose density over the run has this shape, in ascending order, in whole milliseconds."""
    cumulated = list(itertools.accumulate(shape))
    slice_s = duration_s / len(shape)
    slices = rng.choices(range(len(shape)), cum_weights=cumulated, k=count) if count else []
    for place in sorted(index + rng.random() for index in slices):
        yield int(place * slice_s * 1000) / 1000
