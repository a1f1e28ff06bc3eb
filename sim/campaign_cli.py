"""`meshrelay sim campaign`: many seeds on all cores, with what they reached and what they found."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from faults import seeds
from faults.paths import folder_to_write
from faults.plan import PlanInvalid
from faults.transports import Over, TransportName
from sim.campaign import Failures, Tally, campaign
from sim.marks import marks_over
from sim.old_client import NatsPy, as_option, running
from sim.trial import Trial
from sim.workers import local_pool
from system.exits import COULD_NOT_RUN, INTERRUPTED, USAGE, VIOLATED

SAID_EVERY_S = 60.0
SCHEDULER_S = 10.0
"""How long a scheduler is given to answer."""
BALANCE_SEEDS = 100
"""From so many seeds on something can be said of how often each kind of fault was there."""
JUDGED_SEEDS = 1_000
"""A campaign of so many seeds must have hit every mark, with every kind of fault off in some and dominant in others."""


def campaign_command(
    named: Annotated[str, typer.Option("--seeds", help="From A to B, both included: A..B.")] = "0..299",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = os.cpu_count() or 1,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.1, help="Stop after so long.")] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="A dask scheduler's address, instead of local processes.")
    ] = None,
    failures: Annotated[
        Path,
        typer.Option(
            "--failures", callback=folder_to_write, help="Failing plans are kept here, and tried first the next time."
        ),
    ] = Path("out/sim/failures"),
    transport: Over = None,
    nats_py: NatsPy = None,
) -> None:
    """Try a plan for each seed; keep what fails, and try it first the next time.

    Exit codes: 0 every seed held, 1 some failed, 2 usage, 4 some put too little to the test, 130 interrupted. From
    1,000 seeds on also 1 if a mark was never hit, or a kind of fault never mattered; fewer can't be expected to.
    """
    chosen = seeds_of(named)
    with pool_of(jobs, scheduler) as pool:
        try:
            with progress_of(len(chosen) if len(chosen) < seeds.SEED_MAX else None) as told:
                tally = campaign(
                    chosen,
                    pool,
                    jobs=jobs,
                    failures=Failures(failures),
                    minutes=minutes,
                    transport=transport,
                    told=told,
                )
        except (PlanInvalid, OSError) as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(USAGE) from None
        _tell(tally, failures, transport)
        if tally.is_interrupted:  # within the pool, whose workers are ended at once
            raise typer.Exit(INTERRUPTED)
    if tally.failures or shortcomings(tally, transport):
        raise typer.Exit(VIOLATED)
    raise typer.Exit(COULD_NOT_RUN if tally.untried else 0)


def _tell(tally: Tally, failures: Path, transport: TransportName | None) -> None:
    if tally.is_interrupted:
        typer.echo(f"interrupted after {tally.trials} plans", err=True)
    typer.echo(f"nats-py {running()}\n{summary(tally, transport)}")
    for trial in tally.failures:
        typer.echo(f"{trial.plan}: {trial.verdict}: {trial.reason}")
        typer.echo(f"  again: meshrelay sim replay {failures / (trial.plan + '.json')}{as_option()}")


def seeds_of(text: str) -> range:
    """The seeds that `A..B` names, both included; ends the command if it names none."""
    try:
        return seeds.seeds_of(text)
    except seeds.SeedsInvalid as error:
        typer.echo(f"--seeds: {error}", err=True)
        raise typer.Exit(USAGE) from None


@contextmanager
def pool_of(jobs: int, scheduler: str | None) -> Iterator[Executor]:
    """Local processes, or a dask cluster's workers."""
    if scheduler is None:
        with local_pool(jobs) as pool:
            yield pool
        return
    try:
        from distributed import Client
    except ImportError:
        typer.echo("--scheduler: expected the package `distributed`; pip install 'meshrelay[cluster]'", err=True)
        raise typer.Exit(USAGE) from None
    typer.echo(f"connecting to the scheduler at {scheduler}, for up to {SCHEDULER_S:g} s …", err=True)
    try:
        client = Client(scheduler, timeout=SCHEDULER_S)
    except (OSError, ValueError) as error:
        typer.echo(
            f"--scheduler: expected a dask scheduler such as tcp://127.0.0.1:8786, got {scheduler}: {error}; start one "
            "with `dask scheduler`, or leave the option out",
            err=True,
        )
        raise typer.Exit(COULD_NOT_RUN) from None
    with client:
        yield client.get_executor()


@contextmanager
def progress_of(total: int | None) -> Iterator[Callable[[Tally, Trial], None]]:
    """A bar that says how many seeds are done and how many failed; where nobody sees a bar, a line a minute.

    Seeds without an end have no total.
    """
    console = Console(stderr=True)
    said_at = time.monotonic()
    done = TextColumn("{task.completed}") if total is None else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done, TimeElapsedColumn())
    of = "" if total is None else f" of {total}"
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("seeds", total=total)

        def told(tally: Tally, trial: Trial) -> None:
            nonlocal said_at
            if not console.is_terminal and time.monotonic() - said_at >= SAID_EVERY_S:
                said_at = time.monotonic()
                console.print(f"{tally.trials}{of} plans, {len(tally.failures)} failed", highlight=False)
            progress.update(task, completed=tally.trials, description=f"seeds, {len(tally.failures)} failed")

        yield told


def shortcomings(tally: Tally, transport: TransportName | None = None) -> list[str]:
    """What a campaign of this size ought to have reached and has not."""
    if tally.swarms < JUDGED_SEEDS:
        return []
    marks = marks_over(transport or TransportName.CURSOR)
    found = [f"mark never hit: {name} ({marks[name]})" for name in tally.missed(transport)]
    return found + [f"fault kind hardly ever off, or never dominant: {kind}" for kind in tally.unbalanced()]


def time_shown(simulated_s: float) -> str:
    """A simulated time in a unit that has something before its point."""
    for unit, length_s in (("hours", 3600.0), ("minutes", 60.0)):
        if simulated_s >= length_s:
            return f"{simulated_s / length_s:,.1f} simulated {unit}"
    return f"{simulated_s:.1f} simulated seconds"


def summary(tally: Tally, transport: TransportName | None = None) -> str:
    """What a campaign came to, for people."""
    marks = marks_over(transport or TransportName.CURSOR)
    median_s = statistics.median(tally.times_s) if tally.times_s else 0.0
    lines = [
        f"{tally.trials} plans: {tally.held} held, {len(tally.failures)} failed, {tally.untried} put too little to the "
        "test",
        f"{tally.events:,} events, {tally.deliveries:,} deliveries, {time_shown(tally.simulated_s)} in "
        f"{tally.wall_s:.0f} s; median {median_s:.2f} s a plan",
        f"{len(marks) - len(tally.missed(transport))} of {len(marks)} marks hit",
    ]
    if tally.swarms >= BALANCE_SEEDS:
        off = min(tally.off, key=lambda kind: tally.off[kind])
        leading = min(tally.off, key=lambda kind: tally.dominant[kind])
        lines.append(
            f"every kind of fault was left out by at least {tally.off[off] / tally.swarms:.0%} of the seeds ({off}), "
            f"and made up half of the faults in at least {tally.dominant[leading]} of them ({leading})"
        )
    return "\n".join([*lines, *shortcomings(tally, transport)])
