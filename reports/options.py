"""The ADR's options side by side: what each promises and was seen to keep, and what it costs.

Pure: from samples and verdicts to medians and crossings; `reports.option_words` says what follows from them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Literal

import msgspec

OPTIONS = {"cursor": "C: cursor", "jetstream": "A: JetStream consumers", "redis": "B: Redis Streams"}
"""By transport, in the order in which they are shown."""
CHOSEN = "cursor"
ADR_SIZE = 50
"""From so many agents on, the ADR says, option A is a valid upgrade."""
METRICS = {
    "cpu_ms": "processor time, ms for 1,000 deliveries",
    "network_kb": "network, kB for 1,000 deliveries",
    "idle_cpu_s": "processor time of an idle agent, s an hour",
    "memory_kb": "memory, KiB an agent",
    "connect_s": "all agents connect, s",
    "herd_s": "all caught up after everything was killed, s",
    "latency_ms.p50": "publish to delivery, median, ms",
    "latency_ms.p99": "publish to delivery, 99th percentile, ms",
    "latency_ms.p99.9": "publish to delivery, 99.9th percentile, ms",
}
"""What is compared by the number of agents; less is better in all."""
REPLAY = "replay_s"
REPLAY_WORDS = "replay of a gap, s"
"""Measured beside them, by the number of events missed: in all numbers of costs it is not counted."""
SIMULATED = {
    "network_kb": METRICS["network_kb"],
    "segments": "segments for 1,000 deliveries",
    "requests": "requests to servers for 1,000 deliveries",
    "acks": "acks to NATS for 1,000 deliveries",
    "idle_network_kb": "network of an idle agent, kB an hour",
    "idle_segments": "segments of an idle agent, an hour",
    "idle_requests": "requests to servers of an idle agent, an hour",
    "consumers": "JetStream consumers",
    **{name: what for name, what in METRICS.items() if name.endswith("_s") and name != "idle_cpu_s"},
    **{name: what for name, what in METRICS.items() if name.startswith("latency_ms.")},
}
"""What is counted in the simulated world; what has a name of `METRICS` is the same cost there. Less is better."""


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the document."""


class Sample(_Shown, frozen=True, kw_only=True):
    """One run of one option at one size: costs by name."""

    transport: str
    agents: int
    run: int
    values: dict[str, float]


class Cell(_Shown, frozen=True, kw_only=True):
    """One guarantee of one option."""

    guarantee: str
    transport: str
    verdict: Literal["held", "violated", "not offered", "not run"]
    seeds: int
    """Simulated runs that put it to the test."""
    violated_in: int
    """In simulation and on the real stack together."""
    real_runs: int
    real_violated: int = 0
    """Of them."""
    why: str
    """Why it is not offered, or what was found; empty if it held."""
    command: str
    """What repeats the evidence: the counter-example, or the campaign."""


class Spread(_Shown, frozen=True, kw_only=True):
    """A median and its range over runs."""

    median: float
    low: float
    high: float
    runs: int


class Row(_Shown, frozen=True, kw_only=True):
    """One cost of one option at one size."""

    metric: str
    transport: str
    agents: int
    spread: Spread


class Replay(_Shown, frozen=True, kw_only=True):
    """How long an agent that missed so many events waits for the last of them, in s."""

    transport: str
    gap: int
    spread: Spread


class CountedReplay(_Shown, frozen=True, kw_only=True):
    """What a replay of so many events took in the simulated world."""

    transport: str
    gap: int
    replay_ms: Spread
    round_trips: Spread
    """The same time in round trips between two hosts."""
    requests: Spread
    """What all servers were asked meanwhile."""


class Crossing(_Shown, frozen=True, kw_only=True):
    """How two options compare in one cost over all sizes at which both were measured."""

    metric: str
    one: str
    other: str
    cheaper_small: str | None
    """Who is cheaper at the smallest size at which the runs differ clearly; None if they never do."""
    cheaper_large: str | None
    """The same at the largest such size: another one, if the curves cross."""
    between: tuple[int, int] | None
    """The neighbouring sizes around the first crossing."""
    at: float | None
    """The crossing itself, interpolated on logarithms."""
    ratio_small: float | None
    ratio_large: float | None
    """Of medians, other to one, at the smallest and the largest common size; None where one costs nothing."""
    sizes: tuple[int, ...]
    steady: str | None = None
    """Who is clearly cheaper at more than half of these sizes; in sentences, who is *cheaper in a cost*. One size alone
    differs by chance, one time in ten where three runs of each are compared."""
    one_at: tuple[int, ...] = ()
    """The sizes at which every run of the one cost less than every run of the other."""
    other_at: tuple[int, ...] = ()
    reason: str = ""
    """What makes the difference at the largest common size, if the runs differ clearly there and its parts say so."""

    def at_of(self, option: str) -> tuple[int, ...]:
        """The sizes at which an option is clearly cheaper."""
        return self.one_at if option == self.one else self.other_at


