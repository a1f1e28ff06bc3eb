"""The options' comparison for people: a page with pictures, and Markdown that reads well in a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from reports.option_words import sentence_of
from reports.options import METRICS, OPTIONS, REPLAY_WORDS, SIMULATED, Cell, OptionsReport, Row
from reports.render import scale
from reports.render.markdown import MARKS
from reports.render.numbers import spread
from reports.render.pages import rendered
from reports.scale import tally

PARTS = ("relay", "nats", "postgres", "redis")


def markdown(report: OptionsReport) -> str:
    """The answer first, then the table of guarantees, then the costs."""
    lines = ["## " + (report.answer[0] if report.answer else "Nothing was measured."), ""]
    lines += [f"- {line}" for line in report.answer[1:]] + [""]
    options = shown_options(report)
    lines += ["| | " + " | ".join(OPTIONS[one] for one in options) + " |", "|---" * (len(options) + 1) + "|"]
    for guarantee, cells in by_guarantee(report):
        lines.append(f"| {guarantee} | " + " | ".join(_cell(cell) for cell in cells) + " |")
    lines.append("")
    for cell in report.cells:
        if cell.verdict in ("violated", "not offered"):
            lines += [f"**{cell.guarantee}, {OPTIONS[cell.transport]}: {cell.verdict}**: {cell.why}", ""]
            lines += ["```", cell.command, "```", ""] if cell.command else []
    for metric, what in METRICS.items():
        rows = [row for row in report.rows if row.metric == metric]
        if rows:
            lines += [f"**{what}** (median, range)", "", *_table(rows, options), ""]
    if report.replays:
        lines += [f"**{REPLAY_WORDS}** (median, range; by its length, so none of the {len(METRICS)} costs above)", ""]
        gaps = sorted({one.gap for one in report.replays})
        lines += ["| events missed | " + " | ".join(OPTIONS[one] for one in options) + " |"]
        lines += ["|---:" * (len(options) + 1) + "|"]
        for gap in gaps:
            found = {one.transport: one.spread for one in report.replays if one.gap == gap}
            lines.append(f"| {gap:,} | " + " | ".join(spread(found.get(one)) for one in options) + " |")
        lines.append("")
    lines += [f"- {sentence_of(one)}" for one in (*report.crossings, *report.replay_crossings)] + [""]
    lines += scale.markdown(report, options, spread)
    lines += [f"`{command}`: {what}" + "\n" for what, command in report.commands.items()]
    lines += [f"> missing: {what}\n" for what in report.missing]
    return "\n".join(lines).rstrip() + "\n"


def html(report: OptionsReport, promises: Mapping[str, str]) -> str:
    """One self-contained page; equal reports give equal pages. `promises` are the guarantees'."""
    return rendered(
        "options.html.j2",
        r=report,
        options=shown_options(report),
        names=OPTIONS,
        metrics=METRICS,
        guarantees=by_guarantee(report),
        promises={name: text.split(":")[0] for name, text in promises.items()},
        pictures=_pictures(report),
        rows=report.rows,
        parts=PARTS,
        spread=spread,
        sentence_of=sentence_of,
        simulated=SIMULATED,
        simulated_pictures=scale.pictures(report),
        ends=scale.ENDS,
        tally=tally,
        caveat=scale.CAVEAT,
    )


def shown_options(report: OptionsReport) -> list[str]:
    """The options that anything is known of, in their order."""
    found = {cell.transport for cell in report.cells} | {row.transport for row in report.rows}
    found |= {row.transport for row in report.simulated_rows}
    return [name for name in OPTIONS if name in found]


def by_guarantee(report: OptionsReport) -> list[tuple[str, list[Cell]]]:
    """The table's lines: each guarantee with its cells in the options' order."""
    options = shown_options(report)
    names = sorted({cell.guarantee for cell in report.cells})
    found = {(cell.guarantee, cell.transport): cell for cell in report.cells}
    return [(name, [found[name, one] for one in options if (name, one) in found]) for name in names]


def _cell(cell: Cell) -> str:
    mark = MARKS.get(cell.verdict, "⚠️" if cell.verdict == "not run" else "➖")
    runs = f"{cell.seeds:,} seeds" + (f", {cell.real_runs} real runs" if cell.real_runs else "")
    return f"{mark} {cell.verdict} ({runs})"


def _table(rows: Sequence[Row], options: Sequence[str]) -> list[str]:
    sizes = sorted({row.agents for row in rows})
    found = {(row.transport, row.agents): row.spread for row in rows}
    lines = ["| agents | " + " | ".join(OPTIONS[one] for one in options) + " |", "|---:" * (len(options) + 1) + "|"]
    return lines + [
        f"| {size:,} | " + " | ".join(spread(found.get((one, size))) for one in options) + " |" for size in sizes
    ]


def _pictures(report: OptionsReport) -> list[tuple[str, Markup]]:
    """A picture for each cost, and one of replays."""
    # the plotting library is slow to load, and every command would wait for it
    from reports.render import curves

    found = [
        (what, Markup(curves.costs(metric, what, [row for row in report.rows if row.metric == metric])))
        for metric, what in METRICS.items()
        if any(row.metric == metric for row in report.rows)
    ]
    if report.replays:
        found.append((REPLAY_WORDS, Markup(curves.replays(report.replays))))
    return found
