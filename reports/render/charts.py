"""The report's charts as inline SVG; colours come from the page's style, so that one picture serves light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.report import LATENCY_OPEN_MS, Report

# Stand-ins that `_themed` turns into the page's CSS variables.
INK, MUTED, ACCENT, SECOND, BAD, SHADE = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
PAPER = "#070707"
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    ACCENT: "accent",
    SECOND: "second",
    BAD: "bad",
    SHADE: "shade",
    PAPER: "paper",
}
_OUTCOMES = {"replay": ACCENT, "nothing missed": MUTED, "gap": SECOND, "410": BAD, "refused": INK}
_OUTCOME_NAMES = {
    "replay": "full replay",
    "nothing missed": "nothing missed",
    "gap": "partial gap told",
    "410": "410 told",
}


def timeline(report: Report) -> str:
    """Publishes and deliveries per second, faults as shading, relay kills as lines."""
    kills = f"{len(report.kills_s)} relay kills" if report.kills_s else "no kills"
    text = (
        f"Events published and delivered per second over {report.duration_s:.0f} s, "
        f"with {len(report.faults)} faults and {kills}."
    )

    def draw(axes: Axes) -> None:
        seconds = [second.at_s for second in report.timeline]
        for fault in report.faults:
            if fault.what != "kill":
                axes.axvspan(fault.asked_s, fault.lifted_s or fault.asked_s + 0.3, color=SHADE, alpha=0.45, lw=0)
        axes.plot(
            seconds,
            [second.delivered / report.slice_s for second in report.timeline],
            color=ACCENT,
            lw=1.6,
            label="delivered",
        )
        axes.plot(
            seconds,
            [second.published / report.slice_s for second in report.timeline],
            color=SECOND,
            lw=1.6,
            label="published",
        )
        for number, at_s in enumerate(report.kills_s):
            axes.axvline(at_s, color=BAD, lw=1.4, ls="--", label="relay killed" if number == 0 else None)
        if report.healed_s is not None:
            axes.axvline(report.healed_s, color=MUTED, lw=1, ls=":", label="healed")
        axes.set_xlabel("seconds since the start (shaded: a fault is on)")
        axes.set_ylabel("events per second")
        axes.set_ylim(bottom=0)
        legend(axes, columns=4)

    return figure(draw, "timeline", text, height=3.0)


def reconnect_gaps(report: Report) -> str:
    """Each reconnect by how long the agent was away, and what it was given."""
    shown = [gap for gap in report.gaps if gap.outcome in _OUTCOME_NAMES]
    text = f"{len(shown)} reconnects by the time away; the two lines are the retention of standard and critical events."

    def draw(axes: Axes) -> None:
        rows = list(_OUTCOME_NAMES)
        for row, outcome in enumerate(rows):
            points = [gap.away_s for gap in shown if gap.outcome == outcome]
            # spread by order, not by chance, so that equal reports give equal pictures
            heights = [row + ((index * 7) % 11 - 5) / 18 for index in range(len(points))]
            axes.scatter(points, heights, s=18, color=_OUTCOMES[outcome], alpha=0.75, lw=0)
        for name, at_s in (("standard", report.retention_standard_s), ("critical", report.retention_critical_s)):
            axes.axvline(at_s, color=MUTED, lw=1, ls="--")
            axes.text(at_s, len(rows) - 0.4, f" {name} {at_s:g} s", color=MUTED, fontsize=8, va="bottom")
        axes.set_yticks(range(len(rows)), [_OUTCOME_NAMES[row] for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.1)
        axes.set_xlabel("seconds away")

    return figure(draw, "gaps", text, height=2.4)


def latency(report: Report) -> str:
    """How long live events took from publish to delivery."""
    found = report.latency
    if found is None or not found.counts:
        return ""
    text = f"Publish to delivery of {found.count} live events: median {found.p50_ms:.0f} ms, p99 {found.p99_ms:.0f} ms."

    def draw(axes: Axes) -> None:
        axes.bar(range(len(found.counts)), found.counts, color=ACCENT, width=0.85)
        axes.set_xticks(range(len(found.counts)), [_bound(bound) for bound in found.bounds_ms], fontsize=8)
        axes.set_xlabel("ms, at most")
        axes.set_ylabel("events")

    return figure(draw, "latency", text, height=2.2)


def figure(draw: Callable[[Axes], None], name: str, text: str, *, height: float, width: float = 8.2) -> str:
    """One picture as inline SVG in the page's colours, with its text alternative; equal drawings give equal bytes."""
    settings: Any = {
        "svg.hashsalt": "meshrelay",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(settings):
        canvas = Figure(figsize=(width, height), layout="constrained")
        axes = canvas.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        out = io.StringIO()
        canvas.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(out.getvalue(), name, text)


def _themed(svg: str, name: str, text: str) -> str:
    """Only the svg element, scalable, with a text alternative and the page's colours."""
    svg = svg[svg.index("<svg") :]
    head, rest = svg.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        rest = rest.replace(colour, f"var(--{variable})")
    # the page holds several pictures, and matplotlib numbers the parts of each from 1
    rest = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", rest)
    label = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'{head} role="img" aria-label="{label}"><title>{label}</title>{rest}'


def legend(axes: Axes, *, columns: int) -> None:
    """Above the picture, in so many columns."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=columns, frameon=False, fontsize=8)


def _bound(bound_ms: float) -> str:
    return "more" if bound_ms >= LATENCY_OPEN_MS else f"{bound_ms:g}"
