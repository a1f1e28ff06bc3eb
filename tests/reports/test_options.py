"""The options side by side: medians, crossings and the answer, on samples whose truth is known."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.option_words import answer_of, redundancy_of, sentence_of
from reports.options import (
    ADR_SIZE,
    Cell,
    Crossing,
    Replay,
    Sample,
    crossings_of,
    replay_crossings_of,
    rows_of,
    spread_of,
)

SIZES = (10, 50, 100, 500, 1_000)


def samples(transport: str, costs: dict[int, tuple[float, ...]], metric: str = "cpu_ms") -> list[Sample]:
    """Runs of one option at some sizes."""
    return [
        Sample(transport=transport, agents=agents, run=run, values={metric: value})
        for agents, values in costs.items()
        for run, value in enumerate(values, start=1)
    ]


def crossing(ours: dict[int, tuple[float, ...]], theirs: dict[int, tuple[float, ...]]) -> Crossing:
    """The one comparison of two options."""
    (found,) = crossings_of(rows_of(samples("cursor", ours) + samples("jetstream", theirs)))
    return found


def near(value: float) -> tuple[float, ...]:
    """Three runs close together."""
    return (value * 0.99, value, value * 1.01)


def test_a_spread_has_the_median_and_the_range() -> None:
    """Of three runs the middle one, and the two others."""
    found = spread_of([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.runs) == (2.0, 1.0, 3.0, 3)


def test_curves_that_cross_do_so_between_two_sizes() -> None:
    """A flat cost and one that grows by ten a decade, equal at 100 √10 agents: half way on logarithms."""
    found = crossing(
        {size: near(15.0) for size in (10, 100, 1_000)},
        {10: near(10.0 * 0.5), 100: near(10.0), 1_000: near(20.0)},
    )
    assert found.between == (100, 1_000)
    assert found.at == pytest.approx(100 * math.sqrt(10), rel=1e-6)
    assert (found.cheaper_small, found.cheaper_large) == ("jetstream", "cursor")
    assert "cross at about 316 agents (between 100 and 1,000)" in sentence_of(found)
    assert "A: JetStream consumers is cheaper at 10 and 100, C: cursor is cheaper at 1,000" in sentence_of(found)


def test_curves_that_never_cross_say_who_is_cheaper() -> None:
    """One option below the other at every size."""
    found = crossing({size: near(10.0) for size in SIZES}, {size: near(30.0) for size in SIZES})
    assert found.between is None
    assert (found.cheaper_small, found.cheaper_large) == ("cursor", "cursor")
    assert found.ratio_large == pytest.approx(3.0)
    assert "C: cursor is cheaper at every size;" in sentence_of(found)


def test_runs_that_overlap_decide_nothing() -> None:
    """A median below the other is chance where the ranges overlap."""
    found = crossing({10: (1.0, 2.0, 9.0)}, {10: (3.0, 4.0, 5.0)})
    assert (found.cheaper_small, found.cheaper_large, found.between) == (None, None, None)
    assert "no clear difference" in sentence_of(found)


def test_sizes_that_only_one_was_measured_at_are_not_compared() -> None:
    """Option A alone goes to 5,000 agents."""
    found = crossing({10: near(1.0)}, {10: near(2.0), 5_000: near(0.1)})
    assert found.sizes == (10,)
    assert found.cheaper_large == "cursor"


@given(st.permutations(range(12)))
def test_the_order_of_runs_changes_nothing(order: list[int]) -> None:
    """Equal samples in any order give equal rows."""
    runs = samples("cursor", {10: near(3.0), 50: near(4.0)}) + samples("redis", {10: near(5.0), 50: near(1.0)})
    assert rows_of([runs[place] for place in order]) == rows_of(runs)


def test_the_answer_when_the_upgrade_never_pays() -> None:
    """Nothing is clearly cheaper: the threshold is not shown, and what speaks against is named."""
    found = crossing({size: near(10.0) for size in SIZES}, {size: near(30.0) for size in SIZES})
    first, *rest = answer_of([found], [])
    assert (
        first
        == f"'{ADR_SIZE}+' is not shown: as agents become more, up to 1,000, A: JetStream consumers becomes cheaper "
        "than C: cursor in none of 9 costs."
    )
    assert any(line.startswith("Against it: processor time") for line in rest)


@pytest.mark.parametrize(("at", "said"), [(60, "fits the figures"), (700, "does not fit the figures")])
def test_the_answer_when_the_upgrade_pays_from_some_size_on(at: int, said: str) -> None:
    """The size of the crossing decides whether '50+' fits."""
    theirs = {size: near(30.0 if size < at else 3.0) for size in SIZES}
    (first, *_) = answer_of([crossing({size: near(10.0) for size in SIZES}, theirs)], [])
    assert "becomes cheaper" in first
    assert said in first


def test_the_answer_when_the_upgrade_pays_always() -> None:
    """No threshold, then."""
    (first, *_) = answer_of([crossing({size: near(10.0) for size in SIZES}, {size: near(3.0) for size in SIZES})], [])
    assert "is no threshold" in first


def test_the_answer_names_what_is_not_offered() -> None:
    """Cheap is not enough."""
    cell = Cell(
        guarantee="G1",
        transport="jetstream",
        verdict="violated",
        seeds=10,
        violated_in=1,
        real_runs=0,
        why="lost-middle",
        command="meshrelay sim run --seed 1 --transport jetstream",
    )
    lines = answer_of([crossing({10: near(1.0)}, {10: near(2.0)})], [cell])
    assert lines[-1] == "Cost aside, A: JetStream consumers gives less: G1 violated."


def test_no_samples_no_answer() -> None:
    """Nothing measured is said to be nothing."""
    assert answer_of([], []) == [f"Nothing can be said of '{ADR_SIZE}+': no size was measured with both options."]


def beside(costs: dict[int, tuple[float, ...]], metric: str = "cpu_ms") -> list[Crossing]:
    """What is found of Redis beside what was chosen, which costs 10 everywhere."""
    chosen = {size: near(10.0) for size in SIZES}
    return crossings_of(rows_of(samples("cursor", chosen, metric) + samples("redis", costs, metric)))


def test_every_cost_in_which_the_upgrade_is_ever_cheaper_is_named() -> None:
    """At most sizes, below a crossing, at few sizes: each with its name and where, and once."""
    costs = {
        "latency_ms.p50": (5.0, 5.0, 5.0, 5.0, 5.0),
        "herd_s": (5.0, 5.0, 5.0, 5.0, 20.0),
        "memory_kb": (10.0, 10.0, 5.0, 10.0, 10.0),
        "cpu_ms": (20.0, 20.0, 20.0, 20.0, 20.0),
    }
    found = []
    for metric, theirs in costs.items():
        both = samples("cursor", {size: near(10.0) for size in SIZES}, metric)
        both += samples("jetstream", {size: near(cost) for size, cost in zip(SIZES, theirs, strict=True)}, metric)
        found += crossings_of(rows_of(both))
    (first, *_) = answer_of(found, [])
    assert first == (
        "'50+' is no threshold: as agents become more, up to 1,000, A: JetStream consumers becomes cheaper than "
        "C: cursor in none of 9 costs; it is cheaper at most sizes in 1 (publish to delivery, median), and in 1 only "
        "below a crossing (all caught up after everything was killed: below about 630 agents), and in 1 at fewer "
        "sizes, which may be chance (memory: 100 agents)."
    )


def test_a_replay_is_compared_by_the_events_that_were_missed() -> None:
    """It is no cost by the number of agents, and is not counted as one; it is said all the same."""
    replays = [
        Replay(transport=name, gap=gap, spread=spread_of(near(gap * slow)))
        for name, slow in (("cursor", 1.0), ("jetstream", 3.0), ("redis", 0.5))
        for gap in (100, 1_000)
    ]
    crossings = replay_crossings_of(replays)
    theirs = crossing({size: near(10.0) for size in SIZES}, {size: near(30.0) for size in SIZES})
    said = [line for line in answer_of([theirs], [], crossings) if line.startswith("replay of a gap")]
    assert said == [
        "replay of a gap, s, by its length (none of the 9 costs): C: cursor is cheaper at every size; A: JetStream "
        "consumers costs 3.00 times as much as C: cursor at 100 events missed, 3.00 times at 1,000."
    ]
    quick = redundancy_of(beside({size: near(20.0) for size in SIZES}), [judged("redis", "held")], crossings)
    assert quick[0] == "B: Redis Streams is not redundant: it is cheaper in replay of a gap."


def judged(transport: str, verdict: Literal["held", "violated"]) -> Cell:
    """A guarantee of an option as judged."""
    return Cell(
        guarantee="G2", transport=transport, verdict=verdict, seeds=9, violated_in=0, real_runs=1, why="", command=""
    )


def test_an_option_that_keeps_no_more_and_costs_no_less_is_redundant() -> None:
    """That is what the ADR's word means; what it costs more is said beside it."""
    dearer = beside({size: near(20.0) for size in SIZES})
    lines = redundancy_of(dearer, [judged("cursor", "held"), judged("redis", "held")])
    assert lines[0].startswith("B: Redis Streams is redundant: it keeps no promise that C: cursor does not")
    assert "up to 1,000 agents" in lines[0]
    assert lines[1] == "B: Redis Streams costs clearly more in 1 of 9 costs at most sizes."


