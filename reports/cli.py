"""Judging one history and showing its report, for commands."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports import progress
from reports.api import Written, judge, write_report
from reports.history import HistoryInvalid
from reports.parts import history_in
from reports.report import Report, encode
from system.exits import COULD_NOT_RUN

COLOURS = {"held": "green", "violated": "red"}


def judge_one(history: Path, out: Path, *, as_json: bool) -> NoReturn:
    """Judge a history, or a run's folder, write its report, show it, and end the command with its exit code."""
    console = Console(stderr=as_json)
    try:
        with progress.shown() as watch:
            report = judge(history_in(history), watch=watch)
        show(report, write_report(report, out), console, as_json=as_json)
    except (HistoryInvalid, OSError) as error:
        console.print(f"[red]could not run[/]: {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(COULD_NOT_RUN) from None
    raise typer.Exit(report.exit_code)


def show(report: Report, written: Written, console: Console, *, as_json: bool) -> None:
    """Print a report's verdict, numbers and path, or all of it as JSON."""
    if as_json:
        typer.echo(encode(report).decode())
    print_report(report, written, console)


def print_report(report: Report, written: Written, console: Console) -> None:
    """The verdict, the numbers and the path, for a person."""
    colour = COLOURS.get(report.verdict, "yellow")
    console.print()
    console.print(f"[bold {colour}]{report.verdict}[/]: {escape(report.reason)}", soft_wrap=True)
    numbers = Table.grid(padding=(0, 2))
    numbers.add_column(justify="right")
    numbers.add_column()
    for name, number in report.counts.items():
        numbers.add_row(f"{number:,}", name)
    console.print(numbers)
    table = Table("", "promise", "verdict", "trials", box=None, padding=(0, 1))
    for one in report.guarantees:
        shade = COLOURS.get(one.verdict, "yellow")
        count = f" ({one.findings})" if one.findings else ""
        table.add_row(
            one.guarantee, one.promise.split(":")[0], f"[{shade}]{one.verdict}{count}[/]", f"{one.trials:,} {one.trial}"
        )
    console.print(table)
    for found in report.findings[:10]:
        who = f"{found.agent or ''} {found.event or ''}".strip()
        console.print(
            f"  [red]{found.kind}[/] at {found.at_s:.2f} s {escape(f'{who}: {found.detail}')}", soft_wrap=True
        )
    if len(report.findings) > 10:
        console.print(f"  …and {len(report.findings) - 10 + report.findings_omitted:,} more in the report")
    console.print(f"again:  {escape(report.command)}", soft_wrap=True)
    console.print(f"report: {escape(str(written.html))}", soft_wrap=True)
