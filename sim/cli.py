"""`meshrelay sim`: play plans in the simulated world and judge them, one, many, or with the relay broken on purpose."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from faults.generate import main_plan
from faults.paths import PlanArgument, PlanFile, file_to_write, folder_to_write
from faults.plan import Plan, PlanInvalid
from faults.planted import PLANTED, planted, unknown
from faults.transports import Over, TransportName, over
from reports.history import HistoryReader
from reports.verdict import EXIT_CODES
from sim import campaign_cli, compare_cli, determinism_cli, planted_cli
from sim.campaign import Failures, try_encoded
from sim.explain import explain, shown
from sim.old_client import NatsPy, running
from sim.review import experiments_cli
from sim.shrink import shrink
from sim.swarm import drawn, swarm_plan_over
from sim.trace import Recording, write_trace
from sim.trial import Trial, try_plan
from sim.what_if.cli import window_command
from system.exits import COULD_NOT_RUN, USAGE

SEED = 7
"""What `run` plays unless it is told otherwise."""
FAILURES = Path("out/sim/failures")

Bug = Annotated[str | None, typer.Option("--bug", "--plant", help="Break the relay as this planted bug does.")]
TraceFile = Annotated[
    Path | None,
    typer.Option("--trace", callback=file_to_write, help="Write a trace for Perfetto or Chrome here."),
]

simulation = typer.Typer(no_args_is_help=True, help="The unmodified relay in a simulated world, from one seed.")
simulation.command("campaign")(campaign_cli.campaign_command)
simulation.command("compare")(compare_cli.compare_command)
simulation.command("planted")(planted_cli.planted_command)
simulation.command("determinism")(determinism_cli.determinism_command)
simulation.command("window")(window_command)
simulation.command("gaps")(experiments_cli.gaps_command)
simulation.command("outage")(experiments_cli.outage_command)


def register(app: typer.Typer) -> None:
    """Add the sub-commands to the root command."""
    app.add_typer(simulation, name="sim", rich_help_panel="Evidence")


@simulation.callback()
def _group() -> None:
    """The unmodified relay in a simulated world, from one seed."""


@simulation.command()
def run(
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Play the plan that this seed draws.", show_default=str(SEED))
    ] = None,
    plan: PlanFile = None,
    main: Annotated[bool, typer.Option("--main", help="Play the seed's main plan, a week squeezed into 67 s.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", callback=folder_to_write, help="Keep the history and write the report here.")
    ] = None,
    trace: TraceFile = None,
    bug: Bug = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as one line of JSON.")] = False,
    transport: Over = None,
    nats_py: NatsPy = None,
) -> None:
    """Play a plan in the simulated world, then judge its history; the same seed gives the same bytes.

    Exit codes: 0 held, 1 violated, 2 usage, 3 not converged, 4 could not run.
    """
    _refuse_unknown(bug)
    if plan is not None and (seed is not None or main):
        typer.echo("expected --plan, or --seed or --main, got both; a plan file has its own seed", err=True)
        raise typer.Exit(USAGE)
    with _refusing():
        chosen = over(Plan.load(plan), transport) if plan is not None else _drawn(seed, transport, main=main)
    if not as_json:
        shown = "" if plan is not None or main else f": {drawn(chosen.seed).shown(len(chosen.faults))}"
        Console(stderr=True).print(f"simulating {chosen.duration_s:g} s of {chosen.name}{shown} …", highlight=False)
    with _broken_by(bug):
        trial = _played(chosen, out, trace)
        _tell(trial, as_json=as_json)
        if trial.is_failure:
            _explain(chosen, trial, bug)
    raise typer.Exit(_exit_code(trial))


@simulation.command()
def replay(
    plan: PlanArgument,
    bug: Bug = None,
    trace: TraceFile = None,
    explained: Annotated[
        bool, typer.Option("--explain", help="Make a failing plan small, and leave a trace and a timeline.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as one line of JSON.")] = False,
    transport: Over = None,
    nats_py: NatsPy = None,
) -> None:
    """Play a plan file again; the same plan gives the same verdict and the same trace.

    Exit codes: 0 held, 1 violated, 2 usage, 3 not converged, 4 could not run.
    """
    _refuse_unknown(bug)
    with _refusing():
        chosen = over(Plan.load(plan), transport)
    with _broken_by(bug):
        trial = _played(chosen, None, trace)
        _tell(trial, as_json=as_json)
        if explained and trial.is_failure:
            _explain(chosen, trial, bug)
    raise typer.Exit(_exit_code(trial))


@simulation.command("shrink")
def shrink_command(
    plan: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A plan file that fails.")],
    bug: Bug = None,
    out: Annotated[
        Path | None, typer.Option("--out", callback=file_to_write, help="Where the small plan goes; beside the plan.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="At most so many.")] = 300,
) -> None:
    """Make a failing plan as small as it can be while it fails in the same way.

    Exit codes: 0 done, 2 the plan does not fail or is no plan.
    """
    _refuse_unknown(bug)
    with _refusing():
        chosen = Plan.load(plan)
    failed = try_encoded(chosen.encode(), bug)
    if not failed.is_failure:
        typer.echo(f"{plan}: expected a plan that fails, got {failed.verdict}: {failed.reason}", err=True)
        raise typer.Exit(USAGE)
    console = Console(stderr=True)
    with console.status("shrinking …") as status:

        def told(count: int, best: Plan) -> None:
            status.update(f"shrinking: {count} trials, {len(best.faults)} faults, {len(best.agents)} agents …")

        small = shrink(chosen, failed, lambda one: try_encoded(one.encode(), bug), trials_max=trials, told=told)
    path = out or plan.with_name(f"{plan.stem}.small.json")
    small.plan.dump(path)
    faults = ", ".join(fault.id for fault in small.plan.faults) or "no faults"
    typer.echo(
        f"{small.trials} trials: {faults}; {len(small.plan.agents)} agents, {small.plan.workload.events} events and "
        f"{len(small.plan.workload.pinned)} pinned ones"
    )
    typer.echo(f"{small.trial.verdict}: {small.trial.reason}")
    typer.echo(f"again: meshrelay sim replay {path}" + (f" --bug {bug}" if bug else ""))


def _drawn(seed: int | None, transport: TransportName | None, *, main: bool) -> Plan:
    """The main plan or the swarm plan of a seed."""
    number = SEED if seed is None else seed
    return over(main_plan(number), transport) if main else swarm_plan_over(number, transport)


def _played(plan: Plan, out: Path | None, trace: Path | None) -> Trial:
    """Play a plan, and write its trace if that is wanted."""
    if trace is None:
        return try_plan(plan, out)
    with tempfile.TemporaryDirectory(prefix="meshrelay-sim-") if out is None else nullcontext(out) as given:
        recording = Recording()
        trial = try_plan(plan, Path(given), recording.note)
        path = Path(given) / "history.jsonl"
        trace.parent.mkdir(parents=True, exist_ok=True)
        write_trace(trace, recording.segments, HistoryReader(path) if path.exists() else ())
    typer.echo(f"trace: {trace} (open it in ui.perfetto.dev or chrome://tracing)", err=True)
    return trial


def _explain(plan: Plan, trial: Trial, bug: str | None) -> None:
    """Leave everything that helps to understand a failure, and say it."""
    Failures(FAILURES).save(plan)
    console = Console(stderr=True)
    with console.status("explaining …") as status:
        explanation = explain(plan, trial, FAILURES, bug=bug, told=lambda text: status.update(f"{text} …"))
    console.print(shown(explanation), highlight=False, markup=False, soft_wrap=True)


def _refuse_unknown(bug: str | None) -> None:
    """End the command if there is no such bug."""
    if bug is not None and bug not in PLANTED:
        typer.echo(f"--bug: {unknown(bug)}", err=True)
        raise typer.Exit(USAGE)


@contextmanager
def _broken_by(bug: str | None) -> Iterator[None]:
    """The relay broken by a planted bug, or as it is."""
    with planted(bug) if bug is not None else nullcontext():
        yield


@contextmanager
def _refusing() -> Iterator[None]:
    """A plan that can't be used ends the command, with every problem named."""
    try:
        yield
    except (PlanInvalid, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None


def _exit_code(trial: Trial) -> int:
    return {str(verdict): code for verdict, code in EXIT_CODES.items()}.get(trial.verdict, COULD_NOT_RUN)


def _tell(trial: Trial, *, as_json: bool) -> None:
    document = described(trial)
    if as_json:
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{trial.verdict}: {trial.reason}")
    for name in ("events", "deliveries", "simulated_s", "wall_s", "steps", "trace_sha256"):
        typer.echo(f"  {name:12} {document[name]}")
    typer.echo(f"  {'marks':12} {len(trial.marks)}: {', '.join(trial.marks)}")


def described(trial: Trial) -> dict[str, Any]:
    """The outcome for programs."""
    return {
        "verdict": trial.verdict,
        "reason": trial.reason,
        "seed": trial.seed,
        "nats_py": running(),
        "trace_sha256": trial.trace_sha256,
        "events": trial.events,
        "deliveries": trial.deliveries,
        "simulated_s": trial.simulated_s,
        "wall_s": round(trial.wall_s, 2),
        "steps": trial.steps,
        "violated": list(trial.violated),
        "findings": list(trial.kinds),
        "marks": list(trial.marks),
    }
