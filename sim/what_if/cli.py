"""`meshrelay sim window`: the ADR's window, and what it would have been with other settings and outages."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from faults.plan import Plan
from reports.api import write_what_if
from reports.what_if import Column, WhatIf, comparison, encode
from sim.what_if import table
from sim.what_if.outages import LINK_KINDS, PROCESS_KINDS
from sim.what_if.plans import notes_of, plan_of, sentences_of
from sim.what_if.playing import Job, play_all, was_interrupted
from sim.what_if.settings import DAY_S, DAYS_MAX
from sim.what_if.variants import AskedWrong, Variant, variants_of
from sim.window import DAYS
from system.exits import INTERRUPTED, USAGE

SAID_EVERY_S = 60.0
WIDTH_MIN = 100
"""Where nobody sees a terminal, a table is as wide as it needs to be."""

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Set this in every variant; --settings lists all names."),
]
OutageOf = Annotated[
    list[str] | None,
    typer.Option(
        "--outage",
        metavar="WHAT=LENGTH[@WHEN]",
        help="Take nats, postgres, redis, relay, relay-1, agents, an agent, a publisher or a link (relay-nats) away, "
        "such as nats=3h@2d; without WHEN in the middle. KIND:WHAT for another kind than kill or cut: "
        f"{', '.join([*PROCESS_KINDS, *LINK_KINDS])}.",
    ),
]
VariantOf = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        metavar="'NAME: …'",
        help="A column of its own: 'short: retention.standard=6h outage:nats=3h'. --set and --outage are for all.",
    ),
]


def window_command(
    days: Annotated[
        float, typer.Option("--days", min=0.01, max=DAYS_MAX, help="Only the first days, or as many at its rate.")
    ] = DAYS,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 1,
    settings: Set = None,
    outages: OutageOf = None,
    variants: VariantOf = None,
    no_base: Annotated[bool, typer.Option("--no-base", help="Leave the ADR's own window out.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Columns played at the same time.")] = os.cpu_count() or 1,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a page, Markdown, plans, histories and reports here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    lists_settings: Annotated[bool, typer.Option("--settings", help="List what --set takes, and end.")] = False,
) -> None:
    """Play the ADR's window (21 days, 13,228 events, 12 agents, no faults); other settings and outages beside it.

    Exit codes: 0 all held, 1 some violated, 2 usage, 3 some not converged, 4 some could not run, 130
    interrupted: only what was played to the end is shown.
    """
    if lists_settings:
        typer.echo(table.settings_json() if as_json else table.settings_shown())
        return
    try:
        chosen = variants_of(settings or (), outages or (), variants or (), with_base=not no_base)
        plans = _plans(chosen, seed, days)
        _refuse_full(out)
    except AskedWrong as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    at_once = min(jobs, len(chosen))
    began_s = time.monotonic()
    try:
        asked = [_job(*both, seed, days, out) for both in zip(chosen, plans, strict=True)]
        with _progress(chosen, plans) as told:
            columns = play_all(asked, at_once=at_once, told=told)
        played = [one for one in columns if not was_interrupted(one)]
        if len(played) < len(columns):
            typer.echo(f"interrupted; of {len(columns)} variants {len(played)} had been played to the end", err=True)
        if not played:
            raise typer.Exit(INTERRUPTED)
        found = comparison(
            played, seed=seed, jobs=at_once, wall_s=time.monotonic() - began_s, command=_repeated(sys.argv)
        )
        if out is not None:
            write_what_if(found, out)
    except OSError as error:
        typer.echo(f"--out: expected to write there, got {error}; give another folder", err=True)
        raise typer.Exit(USAGE) from None
    _tell(found, chosen, as_json=as_json)
    if out is not None:
        typer.echo(f"page: {out / 'index.html'}", err=True)
    raise typer.Exit(found.exit_code if len(played) == len(columns) else INTERRUPTED)


def _plans(chosen: Sequence[Variant], seed: int, days: float) -> list[Plan]:
    """The plan of each variant. Raises AskedWrong with the problems of all."""
    plans, problems = [], list[str]()
    for variant in chosen:
        try:
            plans.append(plan_of(variant, seed=seed, days=days))
        except AskedWrong as error:
            problems += error.problems
    if problems:
        raise AskedWrong(problems)
    return plans


def _refuse_full(out: Path | None) -> None:
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AskedWrong([f"--out: expected a new or empty folder, got {out}; give another, or remove it"])


def _job(variant: Variant, plan: Plan, seed: int, days: float, out: Path | None) -> Job:
    """What a process gets; the plan is kept beside its report. Raises OSError."""
    column = Column(
        name=variant.name,
        settings=list(variant.words),
        outages=sentences_of(variant, plan),
        notes=notes_of(variant, plan),
        command=variant.command(seed=seed, days=days),
        days=plan.duration_s / DAY_S,
        verdict="could not run",
        reason="it was not played.",
    )
    if out is None:
        return Job(column=column, plan=plan.encode(), out=None)
    folder = out / variant.name
    folder.mkdir(parents=True)
    file = f"{plan.name}.json"
    plan.dump(folder / file)
    column = msgspec.structs.replace(
        column, plan=f"{variant.name}/{file}", page=f"{variant.name}/report.html"
    )  # fmt: skip
    return Job(column=column, plan=plan.encode(), out=folder)


@contextmanager
def _progress(chosen: Sequence[Variant], plans: Sequence[Plan]) -> Iterator[Callable[..., None]]:
    """A bar for each column, in simulated days; where nobody sees bars, a line a minute and for each that is done."""
    console = Console(stderr=True)
    totals_s = [plan.duration_s for plan in plans]
    began_s = said_s = time.monotonic()
    said_done = 0
    bar = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.1f} of {task.total:.1f} days"))
    with Progress(*bar, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as progress:
        tasks = [
            progress.add_task(one.name, total=total_s / DAY_S) for one, total_s in zip(chosen, totals_s, strict=True)
        ]

        def told(passed_s: Sequence[float], done: Sequence[bool]) -> None:
            nonlocal said_s, said_done
            so_far_s = [
                total if is_done else min(at, total)
                for at, is_done, total in zip(passed_s, done, totals_s, strict=True)
            ]
            for task, at_s, is_done in zip(tasks, so_far_s, done, strict=True):
                progress.update(task, completed=at_s / DAY_S)
                if is_done:
                    progress.stop_task(task)
            now_s = time.monotonic()
            if not console.is_terminal and (sum(done) > said_done or now_s - said_s >= SAID_EVERY_S):
                said_s, said_done = now_s, sum(done)
                typer.echo(
                    f"{sum(done)} of {len(done)} played, {sum(so_far_s) / DAY_S:.1f} of "
                    f"{sum(totals_s) / DAY_S:.1f} simulated days, {now_s - began_s:.0f} s",
                    err=True,
                )

        yield told


def _tell(found: WhatIf, chosen: Sequence[Variant], *, as_json: bool) -> None:
    if len(chosen) == 1 and chosen[0].is_base:
        document = table.window_document(found.columns[0])
        if as_json:
            typer.echo(json.dumps(document))
        else:
            typer.echo("\n".join(f"  {name:20} {document[name]}" for name in table.WINDOW_SHOWN if name in document))
    elif as_json:
        typer.echo(encode(found).decode(), nl=False)
    else:
        console = Console()
        wide = max(WIDTH_MIN, 28 + 18 * len(found.columns))
        console = console if console.is_terminal else Console(width=wide)
        grid, notes = table.shown(found)
        console.print(grid, highlight=False)
        console.print(notes, highlight=False, soft_wrap=True)


def _repeated(words: Sequence[str]) -> str:
    """The words of the command line, whichever way it was begun."""
    return shlex.join(["meshrelay", *words[1:]])
