"""`meshrelay chaos`: play a plan on the real stack and judge it, or print a plan."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from faults.campaign_cli import Plant, Stack, StackFileOption, campaign_command
from faults.chaos import CouldNotRun
from faults.gaps import planned_gaps
from faults.generate import main_plan
from faults.judged import BugUnknown, Judged, fresh, play_and_judge, relay_broken_by
from faults.outside.choice import StackKind, stack_of, words_of
from faults.outside.file import StackFileInvalid
from faults.paths import PlanFile, folder_to_write
from faults.plan import Plan, PlanInvalid
from faults.seeds import SEED_MAX
from faults.swarm import KindsInvalid, chaos_plan_over, kinds_of
from faults.transports import Over, TransportName, as_option, over
from system.exits import COULD_NOT_RUN, USAGE

chaos = typer.Typer(no_args_is_help=True, help="Faults on the real stack: NATS, PostgreSQL, Toxiproxy, SIGKILL.")


def register(app: typer.Typer) -> None:
    """Add the sub-commands to the root command."""
    chaos.command("campaign")(campaign_command)
    app.add_typer(chaos, name="chaos", rich_help_panel="Evidence")


@chaos.command()
def run(
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Play the main plan of this seed.")] = None,
    plan: PlanFile = None,
    swarm: Annotated[bool, typer.Option("--swarm", help="Play the seed's swarm plan, as a campaign does.")] = False,
    kinds: Annotated[str | None, typer.Option("--kinds", help="Swarm plans: only these kinds, kill,cut,…")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", callback=folder_to_write, help="Where history, plan and logs go.")
    ] = None,
    plant: Plant = None,
    stack: Stack = StackKind.EMBEDDED,
    stack_file: StackFileOption = None,
    transport: Over = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as one line of JSON.")] = False,
) -> None:
    """Play a plan on the real stack, then judge its history.

    Exit codes: 0 held, 1 violated, 2 usage, 3 not converged, 4 could not run.
    """
    try:
        relay_command = relay_broken_by(plant)
        outside = stack_of(stack, stack_file, plant)
        chosen = _chosen(seed, plan, swarm=swarm or kinds is not None, kinds=kinds, transport=transport)
    except (BugUnknown, KindsInvalid, StackFileInvalid, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    folder = out or fresh(Path("out") / "runs" / chosen.name)
    words = ["--swarm"] if swarm or kinds is not None else []
    words += ["--kinds", kinds] if kinds is not None else []
    words += ["--plan", str(plan)] if plan else ["--seed", str(chosen.seed)]
    words += ["--plant", plant] if plant is not None else []
    words += as_option(transport).split()
    command = ["meshrelay", "chaos", "run", *words, *words_of(stack, stack_file)]
    console = Console(stderr=True)
    console.print(f"{_summary(chosen)}\nrepeat with: {' '.join(command)}", highlight=False, soft_wrap=True)
    try:
        judged = play_and_judge(chosen, folder, console, command=command, relay_command=relay_command, outside=outside)
    except CouldNotRun as error:
        _say_not_run(str(error), as_json=as_json)
        raise typer.Exit(COULD_NOT_RUN) from None
    for left_out in judged.result.not_played:  # what this machine could not do is known only now
        console.print(
            f"not played: {left_out.fault} ({left_out.kind}): {left_out.reason}", highlight=False, soft_wrap=True
        )
    if as_json:
        typer.echo(json.dumps(_document(judged)))
    else:
        _say(judged)
    raise typer.Exit(judged.report.exit_code)


@chaos.command("plan")
def print_plan(
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the plan.")],
    swarm: Annotated[bool, typer.Option("--swarm", help="The seed's swarm plan, as a campaign plays it.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write it into this file.")] = None,
    transport: Over = None,
) -> None:
    """Print a seed's plan, or write it into a file to be changed and played by `chaos run --plan`."""
    plan = chaos_plan_over(seed, transport) if swarm else over(main_plan(seed), transport)
    text = plan.encode()
    if out is None:
        sys.stdout.write(text.decode())
        return
    try:
        out.write_bytes(text)
    except OSError as error:
        typer.echo(f"the plan was not written: {error}", err=True)
        raise typer.Exit(USAGE) from None
    typer.echo(f"{out}: {_summary(plan)}", err=True)


def _chosen(
    seed: int | None, plan: Path | None, *, swarm: bool, kinds: str | None, transport: TransportName | None
) -> Plan:
    """The plan that is asked for; ends the command if that is none. Raises KindsInvalid."""
    if plan is not None and (seed is not None or swarm):
        typer.echo("expected --seed or --plan, got both; a plan file has its own seed", err=True)
        raise typer.Exit(USAGE)
    if plan is None:
        drawn = secrets.randbelow(SEED_MAX) if seed is None else seed
        return chaos_plan_over(drawn, transport, kinds_of(kinds)) if swarm else over(main_plan(drawn), transport)
    try:
        return over(Plan.load(plan), transport)
    except (PlanInvalid, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None


def _summary(plan: Plan) -> str:
    gaps = [gap.kind.value for gap in planned_gaps(plan)]
    kinds = ", ".join(f"{gaps.count(kind)} {kind}" for kind in sorted(set(gaps)))
    events = plan.workload.events + len(plan.workload.pinned)
    return (
        f"plan {plan.name}, seed {plan.seed}: {plan.duration_s:g} s, {events} events, {len(plan.agents)} agents, "
        f"{len(plan.faults)} faults; reconnect gaps: {kinds or 'none'}"
    )


def _say_not_run(why: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"verdict": "could not run", "exit_code": COULD_NOT_RUN, "reasons": [why]}))
    else:
        typer.echo(f"could not run: {why}", err=True)


def _document(judged: Judged) -> dict[str, Any]:
    result, report = judged.result, judged.report
    return {
        "verdict": report.verdict,
        "reason": report.reason,
        "exit_code": report.exit_code,
        "seed": result.plan.seed,
        "history": str(result.history),
        "report": str(judged.written.html),
        "events": result.events,
        "acked": result.acked,
        "refused": result.refused,
        "delivered": result.delivered,
        "lag_s": result.lag_s,
        "waiting_for": result.waiting_for,
        "not_played": [{"fault": one.fault, "kind": one.kind, "why": one.reason} for one in result.not_played],
        "guarantees": {one.guarantee: one.verdict for one in report.guarantees},
    }


def _say(judged: Judged) -> None:
    result, report = judged.result, judged.report
    typer.echo(f"{report.verdict}: {report.reason}")
    for one in report.guarantees:
        count = f", {one.findings} findings" if one.findings else ""
        typer.echo(f"  {one.guarantee} {one.verdict}: {one.trials:,} {one.trial}{count}")
    for finding in report.findings[:10]:
        who = " ".join(filter(None, (finding.agent, finding.event)))
        typer.echo(f"  {finding.kind} at {finding.at_s:.1f} s, {who}: {finding.detail}")
    typer.echo(f"  events waited up to {result.lag_s:g} s for pg-writer")
    for what in result.waiting_for:
        typer.echo(f"  still waiting for {what}")
    typer.echo(f"history: {result.history}\nreport:  {judged.written.html}")
