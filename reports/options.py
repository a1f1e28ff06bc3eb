"""The ADR's options side by side: what each promises and was seen to keep, what it costs, and what follows from that.

Pure: from samples and verdicts to medians, crossings and sentences. Nothing here knows an option's name by heart but
to show it; every sentence of the answer is computed from the numbers beside it.
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
"""What is compared; less is better in all."""
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
    """Who is clearly cheaper at more than half of these sizes: one size alone differs by chance, one time in ten where
    three runs of each are compared."""
    reason: str = ""
    """What makes the difference at the largest common size, where the parts of the cost say so."""


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


def _reason(crossing: Crossing, rows: Sequence[Row]) -> str:
    """The process that makes most of the difference at the largest size, or how much of it is connecting."""
    size = crossing.sizes[-1]
    medians = {(row.metric, row.transport): row.spread.median for row in rows if row.agents == size}

    def more(metric: str) -> float:
        return medians.get((metric, crossing.other), 0.0) - medians.get((metric, crossing.one), 0.0)

    total = more(crossing.metric)
    if crossing.cheaper_large is None or not total:
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


def sentence_of(crossing: Crossing) -> str:
    """One comparison in words."""
    one, other = OPTIONS[crossing.one], OPTIONS[crossing.other]
    small, large = crossing.sizes[0], crossing.sizes[-1]
    if crossing.ratio_small is None or crossing.ratio_large is None:
        costs = f"{one} costs nothing at {small if crossing.ratio_small is None else large} agents"
    else:
        costs = (
            f"{other} costs {crossing.ratio_small:.2f} times as much as {one} at {small} agents, "
            f"{crossing.ratio_large:.2f} times at {large}"
        )
    if crossing.between is not None:
        low, high = crossing.between
        found = f"they cross at about {crossing.at:.0f} agents (between {low} and {high})"
    elif crossing.cheaper_large is None:
        found = "no clear difference: the runs overlap at every size"
    else:
        found = f"{OPTIONS[crossing.cheaper_large]} is cheaper wherever the runs differ clearly"
    why = f"; {crossing.reason}" if crossing.reason else ""
    return f"{(SIMULATED | METRICS)[crossing.metric]}: {found}; {costs}{why}."


def answer_of(crossings: Sequence[Crossing], cells: Sequence[Cell], *, upgrade: str = "jetstream") -> list[str]:
    """The answer to the ADR's question, from the comparisons of what was chosen with its upgrade and from the verdicts.

    First what follows for '50+', then what decides it, then what speaks against, then what is no matter of cost.
    """
    ours = [one for one in crossings if {one.one, one.other} == {CHOSEN, upgrade}]
    if not ours:
        return [f"Nothing can be said of '{ADR_SIZE}+': no size was measured with both options."]
    for_it = [one for one in ours if upgrade in (one.cheaper_small, one.cheaper_large)]
    against = [one for one in ours if one.cheaper_large == CHOSEN]
    lines = [_threshold(for_it, upgrade, max(one.sizes[-1] for one in ours)), *map(sentence_of, for_it)]
    if against:
        lines.append(f"Against it: {', '.join(METRICS[one.metric] for one in against)}.")
        lines += [sentence_of(one) for one in against if one not in for_it]
    less = _broken(cells, upgrade)
    if less:
        named = "; ".join(f"{cell.guarantee} {cell.verdict}" for cell in less)
        lines.append(f"Cost aside, {OPTIONS[upgrade]} gives less: {named}.")
    return lines


def redundancy_of(crossings: Sequence[Crossing], cells: Sequence[Cell], *, other: str = "redis") -> list[str]:
    """Whether an option is redundant beside what was chosen: it is if it keeps no promise more, nor costs less."""
    name, chosen = OPTIONS[other], OPTIONS[CHOSEN]
    ours = [one for one in crossings if {one.one, one.other} == {CHOSEN, other}]
    judged = [cell for cell in cells if cell.transport == other and cell.verdict != "not run"]
    if not ours and not judged:
        return [f"Nothing can be said of {name}: nothing was measured of it beside {chosen}."]
    failing = {cell.guarantee for cell in _broken(cells, CHOSEN)}
    gained = [cell.guarantee for cell in judged if cell.verdict == "held" and cell.guarantee in failing]
    cheaper = [one for one in ours if one.steady == other]
    dearer = [one for one in ours if one.steady == CHOSEN]
    found = [f"it keeps {', '.join(gained)}, which {chosen} does not"] if gained else []
    found += [f"it is cheaper in {', '.join(METRICS[one.metric] for one in cheaper)}"] if cheaper else []
    if found:
        lines = [f"{name} is not redundant: {'; '.join(found)}.", *map(sentence_of, cheaper)]
    elif ours and judged:
        sizes = f"up to {max(one.sizes[-1] for one in ours):,} agents"
        lines = [
            f"{name} is redundant: it keeps no promise that {chosen} does not, and is cheaper in no cost, {sizes}."
        ]
    else:
        known, unknown = ("is cheaper in no cost", "promises") if ours else ("keeps no promise more", "costs")
        lines = [f"Whether {name} is redundant is half shown: it {known}, and nothing is known of its {unknown}."]
    if dearer:
        lines.append(f"{name} costs clearly more in {len(dearer)} of {len(METRICS)} costs at most sizes.")
    lost = "; ".join(f"{cell.guarantee} {cell.verdict}" for cell in _broken(cells, other))
    return [*lines, f"{name} gives less: {lost}."] if lost else lines


def _broken(cells: Sequence[Cell], option: str) -> list[Cell]:
    return [cell for cell in cells if cell.transport == option and cell.verdict in ("violated", "not offered")]


def _threshold(for_it: Sequence[Crossing], upgrade: str, largest: int) -> str:
    """What the numbers say of a threshold, in one sentence."""
    name = OPTIONS[upgrade]
    always = [one for one in for_it if one.cheaper_small == one.cheaper_large == upgrade]
    later = [one for one in for_it if one.cheaper_large == upgrade and one not in always]
    if later:
        points = sorted(one.at for one in later if one.at is not None)
        fits = "fits" if any(ADR_SIZE / 2 <= at <= ADR_SIZE * 2 for at in points) else "does not fit"
        return (
            f"{name} becomes cheaper than {OPTIONS[CHOSEN]} in {len(later)} of {len(METRICS)} costs, from about "
            f"{points[0]:.0f} agents on: '{ADR_SIZE}+' {fits} that."
        )
    if always:
        return (
            f"'{ADR_SIZE}+' is no threshold: {name} is cheaper in {len(always)} of {len(METRICS)} costs wherever the "
            f"runs differ clearly, and becomes so in no other, up to {largest} agents."
        )
    return f"'{ADR_SIZE}+' is not shown: up to {largest} agents {name} becomes clearly cheaper in no cost."
