"""Figures: what was measured of the relay and of its bare baseline, run by run, and what that says.

Nothing is measured here. A single speed says more of the machine than of the relay; so what counts is the ratio of two
neighbouring runs, and of several such ratios the median.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a figure is to reach: a ratio at least or at most, or a value at most."""

    ratio_min: float | None = None
    ratio_max: float | None = None
    ours_max: float | None = None

    def __str__(self) -> str:
        """As shown in the table."""
        if self.ratio_min is not None:
            return f"ratio ≥ {self.ratio_min:g}"
        return f"ratio ≤ {self.ratio_max:g}" if self.ratio_max is not None else f"≤ {self.ours_max:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One run of the relay and the run of the baseline next to it, both in the figure's unit."""

    ours: float
    bare: float

    @property
    def ratio(self) -> float:
        """The relay as a multiple of the baseline."""
        return self.ours / self.bare


@dataclass(slots=True, kw_only=True)
class Figure:
    """One quantity, measured in turns; `more_is_better` tells a speed from a cost."""

    name: str
    unit: str
    ours: str
    """What the relay does in a run, in one line."""
    bare: str
    """What the baseline does in a run, in one line."""
    more_is_better: bool
    target: Target | None = None
    pairs: list[Pair] = field(default_factory=list)

    def add(self, *, ours: float, bare: float) -> None:
        """Take one more run of each."""
        assert min(ours, bare) > 0, (self.name, ours, bare)
        self.pairs.append(Pair(ours=ours, bare=bare))

    @property
    def ours_median(self) -> float:
        """The relay's median."""
        return statistics.median(pair.ours for pair in self.pairs)

    @property
    def bare_median(self) -> float:
        """The baseline's median."""
        return statistics.median(pair.bare for pair in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the runs' ratios, relay to baseline."""
        return statistics.median(pair.ratio for pair in self.pairs)

    @property
    def ratio_range(self) -> tuple[float, float]:
        """The lowest and the highest ratio of a run."""
        ratios = [pair.ratio for pair in self.pairs]
        return min(ratios), max(ratios)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None if there is none."""
        if self.target is None:
            return None
        if self.target.ratio_min is not None:
            return self.ratio >= self.target.ratio_min
        if self.target.ratio_max is not None:
            return self.ratio <= self.target.ratio_max
        assert self.target.ours_max is not None
        return self.ours_median <= self.target.ours_max

    def document(self) -> dict[str, Any]:
        """Everything, for JSON; values and ratios to five digits."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": {"what": self.ours, "runs": [_rounded(pair.ours) for pair in self.pairs]}
            | {"median": _rounded(self.ours_median)},
            "bare": {"what": self.bare, "runs": [_rounded(pair.bare) for pair in self.pairs]}
            | {"median": _rounded(self.bare_median)},
            "more_is_better": self.more_is_better,
            "ratio": _rounded(self.ratio),
            "ratio_range": [_rounded(bound) for bound in self.ratio_range],
            "target": None if self.target is None else str(self.target),
            "met": self.is_met,
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` of 100 do not exceed."""
    assert values
    assert 0 < percent <= 100, percent
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[int(rank) - 1]


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