class OptionsReport(_Shown, frozen=True, kw_only=True):
    """Everything that a reviewer of the decision needs, each number with the command that finds it again."""

    schema: str = "meshrelay-options-1"
    started_at: str
    answer: list[str]
    """What follows from the rest, most important first."""
    cells: list[Cell]
    rows: list[Row]
    replays: list[Replay]
    crossings: list[Crossing]
    """By the number of agents."""
    limits: dict[str, dict[str, list[str]]]
    """By transport and then by guarantee, on what it depends, in the relay's own words."""
    commands: dict[str, str]
    """What measures each part again."""
    versions: dict[str, str]
    machine: dict[str, str]
    missing: list[str]
    """What was asked for and is not in here, and why: never silently."""
    simulated_rows: list[Row] = []
    """What was counted in the simulated world."""
    simulated_replays: list[CountedReplay] = []
    simulated_crossings: list[Crossing] = []
    replay_crossings: list[Crossing] = []
    """Of replays: sizes are numbers of events missed."""
    agreement: list[str] = []
    """Where simulation and real stack name the same option as the cheaper one, and where not."""


def encode(report: OptionsReport) -> bytes:
    """The document as JSON, for people's eyes too."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def spread_of(values: Sequence[float]) -> Spread:
    """The median and the range of some runs."""
    return Spread(median=statistics.median(values), low=min(values), high=max(values), runs=len(values))


def rows_of(samples: Sequence[Sample]) -> list[Row]:
    """Every cost of every option at every size, with its spread; ordered."""
    grouped: dict[tuple[str, str, int], list[float]] = {}
    for sample in samples:
        for metric, value in sample.values.items():
            grouped.setdefault((metric, sample.transport, sample.agents), []).append(value)
    order = list(OPTIONS)
    return [
        Row(metric=metric, transport=transport, agents=agents, spread=spread_of(values))
        for (metric, transport, agents), values in sorted(
            grouped.items(), key=lambda item: (item[0][0], order.index(item[0][1]), item[0][2])
        )
    ]


def crossings_of(rows: Sequence[Row], metrics: Sequence[str] = tuple(METRICS)) -> list[Crossing]:
    """Every pair of options in every cost; a difference counts only where the two ranges don't overlap."""
    found = []
    for metric in metrics:
        by_option: dict[str, dict[int, Spread]] = {}
        for row in rows:
            if row.metric == metric:
                by_option.setdefault(row.transport, {})[row.agents] = row.spread
        for one, other in combinations([name for name in OPTIONS if name in by_option], 2):
            crossing = _crossing(metric, one, other, by_option[one], by_option[other])
            if crossing is not None:
                found.append(msgspec.structs.replace(crossing, reason=_reason(crossing, rows)))
    return found


def replay_crossings_of(replays: Sequence[Replay]) -> list[Crossing]:
    """The same of replays, over the number of events missed."""
    rows = [Row(metric=REPLAY, transport=one.transport, agents=one.gap, spread=one.spread) for one in replays]
    return crossings_of(rows, (REPLAY,))


def _reason(crossing: Crossing, rows: Sequence[Row]) -> str:
    """The process that makes most of the difference at the largest size, or how much of it is connecting."""
    size = crossing.sizes[-1]
    medians = {(row.metric, row.transport): row.spread.median for row in rows if row.agents == size}

    def more(metric: str) -> float:
        return medians.get((metric, crossing.other), 0.0) - medians.get((metric, crossing.one), 0.0)

    total = more(crossing.metric)
    if size not in (*crossing.one_at, *crossing.other_at) or not total:
        return ""
    prefix = f"{crossing.metric}."
    parts = sorted({name for name, _ in medians if name.startswith(prefix) and name not in METRICS})
    if parts:
        most = max(parts, key=lambda part: more(part) / total)
        share = more(most) / total
        part = f"{share:.0%}" if share <= 1 else "more than all"  # others give some of it back
        return f"{most.removeprefix(prefix)} makes {part} of the difference at {size:,} agents"
    connecting = more("connect_s") / total
    if crossing.metric == "herd_s" and connecting > 0:
        return f"connecting makes {min(connecting, 1.0):.0%} of the difference at {size:,} agents"
    return ""


def _crossing(
    metric: str, one: str, other: str, costs: dict[int, Spread], others: dict[int, Spread]
) -> Crossing | None:
    sizes = sorted(costs.keys() & others.keys())
    if not sizes:
        return None
    winners = {size: winner for size in sizes if (winner := clearly(one, other, costs[size], others[size]))}
    turn = next(((low, high) for low, high in pairwise(winners) if winners[low] != winners[high]), None)
    clear = list(winners.values())
    return Crossing(
        metric=metric,
        one=one,
        other=other,
        cheaper_small=clear[0] if clear else None,
        cheaper_large=clear[-1] if clear else None,
        between=turn,
        at=None if turn is None else _met(turn, costs, others),
        ratio_small=_ratio(others[sizes[0]], costs[sizes[0]]),
        ratio_large=_ratio(others[sizes[-1]], costs[sizes[-1]]),
        sizes=tuple(sizes),
        one_at=tuple(size for size, winner in winners.items() if winner == one),
        other_at=tuple(size for size, winner in winners.items() if winner == other),
        steady=next((name for name in (one, other) if 2 * clear.count(name) > len(sizes)), None),
    )


def clearly(one: str, other: str, cost: Spread, others: Spread) -> str | None:
    """Who is cheaper in every run; None if the runs overlap."""
    if cost.high < others.low:
        return one
    return other if others.high < cost.low else None


def _ratio(other: Spread, one: Spread) -> float | None:
    return other.median / one.median if one.median else None


def _met(turn: tuple[int, int], costs: dict[int, Spread], others: dict[int, Spread]) -> float:
    """Where the two medians meet between two sizes, both being straight lines over the logarithm of the size."""
    low, high = turn
    before = costs[low].median - others[low].median
    after = costs[high].median - others[high].median
    share = before / (before - after)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
