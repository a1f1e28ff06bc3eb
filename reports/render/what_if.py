"""A window's variants for people: a page, and Markdown that reads well beside the ADR."""

from __future__ import annotations

from collections.abc import Mapping

from reports.render.markdown import MARKS
from reports.render.pages import rendered
from reports.report import Verdict
from reports.told_gone import ToldGone
from reports.what_if import Column, WhatIf, cells, rows

MARK = "≠"
"""Behind a figure that differs from the first column's."""


def headline(found: WhatIf) -> str:
    """The answer in one sentence: what held, and at which price."""
    held = [one for one in found.columns if one.verdict == "held"]
    parts = [f"{len(held)} of {len(found.columns)} held" if len(found.columns) > 1 else f"{found.verdict}"]
    parts += [f"{one.name}: {one.verdict}" for one in found.columns if one.verdict != "held" and len(found.columns) > 1]
    told = [f"{one.name} {gone_shown(one)}" for one in found.columns if one.figures and one.figures.told_gone.total]
    if told or all(one.figures for one in found.columns):
        parts.append(f"told gone: {'; '.join(told)}" if told else "nothing was told gone")
    return ". ".join(parts) + "."


def gone_shown(column: Column) -> str:
    """What a column's agents were told is gone, in a few words."""
    if column.figures is None:
        return "unknown"
    gone = column.figures.told_gone
    classes = [
        f"{count:,} {name}" for name, count in (("critical", gone.critical), ("standard", gone.standard)) if count
    ]
    agents = len(column.figures.told_gone_by_agent)
    return f"{' and '.join(classes) or 'none'} ({agents:,} {'agent' if agents == 1 else 'agents'})"


def markdown(found: WhatIf) -> str:
    """The answer first, then the table, what was asked, and who was told."""
    lines = [f"## {MARKS.get(found.verdict, '⚠️')} {headline(found)}", ""]
    lines += ["| | " + " | ".join(_cell(one.name) for one in found.columns) + " |"]
    lines += ["|---" + "|---:" * len(found.columns) + "|"]
    for row in rows(found):
        shown = [f"{cell.text} {MARK}" if cell.differs else cell.text for cell in cells(found, row)]
        shown = [f"**{text}**" for text in shown] if row.is_prominent else shown
        lines.append(f"| {row.label} | " + " | ".join(shown) + " |")
    if len(found.columns) > 1:
        lines += ["", f"{MARK} differs from {found.columns[0].name}."]
    for one in found.columns:
        lines += ["", f"**{one.name}** {one.verdict}: {one.reason}", ""]
        lines += [f"- `{word}`" for word in one.settings] + [f"- {text}" for text in one.outages]
        lines += [f"- {note}" for note in one.notes]
        lines += ["" if one.settings or one.outages or one.notes else "- the ADR's window as it was", ""]
        lines += ["```", one.command, "```"]
    told = told_by_agent(found)
    if told:
        lines += ["", "### Who was told that events are gone (critical + standard)", ""]
        lines += ["| agent | " + " | ".join(_cell(one.name) for one in found.columns) + " |"]
        lines += ["|---" + "|---:" * len(found.columns) + "|"]
        lines += [f"| {agent} | " + " | ".join(_gone(gone) for gone in gones) + " |" for agent, gones in told.items()]
    lines += ["", f"All of it again: `{found.command}`"]
    return "\n".join(lines).rstrip() + "\n"


def html(found: WhatIf, promises: Mapping[str, str]) -> str:
    """One self-contained page; equal comparisons give equal pages. `promises` are the guarantees'."""
    return rendered(
        "what_if.html.j2",
        w=found,
        headline=headline(found),
        rows=[(row, cells(found, row)) for row in rows(found)],
        promises=promises,
        told=told_by_agent(found),
        most=max((gone.total for gones in told_by_agent(found).values() for gone in gones), default=1) or 1,
        gone_shown=gone_shown,
        mark=MARK,
        tag=_tag,
    )


def told_by_agent(found: WhatIf) -> dict[str, list[ToldGone]]:
    """By agent that was told anything in any column: what it was told in each."""
    by_column = [one.figures.told_gone_by_agent if one.figures else {} for one in found.columns]
    names = sorted({name for told in by_column for name in told})
    return {name: [told.get(name, ToldGone()) for told in by_column] for name in names}


def _tag(verdict: Verdict) -> str:
    return verdict if verdict in ("held", "violated") else "open"


def _gone(gone: ToldGone) -> str:
    return f"{gone.critical:,} + {gone.standard:,}" if gone.total else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
