"""`meshrelay bench`: measure the relay on the real stack, beside bare baselines."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console

from faults.bench import judge
from faults.bench.child import ChildFailed
from faults.bench.progress import Progress
from faults.bench.suite import RUNS, RUNS_QUICK, Report, What, run
from faults.bench.table import render
from faults.stack import StackError
from system.exits import COULD_NOT_RUN

Simulated = Callable[[Progress, int, bool], Report]
"""Measures the simulated world: progress, runs, whether it is quick."""


def register(app: typer.Typer, *, simulated: Simulated) -> None:
    """Add the sub-command to the root command; what measures the simulated world comes from whoever knows it."""

    @app.command(rich_help_panel="Evidence")
    def bench(
        what: Annotated[What, typer.Argument(help="What to measure; `all` is the relay.")] = What.ALL,
        runs: Annotated[
            int | None,
            typer.Option("--runs", min=1, help=f"Of each side, in turns; {RUNS}, or {RUNS_QUICK} with --quick."),
        ] = None,
        quick: Annotated[bool, typer.Option("--quick", help="Small sizes: see that it works, judge nothing.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
    ) -> None:
        """Measure the relay on NATS and PostgreSQL of its own, each figure as a ratio to a bare baseline."""
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        console = Console(stderr=True)
        count = runs or (RUNS_QUICK if quick else RUNS)
        try:
            with console.status("starting") as status:
                progress = Progress(show=status.update if console.is_terminal else console.print)
                if what is What.SIM:
                    report = simulated(progress, count, quick)
                elif what is What.JUDGE:
                    report = judge.measure(progress, count, quick)
                else:
                    report = _run(run(what, progress, runs=count, is_quick=quick))
        except (StackError, ChildFailed, OSError) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(COULD_NOT_RUN) from None
        if as_json:
            typer.echo(json.dumps(report.document(), indent=2, ensure_ascii=False))
        else:
            Console().print(render(report))


def _run(measuring: Coroutine[Any, Any, Report]) -> Report:
    """On the loop that the relay has in production."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(measuring)
    return uvloop.run(measuring)