def test_an_option_that_is_cheaper_somewhere_or_keeps_more_is_not_redundant() -> None:
    """Either refutes the ADR's word, and is named."""
    cheaper = redundancy_of(beside({size: near(5.0) for size in SIZES}), [])
    assert cheaper[0] == "B: Redis Streams is not redundant: it is cheaper in processor time."
    safer = redundancy_of([], [judged("cursor", "violated"), judged("redis", "held")])
    assert safer == ["B: Redis Streams is not redundant: it keeps G2, which C: cursor does not."]
    broken = redundancy_of([], [judged("cursor", "held"), judged("redis", "violated")])
    assert broken[-1] == "B: Redis Streams gives less: G2 violated."


def test_a_difference_at_one_size_is_chance() -> None:
    """Three runs of each miss each other one time in ten though nothing differs: two sizes of five decide nothing."""
    lucky = {size: near(5.0 if size <= 50 else 10.0) for size in SIZES}
    (found,) = beside(lucky)
    assert (found.cheaper_small, found.steady) == ("redis", None)
    assert (
        "half shown: it is in none of 9 costs cheaper at more than half of the sizes, and"
        in redundancy_of([found], [])[0]
    )
    (found,) = beside(lucky | {100: near(5.0)})
    assert found.steady == "redis"


