"""What the command prints: the columns side by side, the settings, and the ADR's window alone; pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from reports.render.what_if import MARK, gone_shown, headline
from reports.what_if import Column, WhatIf, cells, rows
from sim.what_if.settings import SETTINGS, Setting

STYLES = {"held": "green", "violated": "bold red"}
OPEN = "yellow"
TOLD_SHOWN_MAX = 4
"""Agents; the page and the JSON have all."""
WINDOW_SHOWN = (
    "verdict", "reason", "days", "events", "deliveries", "wall_s", "memory_mb", "steps", "trace_sha256",
    "redelivered", "redispatched", "pending",
)  # fmt: skip
"""Of the ADR's window alone, what people are shown; its JSON has all."""


def shown(found: WhatIf) -> tuple[Table, Text]:
    """The table, then what was asked of each column, what its agents were told, and the command that plays it alone."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for one in found.columns:
        table.add_column(one.name, justify="right", no_wrap=True)
    for row in rows(found):
        texts = [Text(row.label, style="bold" if row.is_prominent else "")]
        for one, cell in zip(found.columns, cells(found, row), strict=True):
            style = STYLES.get(one.verdict, OPEN) if row.label == "verdict" else "bold" if row.is_prominent else ""
            texts.append(Text(f"{cell.text} {MARK if cell.differs else ' '}", style=style))
        table.add_row(*texts)
    notes = Text()
    if len(found.columns) > 1:
        notes.append(f"{MARK} differs from {found.columns[0].name}\n")
    for one in found.columns:
        notes.append("\n")
        notes.append(one.name, style="bold")
        notes.append(f" {one.verdict}; told gone: {gone_shown(one)}\n")
        for line in (*_told(one), *_asked(one), *([one.reason] if one.verdict != "held" else [])):
            notes.append(f"  {line}\n")
        notes.append(f"  again: {one.command}\n", style="dim")
    notes.append(f"\n{headline(found)}", style="bold")
    return table, notes


def _told(column: Column) -> list[str]:
    """Who was told of most, where anybody was."""
    by_agent = column.figures.told_gone_by_agent if column.figures else {}
    most = sorted(by_agent.items(), key=lambda one: (-one[1].total, one[0]))
    parts = [f"{agent} {gone.critical:,} critical, {gone.standard:,} standard" for agent, gone in most[:TOLD_SHOWN_MAX]]
    rest = len(most) - TOLD_SHOWN_MAX
    return [f"told: {'; '.join(parts)}{f'; and {rest:,} more agents' if rest > 0 else ''}"] if parts else []


def _asked(column: Column) -> list[str]:
    words = [", ".join(column.settings)] if column.settings else []
    return [*words, *column.outages, *column.notes] or ["the ADR's window as it was"]


def window_document(column: Column) -> dict[str, Any]:
    """The ADR's window alone, for programs."""
    figures = column.figures
    return {
        "schema": "meshrelay-window-1",
        "verdict": column.verdict,
        "reason": column.reason,
        "days": column.days,
        "events": figures.events if figures else 0,
        "deliveries": figures.deliveries if figures else 0,
        "wall_s": column.wall_s,
        "cpu_s": column.cpu_s,
        "memory_mb": column.memory_mb,
        "steps": column.steps,
        "trace_sha256": column.trace_sha256,
        **({name: getattr(figures, name) for name in ("redelivered", "redispatched", "pending")} if figures else {}),
        "command": column.command,
        "figures": msgspec.to_builtins(figures),
    }


def settings_shown() -> str:
    """Every name with its default, what it may be, and what it is."""
    lines = [("name", "default", "allowed", "what it is")]
    lines += [(one.name, _default(one), one.range_shown, one.what) for one in SETTINGS.values()]
    widths = [max(len(line[at]) for line in lines) for at in range(3)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(line[:3], widths, strict=True)), line[3]])
        for line in lines
    )


def settings_json() -> str:
    """The same for programs; durations in s."""
    found = [
        {
            "name": one.name,
            "unit": one.unit.value,
            "default": one.default,
            "default_shown": _default(one),
            "min": None if one.words else one.low,
            "max": None if one.words else one.high,
            "words": list(one.words),
            "can_be_off": one.can_be_off,
            "why": one.why,
            "what": one.what,
        }
        for one in SETTINGS.values()
    ]
    return json.dumps({"schema": "meshrelay-what-if-settings-1", "settings": found}, indent=1)


def _default(one: Setting) -> str:
    return one.default_shown or one.value_shown(one.default)
