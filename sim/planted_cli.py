"""`meshrelay sim planted`: breaks the relay in every known way, and counts the seeds until the judge notices."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from faults.planted import PLANTED, unknown
from faults.transports import Over, TransportName
from sim.hunt import SEEDS_MAX, STARTS, Hunt, hunt
from sim.workers import local_pool


def hunts(bugs: list[str], pool: Executor, *, seeds_max: int, transport: TransportName | None = None) -> Iterator[Hunt]:
    """Every bug from every start, as they come in."""
    waiting = [pool.submit(hunt, bug, start, seeds_max, transport) for bug in bugs for start in STARTS]
    for future in as_completed(waiting):
        yield future.result()


def planted_command(
    bug: Annotated[list[str] | None, typer.Option("--bug", help="Only this one; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = os.cpu_count() or 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="From each start, at most so many.")] = SEEDS_MAX,
    transport: Over = None,
) -> None:
    """Plant every known bug and hunt for it; a bug that gets away is a hole in the judge.

    Each is hunted over the first transport on whose path it lies, or with --transport those that lie on that one's.
    Exit codes: 0 all caught, 1 one got away, 2 usage.
    """
    there = [name for name, one in PLANTED.items() if transport is None or transport in one.over]
    problem = next(filter(None, (_refusal(name, there, transport) for name in sorted(bug or ()))), None)
    if problem is not None:
        typer.echo(f"--bug: {problem}", err=True)
        raise typer.Exit(2)
    names = bug or there
    found: dict[str, list[Hunt]] = {name: [] for name in names}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with local_pool(jobs) as pool, Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("hunts", total=len(names) * len(STARTS))
        for one in hunts(names, pool, seeds_max=seeds, transport=transport):
            found[one.bug].append(one)
            progress.advance(task)
            if len(found[one.bug]) == len(STARTS):
                seeds_of = ", ".join(str(hunted.seeds or "-") for hunted in found[one.bug])
                progress.console.print(f"{one.bug}: after {seeds_of} seeds", highlight=False)
    Console().print(_table(found, seeds, transport))
    escaped = [name for name, hunted in found.items() if any(one.seeds == 0 for one in hunted)]
    if escaped:
        typer.echo(f"got away within {seeds} seeds: {', '.join(escaped)}", err=True)
    raise typer.Exit(1 if escaped else 0)


def _refusal(name: str, there: list[str], transport: TransportName | None) -> str | None:
    """Why a bug can't be hunted, or None."""
    if name in there:
        return None
    if transport is None or name not in PLANTED:
        return unknown(name, there)
    why = PLANTED[name].not_over[transport]
    return f"expected a bug on the path of {transport.value}, which {name!r} is not: {why}"


def _table(found: dict[str, list[Hunt]], seeds_max: int, transport: TransportName | None) -> Table:
    table = Table(
        Column("bug", no_wrap=True, min_width=max(map(len, found))),
        Column("over"),
        Column("caught by", overflow="fold"),
        Column("seeds", justify="right"),
        Column("most", justify="right"),
        Column("s", justify="right"),
        title=f"Planted bugs: seeds and seconds until caught, medians of {len(STARTS)} starts",
    )
    for name, hunted in found.items():
        by = sorted({kind for one in hunted for kind in one.kinds})
        seeds = [one.seeds or math.inf for one in hunted]
        table.add_row(
            name,
            (transport or PLANTED[name].over[0]).value,
            ", ".join(by) or "nobody",
            _count(statistics.median(seeds), seeds_max),
            _count(max(seeds), seeds_max),
            f"{statistics.median(one.wall_s for one in hunted):.1f}",
        )
    return table


def _count(seeds: float, seeds_max: int) -> str:
    return f"{seeds:g}" if seeds <= seeds_max else f"> {seeds_max}"