def test_what_is_cheaper_at_few_sizes_is_said_with_the_verdict() -> None:
    """The sentence that says redundant names them; the same rule decides, and is in it."""
    costs = {size: near(5.0 if size == 100 else 10.0) for size in SIZES}
    lines = redundancy_of(beside(costs, "memory_kb"), [judged("cursor", "held"), judged("redis", "held")])
    assert lines[0] == (
        "B: Redis Streams is redundant: it keeps no promise that C: cursor does not, and is in none of 9 costs "
        "cheaper at more than half of the sizes, up to 1,000 agents. It is cheaper at fewer, which may be chance, in: "
        "memory at 1 of 5 (100 agents)."
    )
    assert lines[1].startswith(
        "memory, KiB an agent: B: Redis Streams is cheaper at 1 of 5 sizes (100 agents), the runs overlap at the "
        "others: it may be chance;"
    )


def test_of_what_was_not_measured_nothing_is_said() -> None:
    """No evidence is not evidence of redundancy, and half of it is half."""
    dearer = beside({size: near(20.0) for size in SIZES})
    assert "sizes, and nothing is known of its promises" in redundancy_of(dearer, [])[0]
    kept = redundancy_of([], [judged("cursor", "held"), judged("redis", "held")])
    assert "half shown: it keeps no promise more, and nothing is known of its costs" in kept[0]
    assert redundancy_of([], [])[0].startswith("Nothing can be said of B: Redis Streams")


def test_the_reason_is_the_process_that_makes_the_difference() -> None:
    """Of 20 ms more, 15 are the relay's; of 4 s more after a restart, 1 is connecting."""
    rows = rows_of(
        [
            Sample(transport=transport, agents=100, run=run, values=values)
            for run in (1, 2, 3)
            for transport, values in (
                ("cursor", {"cpu_ms": 10.0, "cpu_ms.relay": 5.0, "cpu_ms.nats": 5.0, "herd_s": 2.0, "connect_s": 1.0}),
                (
                    "jetstream",
                    {"cpu_ms": 30.0, "cpu_ms.relay": 20.0, "cpu_ms.nats": 10.0, "herd_s": 6.0, "connect_s": 2.0},
                ),
            )
        ]
    )
    found = {one.metric: one.reason for one in crossings_of(rows)}
    assert found["cpu_ms"] == "relay makes 75% of the difference at 100 agents"
    assert found["herd_s"] == "connecting makes 25% of the difference at 100 agents"
    assert found["connect_s"] == ""


def test_runs_that_overlap_at_the_largest_size_have_no_reason_there() -> None:
    """A part's share of a difference that may be chance says nothing."""
    values = {10: (3.0, 3.1, 3.2), 100: (3.0, 4.0, 9.0)}
    ours = {10: (1.0, 1.1, 1.2), 100: (2.0, 3.5, 8.0)}
    both = [
        Sample(transport=name, agents=size, run=run, values={"memory_kb": cost, "memory_kb.nats": cost})
        for name, costs in (("cursor", ours), ("jetstream", values))
        for size, found in costs.items()
        for run, cost in enumerate(found)
    ]
    assert [one.reason for one in crossings_of(rows_of(both))] == [""]
