"""Where simulation and real stack agree, on rows whose truth is known."""

from __future__ import annotations

from reports.options import Row, spread_of
from reports.scale import agreement, tally


def rows(transport: str, costs: dict[int, float], metric: str = "network_kb") -> list[Row]:
    """One option's cost by size, in runs close together."""
    return [
        Row(metric=metric, transport=transport, agents=agents, spread=spread_of([cost * 0.99, cost, cost * 1.01]))
        for agents, cost in costs.items()
    ]


def pair(ours: dict[int, float], theirs: dict[int, float]) -> list[Row]:
    """Options C and A."""
    return rows("cursor", ours) + rows("jetstream", theirs)


def test_each_size_is_said_to_be_agreed_on_or_not() -> None:
    """Agreement, the opposite, one world alone, and neither, each with its sizes; others' sizes are left out."""
    real = pair({10: 1.0, 50: 1.0, 100: 9.0, 500: 1.0, 1_000: 5.0}, {10: 2.0, 50: 2.0, 100: 2.0, 500: 1.0, 1_000: 5.0})
    simulated = pair(
        {10: 3.0, 50: 3.0, 100: 1.0, 500: 2.0, 1_000: 7.0, 5: 1.0},
        {10: 4.0, 50: 4.0, 100: 2.0, 500: 1.0, 1_000: 7.0, 5: 1.0},
    )
    (said,) = agreement(real, simulated)
    assert said == (
        "network, kB for 1,000 deliveries, C: cursor and A: JetStream consumers: "
        "both find C: cursor cheaper at 10 and 50 agents; "
        "they disagree: the real stack finds A: JetStream consumers cheaper, the simulation C: cursor at 100 agents; "
        "only the simulation tells a difference, and finds A: JetStream consumers cheaper at 500 agents; "
        "neither world tells a difference at 1,000 agents."
    )


def test_what_only_one_world_has_is_not_compared() -> None:
    """Processor time is real alone, requests are counted in the simulation alone; no common size is no comparison."""
    real = rows("cursor", {10: 1.0}, "cpu_ms") + rows("jetstream", {10: 2.0}, "cpu_ms") + pair({10: 1.0}, {10: 2.0})
    simulated = rows("cursor", {10: 1.0}, "requests") + rows("jetstream", {10: 2.0}, "requests")
    assert agreement(real, simulated) == []
    assert agreement(real, pair({50: 1.0}, {50: 2.0})) == []
    (only,) = agreement(pair({10: 1.0}, {10: 2.0}), pair({10: 1.0}, {10: 1.0}))
    assert "only the real stack tells a difference, and finds C: cursor cheaper at 10 agents" in only


def test_the_sum_counts_each_comparison_once() -> None:
    """Two that agree, one that does not, one of which a world says nothing."""
    agreed = agreement(pair({10: 1.0}, {10: 2.0}), pair({10: 3.0}, {10: 4.0}))
    opposed = agreement(pair({10: 1.0}, {10: 2.0}), pair({10: 4.0}, {10: 3.0}))
    silent = agreement(pair({10: 1.0}, {10: 2.0}), pair({10: 1.0}, {10: 1.0}))
    said = tally([*agreed, *agreed, *opposed, *silent])
    assert said == (
        "Of 4 comparisons that both worlds made, 2 name the same option as the cheaper one wherever both tell a "
        "difference, 1 do not, and in 1 one of the worlds tells none."
    )
