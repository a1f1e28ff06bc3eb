"""The simulated scale question, as a part of the options' comparison: Markdown lines and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from reports.option_words import sentence_of
from reports.options import OPTIONS, SIMULATED, OptionsReport, Spread
from reports.scale import tally

ENDS = ("agent", "nats", "postgres", "redis")
"""Who is at the other end of the relay's links, or is asked by it."""
CAVEAT = (
    "Counted in the simulated world, in which servers take no processor time: times are those of round trips and syncs "
    "between hosts in one rack, not of work. Medians and ranges are over seeds, which differ in the order of "
    "simultaneous work, in the jitter of links and in the hosts' clocks."
)
Shown = Callable[[Spread | None], str]


def markdown(report: OptionsReport, options: Sequence[str], shown: Shown) -> list[str]:
    """Tables, crossings and agreement; nothing if nothing was counted."""
    if not report.simulated_rows and not report.simulated_replays:
        return []
    lines = ["## The same in the simulated world", "", CAVEAT, ""]
    head, rule = " | ".join(OPTIONS[one] for one in options), "|---:" * (len(options) + 1) + "|"
    for metric, what in SIMULATED.items():
        found = {(one.transport, one.agents): one.spread for one in report.simulated_rows if one.metric == metric}
        if found:
            lines += [f"**{what}**", "", f"| agents | {head} |", rule]
            for size in sorted({agents for _, agents in found}):
                lines.append(f"| {size:,} | " + " | ".join(shown(found.get((one, size))) for one in options) + " |")
            lines.append("")
    if report.simulated_replays:
        lines += ["**replay of a gap: ms; round trips; requests to servers**", "", f"| events missed | {head} |", rule]
        for gap in sorted({one.gap for one in report.simulated_replays}):
            cells = {
                one.transport: f"{shown(one.replay_ms)}; {shown(one.round_trips)}; {shown(one.requests)}"
                for one in report.simulated_replays
                if one.gap == gap
            }
            lines.append(f"| {gap:,} | " + " | ".join(cells.get(one, shown(None)) for one in options) + " |")
        lines.append("")
    lines += [f"- {sentence_of(one)}" for one in report.simulated_crossings] + [""]
    if report.agreement:
        lines += ["### Simulation and real stack", "", tally(report.agreement), ""]
        lines += [f"- {one}" for one in report.agreement] + [""]
    return lines


def pictures(report: OptionsReport) -> list[tuple[str, Markup]]:
    """A picture for each cost, and one of replays."""
    # the plotting library is slow to load, and every command would wait for it
    from reports.render import curves

    found = []
    for metric, what in SIMULATED.items():
        rows = [row for row in report.simulated_rows if row.metric == metric]
        if rows:
            found.append((what, Markup(curves.costs(metric, what, rows, "simulated-"))))
    if report.simulated_replays:
        found.append(("replay of a gap, ms", Markup(curves.counted(report.simulated_replays))))
    return found
