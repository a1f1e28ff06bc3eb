"""Where the simulated world and the real stack agree on which option costs less, and where not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby

from reports.options import OPTIONS, SIMULATED, Row, Spread, clearly

Costs = dict[tuple[str, str, int], Spread]
"""By metric, option and size."""


def agreement(real: Sequence[Row], simulated: Sequence[Row]) -> list[str]:
    """A sentence for each cost and pair of options that both worlds measured at a common size."""
    found, counted = _costs(real), _costs(simulated)
    return [
        _sentence(metric, one, other, list(_findings(found, counted, metric, one, other, sizes)))
        for metric in SIMULATED
        for one, other in combinations(OPTIONS, 2)
        if (sizes := _common(found, counted, metric, one, other))
    ]


def tally(sentences: Sequence[str]) -> str:
    """How many of the comparisons agree wherever both worlds tell a difference."""
    against = sum(DISAGREE in one for one in sentences)
    silent = sum(BOTH not in one and DISAGREE not in one for one in sentences)
    return (
        f"Of {len(sentences)} comparisons that both worlds made, {len(sentences) - against - silent} name the same "
        f"option as the cheaper one wherever both tell a difference, {against} do not, and in {silent} one of the "
        "worlds tells none."
    )


BOTH = "both find"
DISAGREE = "they disagree"


def _costs(rows: Sequence[Row]) -> Costs:
    return {(row.metric, row.transport, row.agents): row.spread for row in rows}


def _common(found: Costs, counted: Costs, metric: str, one: str, other: str) -> list[int]:
    sizes = sorted({agents for name, _, agents in counted if name == metric})
    return [
        size
        for size in sizes
        if all((metric, name, size) in costs for costs in (found, counted) for name in (one, other))
    ]


def _findings(
    found: Costs, counted: Costs, metric: str, one: str, other: str, sizes: Sequence[int]
) -> Iterator[tuple[str, int]]:
    """What is to be said of each size."""
    for size in sizes:
        real, simulated = (
            clearly(one, other, costs[metric, one, size], costs[metric, other, size]) for costs in (found, counted)
        )
        if real == simulated:
            said = f"{BOTH} {OPTIONS[real]} cheaper" if real else "neither world tells a difference"
        elif real and simulated:
            said = f"{DISAGREE}: the real stack finds {OPTIONS[real]} cheaper, the simulation {OPTIONS[simulated]}"
        elif real:
            said = f"only the real stack tells a difference, and finds {OPTIONS[real]} cheaper"
        else:
            assert simulated is not None
            said = f"only the simulation tells a difference, and finds {OPTIONS[simulated]} cheaper"
        yield said, size


def _sentence(metric: str, one: str, other: str, findings: Sequence[tuple[str, int]]) -> str:
    parts = []
    for said, group in groupby(findings, key=lambda finding: finding[0]):
        sizes = [f"{size:,}" for _, size in group]
        parts.append(
            f"{said} at {' and '.join([', '.join(sizes[:-1]), sizes[-1]] if len(sizes) > 1 else sizes)} agents"
        )
    return f"{SIMULATED[metric]}, {OPTIONS[one]} and {OPTIONS[other]}: {'; '.join(parts)}."
