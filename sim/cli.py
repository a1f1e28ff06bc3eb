"""`meshrelay sim`: play a plan in the simulated world and judge it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from faults.generate import main_plan
from faults.plan import Plan, PlanInvalid
from faults.recorder import Recorder
from reports.api import judge, write_report
from reports.report import Report
from reports.verdict import Witnessed
from sim.errors import NotModelled
from sim.outcome import Outcome, WorldFailed
from sim.world import World

USAGE = 2
COULD_NOT_RUN = 4

simulation = typer.Typer(no_args_is_help=True, help="The unmodified relay in a simulated world, from one seed.")


def register(app: typer.Typer) -> None:
    """Add the sub-commands to the root command."""
    app.add_typer(simulation, name="sim", rich_help_panel="Evidence")


@simulation.callback()
def _group() -> None:
    """The unmodified relay in a simulated world, from one seed."""


@simulation.command()
def run(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Play the main plan of this seed.")] = 7,
    plan: Annotated[Path | None, typer.Option("--plan", help="Play this plan file instead.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep the history and write the report here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as one line of JSON.")] = False,
) -> None:
    """Play a plan in the simulated world, then judge its history; the same seed gives the same bytes.

    Exit codes: 0 held, 1 violated, 2 usage, 3 not converged, 4 could not run.
    """
    try:
        chosen = main_plan(seed) if plan is None else Plan.load(plan)
    except (PlanInvalid, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    if not as_json:
        Console(stderr=True).print(f"simulating {chosen.duration_s:g} s of {chosen.name} …", highlight=False)
    began_s = time.monotonic()
    try:
        report, outcome = simulate(chosen, out)
    except (WorldFailed, NotModelled, OSError) as error:
        typer.echo(f"could not run: {error}", err=True)
        raise typer.Exit(COULD_NOT_RUN) from None
    document = described(report, outcome, wall_s=time.monotonic() - began_s)
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _say(document)
    raise typer.Exit(report.exit_code)


def simulate(plan: Plan, out: Path | None) -> tuple[Report, Outcome]:
    """Play a plan and judge it; `out` keeps history and report. Raises WorldFailed, NotModelled, OSError."""
    with tempfile.TemporaryDirectory(prefix="meshrelay-sim-") as temporary:
        folder = out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "history.jsonl"
        path.unlink(missing_ok=True)
        world = World(plan, lambda clock_ns: Recorder(path, clock_ns=clock_ns))
        outcome = world.run()
        broken = [f"the relay ended by itself: {why}" for why in outcome.relay_exits]
        broken += [f"a client gave up: {why}" for why in outcome.client_failures]
        report = judge(path, Witnessed(broken=tuple(broken)))
        if out is not None:
            write_report(report, out)
        return report, outcome


def described(report: Report, outcome: Outcome, *, wall_s: float) -> dict[str, Any]:
    """The outcome for programs."""
    return {
        "verdict": report.verdict,
        "reason": report.reason,
        "seed": report.seed,
        "trace_sha256": outcome.trace_sha256,
        "events": outcome.events,
        "deliveries": outcome.deliveries,
        "simulated_s": outcome.simulated_s,
        "wall_s": round(wall_s, 2),
        "steps": outcome.steps,
        "guarantees": {one.guarantee: one.verdict for one in report.guarantees},
    }


def _say(document: dict[str, Any]) -> None:
    typer.echo(f"{document['verdict']}: {document['reason']}")
    for name in ("events", "deliveries", "simulated_s", "wall_s", "steps", "trace_sha256"):
        typer.echo(f"  {name:12} {document[name]}")
    typer.echo("  " + "  ".join(f"{name} {verdict}" for name, verdict in document["guarantees"].items()))
