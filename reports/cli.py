"""`meshrelay report`: judges a history and writes its report; with `--run` it first plays the main plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports.api import Written, judge, write_report
from reports.history import HistoryInvalid
from reports.parts import history_in
from reports.report import Report, encode
from reports.verdict import NOTHING_ELSE, Witnessed

USAGE = 2
COULD_NOT_RUN = 4
COLOURS = {"held": "green", "violated": "red"}

PlayMainPlan = Callable[[int, Path], tuple[Path, Witnessed]]
"""(seed, folder) → the history's path and what the run saw; handed in, for this folder plays nothing itself."""


def register(app: typer.Typer, *, play_main_plan: PlayMainPlan, could_not_run: type[Exception]) -> None:
    """Add the sub-command; `could_not_run` is what playing raises when there was nothing to judge."""

    @app.command(rich_help_panel="Evidence")
    def report(
        history: Annotated[Path | None, typer.Argument(help="A history (JSONL), or a run's folder.")] = None,
        run: Annotated[
            bool, typer.Option("--run", help="Play the main plan on the real stack first (about 80 s).")
        ] = False,
        seed: Annotated[int, typer.Option(min=0, help="The main plan's seed.")] = 7,
        out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("out/report"),
        as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    ) -> None:
        """Judge a history and write its report: HTML, Markdown, JSON, JUnit.

        Exit code: 0 held, 1 violated, 3 not converged, 4 could not run.
        """
        console = Console(stderr=as_json)
        if run == (history is not None):
            console.print("expected either a HISTORY or --run")
            raise typer.Exit(USAGE)
        try:
            path, witnessed = (
                (history_in(history), NOTHING_ELSE) if history else play_main_plan(seed, _fresh(out / "run"))
            )
            show(judge(path, witnessed), out, console, as_json=as_json)
        except HistoryInvalid as error:
            console.print(f"[red]could not run[/]: {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(COULD_NOT_RUN) from None
        except could_not_run as error:
            console.print(f"[red]could not run[/]: {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(COULD_NOT_RUN) from None
        except OSError as error:
            console.print(f"[red]could not run[/]: {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(COULD_NOT_RUN) from None


def show(report: Report, out: Path, console: Console, *, as_json: bool) -> None:
    """Write the report, print its verdict, numbers and path, and exit with its code."""
    written = write_report(report, out)
    if as_json:
        typer.echo(encode(report).decode())
    print_report(report, written, console)
    raise typer.Exit(report.exit_code)


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


def _fresh(wanted: Path) -> Path:
    """A folder that does not exist yet: runs are kept beside each other, numbered."""
    number = 1
    while (place := wanted.with_name(f"{wanted.name}-{number}")).exists():
        number += 1
    return place
