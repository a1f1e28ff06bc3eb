"""`meshrelay sim determinism`: the same seeds in two processes that hash differently."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from faults.planted.straying import STRAYING
from sim.campaign_cli import seeds_of
from sim.determinism import HASH_SEEDS, Strayed, strayed


def determinism_command(
    seeds: Annotated[str, typer.Option("--seeds", help="A..B, both included.")] = "0..199",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = os.cpu_count() or 1,
    whole: Annotated[bool, typer.Option("--whole", help="Play each plan to its end, not only its beginning.")] = False,
    stray: Annotated[str | None, typer.Option("--stray", help="Have the relay stray on purpose.")] = None,
) -> None:
    """Play every seed twice, under different PYTHONHASHSEEDs; name the first segment that differs, if one does.

    Exit codes: 0 all the same, 1 a seed is not the whole truth, 2 usage.
    """
    if stray is not None and stray not in STRAYING:
        typer.echo(f"--stray: expected one of {', '.join(sorted(STRAYING))}, got {stray!r}", err=True)
        raise typer.Exit(2)
    wanted = seeds_of(seeds)
    columns = (TextColumn("plays"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("plays", total=len(wanted) * len(HASH_SEEDS))
        found = list(strayed(wanted, jobs=jobs, bug=stray, whole=whole, told=lambda _: progress.advance(task)))
    for one in found:
        typer.echo(shown(one))
    same = len(wanted) - len(found)
    typer.echo(f"{same} of {len(wanted)} seeds left the same trace under PYTHONHASHSEED {' and '.join(HASH_SEEDS)}")
    raise typer.Exit(1 if found else 0)


def shown(one: Strayed) -> str:
    """A seed that strayed, for people."""
    return f"seed {one.seed}: " + one.difference.shown(*(f"PYTHONHASHSEED={hash_seed}" for hash_seed in HASH_SEEDS))
