"""`meshrelay compare`: runs the options over the same seeds, plans and workload, and writes what follows."""

from __future__ import annotations

import asyncio
import enum
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from faults.bench.child import ChildFailed
from faults.bench.options import LARGE, SIZES, measure_replay, measure_scale, sizes_of, values_of
from faults.campaign_cli import Campaign
from faults.judged import fresh
from faults.paths import folder_to_write
from faults.stack import StackError
from faults.swarm import PLAYED
from faults.transports import TransportName
from reports.api import write_options
from reports.options import OptionsReport, Sample
from sim.campaign_cli import seeds_of
from sim.options import gathered, scale
from sim.options.evidence import Simulated, simulated
from sim.options.parts import SIMULATED_SCALE, PartInvalid, Parts, ReplaySample
from sim.outcome import WorldFailed
from sim.review.origin import provenance
from sim.trial import Trial
from sim.workers import local_pool
from system.exits import COULD_NOT_RUN, USAGE

CHAOS_SEED = 2_000


class Part(enum.StrEnum):
    """What a comparison is made of."""

    SIMULATED = "simulated"
    CHAOS = "chaos"
    SCALE = "scale"
    REPLAYS = "replays"
    SCALE_SIMULATED = "scale-simulated"
    REPORT = "report"


def register(app: typer.Typer) -> None:
    """Add the command to the root command."""
    app.command("compare", rich_help_panel="Evidence")(compare)


def compare(
    only: Annotated[
        list[Part] | None, typer.Option("--only", help="Measure only this part; may be repeated. Default: all.")
    ] = None,
    transport: Annotated[
        list[TransportName] | None, typer.Option("--transport", help="Only this option; may be repeated.")
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Simulated: A..B, both included.")] = "0..1999",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes of the simulation.")] = os.cpu_count() or 1,
    minutes: Annotated[float, typer.Option("--chaos-minutes", min=0.1, help="Of chaos for each option.")] = 10.0,
    sizes: Annotated[
        str,
        typer.Option(
            "--sizes", help=f"Numbers of agents; {LARGE} and more are for jetstream alone, and not simulated."
        ),
    ] = ",".join(map(str, (*SIZES, LARGE))),
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Of each size, and of each gap; simulated, seeds from 1 on.")
    ] = 3,
    out: Annotated[
        Path,
        typer.Option(
            "--out", callback=folder_to_write, help="Parts that are there already are kept, and not measured anew."
        ),
    ] = Path("out/compare"),
) -> None:
    """Run the ADR's options A, B and C against each other, and answer from the numbers whether C is still right.

    Exit codes: 0 written, 2 usage, 4 a part could not be measured.
    """
    chosen, options = set(only or Part), transport or list(TransportName)
    numbers, console, parts = _sizes(sizes), Console(stderr=True), Parts(out, provenance())
    try:
        if Part.SIMULATED in chosen:
            _simulate(parts, options, seeds_of(seeds), jobs, console)
        if Part.CHAOS in chosen:
            _shake(parts, options, minutes, console)
        if Part.SCALE in chosen:
            _scale(parts, options, numbers, runs, console)
        if Part.REPLAYS in chosen:
            _replay(parts, options, runs, console)
        if Part.SCALE_SIMULATED in chosen:
            _count(parts, options, numbers, runs, jobs, console)
        report = gathered.gather(
            parts,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=_machine(),
            runs=runs,
        )
        write_options(report, out)
    except PartInvalid as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    except (StackError, ChildFailed, WorldFailed, psutil.Error, TimeoutError, OSError) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(COULD_NOT_RUN) from None
    typer.echo(_shown(report, out))


def _simulate(parts: Parts, options: Sequence[TransportName], seeds: range, jobs: int, console: Console) -> None:
    for option in options:
        if parts.simulated(option.value) is not None:
            console.print(f"{option.value}: simulated already", highlight=False)
            continue
        with local_pool(jobs) as pool, _bar(console, f"{option.value}, seeds", len(seeds)) as step:

            def told(found: Simulated, trial: Trial, step: Callable[[], None] = step) -> None:
                step()

            found = simulated(option, seeds, pool, jobs=jobs, told=told)
        parts.keep(f"simulated-{option.value}.json", found)
        broken = ", ".join(f"{name} in {count}" for name, count in sorted(found.violated.items())) or "nothing broken"
        console.print(f"{option.value}: {found.trials} seeds, {found.held} held, {broken}", highlight=False)


