"""`meshrelay sim compare`: plans of the simulated world played on the real stack too, the verdicts side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from faults.judged import fresh
from faults.paths import NewFolder
from faults.plan import Plan, PlanInvalid
from faults.planted import PLANTED, unknown
from faults.scale import Fitted, fitted
from faults.transports import Over, over
from sim.campaign_cli import seeds_of
from sim.compare import Comparison, Pair, markdown, paired, real, simulated
from sim.swarm import swarm_plan
from system.exits import COULD_NOT_RUN, USAGE

DIFFERENT = 1
DOCUMENT = "compare.json"


def compare_command(
    plans: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="Plan files, such as a campaign leaves."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", help="Plans of these seeds, A..B, as far as the real stack plays them whole."),
    ] = None,
    runs: Annotated[int | None, typer.Option("--runs", min=1, help="Compare so many of them.")] = None,
    scale: Annotated[
        float | None,
        typer.Option("--scale", min=1e-6, max=100.0, help="Multiply a plan's times by this; else it suits."),
    ] = None,
    bug: Annotated[
        str | None, typer.Option("--bug", "--plant", help="Break both relays as this planted bug does.")
    ] = None,
    transport: Over = None,
    out: NewFolder = None,
) -> None:
    """Play plans in the simulated world and on the real stack, and lay the two verdicts side by side.

    Exit codes: 0 all the same, 1 some differ, 2 usage, 4 some could not be compared.
    """
    if bool(plans) == (seeds is not None):
        typer.echo("expected plan files or --seeds A..B, and not both", err=True)
        raise typer.Exit(USAGE)
    if bug is not None and bug not in PLANTED:
        typer.echo(f"--bug: {unknown(bug)}", err=True)
        raise typer.Exit(USAGE)
    folder, console = out or fresh(Path("out") / "compare"), Console(stderr=True)
    if folder.exists() and any(folder.iterdir()):
        typer.echo(f"--out: expected a new or empty folder, got {folder}; give another, or remove it", err=True)
        raise typer.Exit(USAGE)
    comparison = Comparison(bug=bug, wanted=runs, pairs=[])
    found = _files(plans, scale) if plans else _drawn(seeds or "", scale, comparison.passed_over)
    chosen = (replace(fit, plan=over(fit.plan, transport)) for fit in found)
    try:
        for fit in chosen:
            pair = _played(fit, folder / fit.plan.name, bug, console, comparison.passed_over, whole=seeds is not None)
            if pair is not None:
                comparison.pairs.append(pair)
            _write(comparison, folder)
            if runs is not None and len(comparison.pairs) >= runs:
                break
    except KeyboardInterrupt:  # whoever has seen enough is told what there was
        comparison.is_whole = False
    except (PlanInvalid, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    _write(comparison, folder)
    typer.echo(markdown(comparison))
    raise typer.Exit(_exit_code(comparison))


def _files(plans: list[Path], scale: float | None) -> Iterator[Fitted]:
    for path in plans:
        yield fitted(Plan.load(path), scale)


def _drawn(seeds: str, scale: float | None, passed_over: list[str]) -> Iterator[Fitted]:
    """Those that the real stack plays whole."""
    for seed in seeds_of(seeds):
        plan = swarm_plan(seed)
        try:
            fit = fitted(plan, scale)
        except PlanInvalid:
            passed_over.append(f"{plan.name}: its times come to lie too close")
            continue
        if fit.left_out or not fit.plan.faults or plan.servers.nats_replicas > 1:
            passed_over.append(f"{plan.name}: the real stack does not play it whole")
        else:
            yield fit


def _played(
    fit: Fitted, folder: Path, bug: str | None, console: Console, passed_over: list[str], *, whole: bool
) -> Pair | None:
    """Both sides of a plan; None, with `whole`, for one that puts too little to the test to be worth a real run."""
    console.print(f"{fit.shown()}, {len(fit.plan.faults)} faults: simulating …", highlight=False)
    first = simulated(fit.plan, folder / "simulated", bug)
    if whole and (first.is_untried or (bug is not None and first.verdict == "held")):
        passed_over.append(f"{fit.plan.name}: simulated, {first.verdict}: {first.reason}")
        return None
    console.print(f"{fit.plan.name} simulated: {first.verdict}: {first.reason}", highlight=False, soft_wrap=True)
    second = real(fit.plan, folder / "real", bug, console)
    console.print(f"{fit.plan.name} real: {second.verdict}: {second.reason}", highlight=False, soft_wrap=True)
    return paired(fit, (first, second))


def _write(comparison: Comparison, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DOCUMENT).write_bytes(msgspec.json.format(msgspec.json.encode(comparison), indent=1) + b"\n")
    (folder / "compare.md").write_text(markdown(comparison), encoding="utf-8")


def _exit_code(comparison: Comparison) -> int:
    if comparison.count("different"):
        return DIFFERENT
    is_enough = len(comparison.pairs) >= (comparison.wanted or 1) and comparison.is_whole
    return 0 if is_enough and comparison.count("same") == len(comparison.pairs) else COULD_NOT_RUN
