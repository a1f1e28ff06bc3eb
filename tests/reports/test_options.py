"""The options side by side: medians, crossings and the answer, on samples whose truth is known."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.options import (
    ADR_SIZE,
    Cell,
    Crossing,
    Sample,
    answer_of,
    crossings_of,
    redundancy_of,
    rows_of,
    sentence_of,
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
    assert "cross at about 316 agents (between 100 and 1000)" in sentence_of(found)


def test_curves_that_never_cross_say_who_is_cheaper() -> None:
    """One option below the other at every size."""
    found = crossing({size: near(10.0) for size in SIZES}, {size: near(30.0) for size in SIZES})
    assert found.between is None
    assert (found.cheaper_small, found.cheaper_large) == ("cursor", "cursor")
    assert found.ratio_large == pytest.approx(3.0)
    assert "C: cursor is cheaper wherever" in sentence_of(found)


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
        == f"'{ADR_SIZE}+' is not shown: up to 1000 agents A: JetStream consumers becomes clearly cheaper in no cost."
    )
    assert any(line.startswith("Against it: processor time") for line in rest)


@pytest.mark.parametrize(("at", "said"), [(60, "fits that"), (700, "does not fit that")])
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
    assert cheaper[0] == "B: Redis Streams is not redundant: it is cheaper in processor time, ms for 1,000 deliveries."
    safer = redundancy_of([], [judged("cursor", "violated"), judged("redis", "held")])
    assert safer == ["B: Redis Streams is not redundant: it keeps G2, which C: cursor does not."]
    broken = redundancy_of([], [judged("cursor", "held"), judged("redis", "violated")])
    assert broken[-1] == "B: Redis Streams gives less: G2 violated."


def test_a_difference_at_one_size_is_chance() -> None:
    """Three runs of each miss each other one time in ten though nothing differs: two sizes of five decide nothing."""
    lucky = {size: near(5.0 if size <= 50 else 10.0) for size in SIZES}
    (found,) = beside(lucky)
    assert (found.cheaper_small, found.steady) == ("redis", None)
    assert "half shown: it is cheaper in no cost" in redundancy_of([found], [])[0]
    (found,) = beside(lucky | {100: near(5.0)})
    assert found.steady == "redis"


def test_of_what_was_not_measured_nothing_is_said() -> None:
    """No evidence is not evidence of redundancy, and half of it is half."""
    dearer = beside({size: near(20.0) for size in SIZES})
    assert "half shown: it is cheaper in no cost, and nothing is known of its promises" in redundancy_of(dearer, [])[0]
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
