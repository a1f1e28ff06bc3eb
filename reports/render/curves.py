"""The options' curves as inline SVG: cost over the number of agents, and replay time over what was missed."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from reports.options import OPTIONS, CountedReplay, Replay, Row, Spread
from reports.render.charts import ACCENT, BAD, SECOND, figure, legend
from reports.render.numbers import number

COLOURS = {"cursor": ACCENT, "jetstream": SECOND, "redis": BAD}
MARKERS = {"cursor": "o", "jetstream": "s", "redis": "^"}
"""So that a printed page tells them apart, too."""


def costs(metric: str, what: str, rows: Sequence[Row], world: str = "") -> str:
    """One cost of every option over the number of agents; `world` tells pictures of one cost apart."""
    points = [(row.transport, row.agents, row.spread) for row in rows]
    return _curves(f"{world}cost-{metric.replace('.', '-')}", what, "agents", points)


def replays(found: Sequence[Replay]) -> str:
    """Replay time of every option over the number of events missed."""
    points = [(one.transport, one.gap, one.spread) for one in found]
    return _curves("replay", "replay of a gap, s", "events missed", points)


def counted(found: Sequence[CountedReplay]) -> str:
    """What a replay takes in the simulated world, over the number of events missed."""
    points = [(one.transport, one.gap, one.replay_ms) for one in found]
    return _curves("simulated-replay", "replay of a gap, ms", "events missed", points)


def _curves(name: str, what: str, over: str, found: Sequence[tuple[str, int, Spread]]) -> str:
    """A curve for each option that has points: its name, where, and how much."""
    curves = {
        option: {at: spread for one, at, spread in found if one == option}
        for option in OPTIONS
        if any(one == option for one, _, _ in found)
    }
    ends = "; ".join(
        f"{OPTIONS[option]}: {number(points[min(points)].median)} at {min(points):,}, "
        f"{number(points[max(points)].median)} at {max(points):,} {over}"
        for option, points in curves.items()
    )

    def draw(axes: Axes) -> None:
        lowest = min(spread.median for points in curves.values() for spread in points.values())
        for option, points in curves.items():
            sizes = sorted(points)
            colour = COLOURS[option]
            axes.fill_between(
                sizes,
                [points[size].low for size in sizes],
                [points[size].high for size in sizes],
                color=colour,
                alpha=0.15,
                lw=0,
            )
            axes.plot(
                sizes,
                [points[size].median for size in sizes],
                color=colour,
                marker=MARKERS[option],
                ms=4,
                lw=1.5,
                label=OPTIONS[option],
            )
        axes.set_xscale("log")
        if lowest > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel(over)
        axes.set_ylabel(what.rsplit(", ", 1)[-1])
        sizes = sorted({size for points in curves.values() for size in points})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        legend(axes, columns=len(curves))

    return figure(draw, name, f"{what}. {ends}.", height=2.7, width=6.0)
