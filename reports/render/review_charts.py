"""The review's pictures: what an absence costs, how long each part may be away, which faults were played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log1p

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from reports.options import CHOSEN, OPTIONS
from reports.render.charts import ACCENT, BAD, INK, MUTED, PAPER, SECOND, SHADE, figure, legend
from reports.review.document import EnvelopeRow, FaultTotal, GapRow, GapTotal
from reports.review.words import PARTS, duration

CLASSES = ("standard", "critical")


def gaps(rows: Sequence[GapRow], totals: Sequence[GapTotal]) -> str:
    """What became of the events that an agent missed, by how long it was away; a half of each bar for each class."""
    option = next((row.transport for row in rows if row.transport == CHOSEN), rows[0].transport)
    shown = [row for row in rows if row.transport == option]
    lengths = sorted({row.gap_s for row in shown})
    total = next(one for one in totals if one.transport == shown[0].transport)
    text = (
        f"{total.agents:,} absences of {duration(lengths[0])} to {duration(lengths[-1])}: of {total.events:,} "
        f"missed events {total.delivered:,} were delivered, {total.told:,} told gone, {total.lost:,} lost without a "
        "word."
    )

    def draw(axes: Axes) -> None:
        places = {length: place for place, length in enumerate(lengths)}
        for half, name in enumerate(CLASSES):
            by_length = {row.gap_s: row for row in shown if row.retention_class == name}
            for length, row in by_length.items():
                left, bottom = places[length] - 0.4 + half * 0.41, 0.0
                for part, colour in (("delivered", ACCENT), ("told", SECOND), ("lost", BAD)):
                    share = getattr(row, part) / row.events if row.events else 0.0
                    alpha = 0.95 if name == "critical" else 0.6
                    axes.bar(left, share, 0.39, bottom=bottom, color=colour, alpha=alpha, align="edge", lw=0)
                    bottom += share
        for part, colour in (("delivered", ACCENT), ("told gone", SECOND), ("lost in silence", BAD)):
            axes.bar(0, 0, color=colour, label=part)
        for kept_s in sorted({row.retention_s for row in shown}):
            axes.axvline(sum(length < kept_s for length in lengths) - 0.5, color=MUTED, lw=1, ls="--")
        axes.set_xticks(range(len(lengths)), [duration(length) for length in lengths], rotation=70, fontsize=8)
        axes.set_yticks((0, 1), ("none", "all"))
        axes.set_xlabel("away; left half standard, right half critical events; dashed: the retentions")
        legend(axes, columns=3)

    return figure(draw, "absences", text, height=3.4)


def envelope(rows: Sequence[EnvelopeRow]) -> str:
    """For each part how long it may be away before something is gone, or broken."""
    shown = [row for row in rows if row.transport == CHOSEN] or list(rows)
    text = "How long each part may be away. " + " ".join(_said(row) for row in shown)

    def draw(axes: Axes) -> None:
        for place, row in enumerate(reversed(shown)):
            _bar(axes, place, row)
        axes.set_xscale("log")
        ticks = sorted({value for row in shown for value in (row.nothing_gone_s, row.longest_s) if value})
        axes.set_xticks(ticks, [duration(value) for value in ticks], rotation=35, fontsize=8)
        axes.minorticks_off()
        axes.set_yticks(range(len(shown)), [PARTS.get(row.what, row.what) for row in reversed(shown)])
        for colour, label in ((ACCENT, "nothing is gone"), (SHADE, "not known")):
            axes.barh(0, 0, color=colour, label=label)
        axes.plot([], [], color=SECOND, marker="s", lw=5, label="agents are told what is gone")
        axes.plot([], [], color=BAD, marker="X", lw=5, label="a promise is broken")
        axes.set_xlabel("away for")
        legend(axes, columns=4)

    return figure(draw, "envelope", text, height=0.9 + 0.42 * max(3, len(shown)))


def _bar(axes: Axes, place: int, row: EnvelopeRow) -> None:
    """One part's bar: safe, not known, told, broken; where told and broken begin there is a mark, too."""
    ends = [one for one in (row.told_s, row.broken_s) if one is not None]
    safe_s = row.nothing_gone_s or 1.0
    axes.barh(place, safe_s, color=ACCENT, height=0.5)
    if not ends:
        return
    axes.barh(place, min(ends) - safe_s, left=safe_s, color=SHADE, height=0.5)
    for from_s, until_s, colour, mark in (
        (row.told_s, row.broken_s, SECOND, "s"),
        (row.broken_s, None, BAD, "X"),
    ):
        if from_s is not None and (until_s is None or from_s < until_s):
            axes.barh(place, (until_s or row.longest_s) - from_s, left=from_s, color=colour, height=0.5)
            axes.plot([from_s], [place], color=colour, marker=mark, ms=9, mec=PAPER, mew=1, clip_on=False)


def _said(row: EnvelopeRow) -> str:
    safe = duration(row.nothing_gone_s) if row.nothing_gone_s is not None else "no time"
    told = f", told gone from {duration(row.told_s)}" if row.told_s is not None else ""
    broken = f", broken from {duration(row.broken_s)}" if row.broken_s is not None else ""
    return f"{OPTIONS[row.transport]}, {row.what}: nothing is gone up to {safe}{told}{broken}."


def covered(totals: Sequence[FaultTotal], count_of: Mapping[str, int]) -> str:
    """How often each kind of fault was played on each link and process."""
    kinds = sorted({one.kind for one in totals})
    targets = sorted({one.target for one in totals})
    text = (
        f"{count_of['pairs of both']:,} pairs of {count_of['kinds of faults']} kinds of faults and "
        f"{count_of['links and processes']} links and processes were played."
    )

    def draw(axes: Axes) -> None:
        most = max(one.count for one in totals)
        for one in totals:
            x, y = targets.index(one.target), len(kinds) - 1 - kinds.index(one.kind)
            shade = 0.06 + 0.3 * log1p(one.count) / log1p(most)
            axes.add_patch(Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=ACCENT, alpha=shade, lw=0))
            axes.text(x, y, f"{one.count:,}", ha="center", va="center", fontsize=8.5, color=INK)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks(range(len(targets)), targets, rotation=30, ha="right", fontsize=8.5)
        axes.set_yticks(range(len(kinds)), list(reversed(kinds)), fontsize=8.5)
        axes.set_xlim(-0.6, len(targets) - 0.4)
        axes.set_ylim(-0.6, len(kinds) - 0.4)

    return figure(draw, "covered", text, height=0.8 + 0.3 * len(kinds))