def _shake(parts: Parts, options: Sequence[TransportName], minutes: float, console: Console) -> None:
    for option in options:
        if parts.chaos(option.value) is not None:
            console.print(f"{option.value}: chaos already played", highlight=False)
            continue
        campaign = Campaign(
            out=fresh(parts.folder / f"chaos-{option.value}"),
            console=console,
            kinds=PLAYED,
            plant=None,
            relay_command=None,
            outside=None,
            where=(),
            transport=option,
        )
        report = campaign.run(range(CHAOS_SEED, CHAOS_SEED + 1_000_000), minutes)
        if report.wall_s < minutes * 60:
            console.print(f"{option.value}: interrupted; it is played anew the next time", highlight=False)
            raise typer.Exit(COULD_NOT_RUN)
        parts.keep(f"chaos-{option.value}.json", report)


def _scale(parts: Parts, options: Sequence[TransportName], sizes: Sequence[int], runs: int, console: Console) -> None:
    samples = parts.samples()
    there = {(one.transport, one.agents, one.run) for one in samples}
    # one run of all before the next of any: what the machine does meanwhile falls on all alike
    wanted = [
        (option, size, run)
        for run in range(1, runs + 1)
        for option in options
        for size in sizes_of(option, sizes)
        if (option.value, size, run) not in there
    ]
    with _bar(console, "scale", len(wanted)) as step:
        for option, size, run in wanted:
            console.print(f"scale: {option.value}, {size} agents, run {run}", highlight=False)
            found = asyncio.run(measure_scale(option, size, run))
            samples.append(Sample(transport=option.value, agents=size, run=run, values=values_of(found)))
            parts.keep("scale.json", samples)
            step()


def _replay(parts: Parts, options: Sequence[TransportName], runs: int, console: Console) -> None:
    replays = parts.replays()
    for option in options:
        if any(one.transport == option.value for one in replays):
            continue
        console.print(f"replays: {option.value}", highlight=False)
        replays += [
            ReplaySample(transport=one.transport, gap=one.gap, run=one.run, replay_s=one.replay_s)
            for one in asyncio.run(measure_replay(option, runs))
        ]
        parts.keep("replays.json", replays)


def _count(
    parts: Parts, options: Sequence[TransportName], sizes: Sequence[int], runs: int, jobs: int, console: Console
) -> None:
    found = parts.simulated_scale()
    sizes = scale.counted_sizes(sizes)
    there = {(one.transport, one.agents, one.run) for one in found.samples}
    replayed = {(one.transport, one.run) for one in found.replays}
    wanted: list[tuple[TransportName, int | None, int]] = [
        (option, size, run)
        for run in range(1, runs + 1)
        for option in options
        for size in sizes_of(option, sizes)
        if (option.value, size, run) not in there
    ]
    wanted += [(name, None, run) for run in range(1, runs + 1) for name in options if (name.value, run) not in replayed]
    with local_pool(jobs) as pool, _bar(console, "simulated scale", len(wanted)) as step:
        worlds = {pool.submit(scale.measure, *one): one for one in wanted}
        try:
            for world in as_completed(worlds):
                option, size, run = worlds[world]
                what = "replays" if size is None else f"{size} agents"
                one = world.result()
                found = found.plus(one.samples, one.replays)
                parts.keep(SIMULATED_SCALE, found)
                console.print(f"simulated: {option.value}, {what}, seed {run}", highlight=False)
                step()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _bar(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _sizes(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 20_000 for part in numbers):
        typer.echo(f"--sizes: expected numbers of agents from 1 to 20000, such as 10,100; got {text!r}", err=True)
        raise typer.Exit(USAGE)
    return sorted({int(part) for part in numbers})


def _machine() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "load at the end": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _shown(report: OptionsReport, out: Path) -> str:
    lines = [*report.answer, *(f"missing: {one}" for one in report.missing)]
    for cell in report.cells:
        if cell.verdict in ("violated", "not offered"):
            lines += [f"{cell.guarantee} {cell.transport} {cell.verdict}: {cell.why}", f"  again: {cell.command}"]
    return "\n".join([*lines, f"report: {out / 'index.html'}"])
