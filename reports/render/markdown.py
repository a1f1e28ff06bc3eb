"""The report as Markdown that reads well in a pull request."""

from __future__ import annotations

import re

from reports.report import Report

MARKS = {"held": "✅", "violated": "❌"}
"""A verdict at a glance; what is neither is open."""
FINDINGS_MAX = 20


def render(report: Report) -> str:
    """The whole text; long tables are folded away."""
    lines = [
        f"## {MARKS.get(report.verdict, '⚠️')} {report.verdict}: {report.reason}",
        "",
        f"Plan `{report.plan}`, seed {report.seed}, {report.world} world, {report.duration_s:.0f} s, "
        f"{report.started_at}.",
        "",
        "| " + " | ".join(report.counts) + " |",
        "|" + " ---: |" * len(report.counts),
        "| " + " | ".join(f"{number:,}" for number in report.counts.values()) + " |",
        "",
        "| | promise | verdict | trials |",
        "|---|---|---|---:|",
    ]
    for one in report.guarantees:
        mark = MARKS.get(one.verdict, "⚠️")
        count = f" ({one.findings:,})" if one.findings else ""
        lines.append(f"| {one.guarantee} | {one.promise} | {mark} {one.verdict}{count} | {one.trials:,} {one.trial} |")
    if report.findings:
        lines += ["", "### Findings", "", "| kind | agent | event | cursor | at | what |", "|---|---|---|---|---:|---|"]
        for found in report.findings[:FINDINGS_MAX]:
            cells = [f"{found.guarantee} {found.kind}", _cell(found.agent or ""), _code(found.event)]
            cells += [_code(found.cursor), f"{found.at_s:.2f} s", _cell(found.detail)]
            lines.append("| " + " | ".join(cells) + " |")
        rest = len(report.findings) - FINDINGS_MAX + report.findings_omitted
        if rest > 0:
            lines += ["", f"…and {rest:,} more."]
    if report.faults:
        lines += ["", f"<details><summary>{len(report.faults)} faults with proof</summary>", ""]
        lines += ["| fault | on | from – to | took effect | proof |", "|---|---|---|---|---|"]
        for fault in report.faults:
            until = "" if fault.lifted_s is None else f"{fault.lifted_s:.1f}"
            where = fault.target + (f" ({fault.direction})" if fault.direction else "")
            cells = [fault.what, where, f"{fault.asked_s:.1f} – {until} s", "yes" if fault.effective else "**no**"]
            lines.append("| " + " | ".join([*cells, _code(fault.proof)]) + " |")
        lines += ["", "</details>"]
    lines += ["", "Again:", "", "```", report.command, "```", ""]
    lines += [f"> {note}\n" for note in report.notes]
    if report.versions:
        lines.append(", ".join(f"{name} {version}" for name, version in report.versions.items()) + ".")
    return "\n".join(lines).rstrip() + "\n"


def _code(text: str | None) -> str:
    """A cell of code: an id may hold any printable ASCII, back-ticks and bars too."""
    if not text:
        return ""
    marks = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in text else ""
    return f"{marks}{pad}{_cell(text)}{pad}{marks}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
