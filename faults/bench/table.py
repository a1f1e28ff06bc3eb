"""The figures as a table for people."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from faults.bench.figures import Figure
from faults.bench.suite import Report


def render(report: Report) -> Group:
    """The table, and below it what each side does and in which circumstances."""
    title = f"Medians of {report.runs} runs, in turns; ratio: relay / bare, and its range over the runs"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("measured", min_width=18)
    for heading in ("relay", "bare", "unit", "ratio", "range", "target"):
        table.add_column(heading, justify="left" if heading in ("unit", "target") else "right", no_wrap=True)
    for figure in report.figures:
        low, high = figure.ratio_range
        table.add_row(
            figure.name,
            shown(figure.ours_median),
            shown(figure.bare_median),
            figure.unit,
            Text(f"{figure.ratio:.2f}", style="bold"),
            f"{low:.2f}-{high:.2f}",
            _judged(figure),
        )
    notes = Text()
    for figure in report.figures:
        notes.append(f"{figure.name}\n", style="bold")
        notes.append(f"  {figure.ours}\n  bare: {figure.bare}\n", style="dim")
    machine = ", ".join(f"{name} {value}" for name, value in (report.machine | report.versions).items())
    notes.append(machine, style="dim")
    if report.is_quick:
        notes.append("\nquick sizes: to see that it works, not to judge by", style="yellow")
    return Group(table, notes)


def shown(value: float) -> str:
    """A number with as many digits as it deserves."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _judged(figure: Figure) -> Text:
    if figure.target is None:
        return Text("")
    bound = str(figure.target).removeprefix("ratio ")
    return Text(f"{bound} met", style="green") if figure.is_met else Text(f"{bound} missed", style="red")
