"""The costs by the number of agents as one table, for the ADR, a pull request and the page."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.options import METRICS, OPTIONS, REPLAY_WORDS, OptionsReport, Spread
from reports.render.numbers import number

CONSUMERS = "consumers"
MEASURED = METRICS | {CONSUMERS: "JetStream consumers for these agents (counted, none of the costs)"}


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Heads and rows of text; the first cell of each names it."""

    heads: list[str]
    rows: list[list[str]]
    options: str
    """In which order a cell has the options' medians."""


def tables(report: OptionsReport) -> list[Table]:
    """Costs by the number of agents, and replays by the number of events missed; those that were measured."""
    costs = {
        (MEASURED[row.metric], row.transport, row.agents): row.spread for row in report.rows if row.metric in MEASURED
    }
    replays = {(REPLAY_WORDS, one.transport, one.gap): one.spread for one in report.replays}
    return [
        _table(found, names, first)
        for found, names, first in (
            (costs, list(MEASURED.values()), "agents"),
            (replays, [REPLAY_WORDS], "events missed"),
        )
        if found
    ]


def _table(found: dict[tuple[str, str, int], Spread], names: Sequence[str], over: str) -> Table:
    options = [name for name in OPTIONS if any(one == name for _, one, _ in found)]
    sizes = sorted({size for _, _, size in found})
    rows = [
        [name, *(" / ".join(_median(found.get((name, one, size))) for one in options) for size in sizes)]
        for name in names
        if any(one == name for one, _, _ in found)
    ]
    heads = [f"{over}:", *(f"{size:,}" for size in sizes)]
    return Table(heads=heads, rows=rows, options=" / ".join(OPTIONS[one] for one in options))


def _median(spread: Spread | None) -> str:
    return "—" if spread is None else number(spread.median)


def markdown(report: OptionsReport) -> list[str]:
    """The tables, with what is in a cell."""
    lines: list[str] = []
    for table in tables(report):
        lines += [f"Medians of {table.options}:", ""]
        lines += ["| " + " | ".join(table.heads) + " |", "|---" + "|---:" * (len(table.heads) - 1) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
    return lines
