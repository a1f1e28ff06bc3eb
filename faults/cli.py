"""`meshrelay chaos`: play a plan on the real stack and judge it, or print a plan."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from faults.chaos import CouldNotRun, RunResult, run_plan
from faults.gaps import planned_gaps
from faults.generate import main_plan
from faults.plan import Plan, PlanInvalid
from faults.planted import PLANTED
from faults.playable import not_playable
from faults.terminal import Ticker
from reports import api
from reports.api import Report, Witnessed  # type: ignore[attr-defined]  # the only door to the judge

USAGE = 2
COULD_NOT_RUN = 4

SEED_MAX = 2**31 - 1
"""Drawn seeds are short enough to be typed."""

chaos = typer.Typer(no_args_is_help=True, help="Faults on the real stack: NATS, PostgreSQL, Toxiproxy, SIGKILL.")


def register(app: typer.Typer) -> None:
    """Add the sub-commands to the root command."""
    app.add_typer(chaos, name="chaos", rich_help_panel="Evidence")


@chaos.command()
def run(
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Play the main plan of this seed.")] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Play this plan file instead.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where history, plan and logs go.")] = None,
    plant: Annotated[str | None, typer.Option("--plant", help="Break the relay on purpose, to try the judge.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as one line of JSON.")] = False,
) -> None:
    """Play a plan on the real stack, then judge its history.

    Exit codes: 0 held, 1 violated, 2 usage, 3 not converged, 4 could not run.
    """
    chosen = _chosen(seed, plan)
    folder = out or _fresh(Path("out") / "chaos" / chosen.name)
    command = ["meshrelay", "chaos", "run", *(["--plan", str(plan)] if plan else ["--seed", str(chosen.seed)])]
    console = Console(stderr=True)
    console.print(f"{_summary(chosen)}\nrepeat with: {' '.join(command)}", highlight=False, soft_wrap=True)
    for left_out in not_playable(chosen):
        console.print(
            f"not played: {left_out.fault} ({left_out.kind}): {left_out.reason}", highlight=False, soft_wrap=True
        )
    try:
        result = _play(chosen, folder, console, command, _relay_command(plant))
        report = api.judge(result.history, witnessed_by(result))
        written = api.write_report(report, folder / "report")
    except (CouldNotRun, OSError) as error:
        _say_not_run(str(error), as_json=as_json)
        raise typer.Exit(COULD_NOT_RUN) from None
    if as_json:
        typer.echo(json.dumps(_document(result, report, written)))
    else:
        _say(result, report, written)
    raise typer.Exit(report.exit_code)


@chaos.command("plan")
def print_plan(
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the main plan.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write it into this file.")] = None,
) -> None:
    """Print the main plan of a seed, or write it into a file to be changed and played by `chaos run --plan`."""
    text = main_plan(seed).encode()
    if out is None:
        sys.stdout.write(text.decode())
        return
    try:
        out.write_bytes(text)
    except OSError as error:
        typer.echo(f"the plan was not written: {error}", err=True)
        raise typer.Exit(USAGE) from None
    typer.echo(f"{out}: {_summary(main_plan(seed))}", err=True)


def play_main_plan(seed: int, out: Path) -> tuple[Path, Witnessed]:
    """Play the main plan of a seed: its history, and what the run saw beside it. Raises CouldNotRun."""
    plan, console = main_plan(seed), Console(stderr=True)
    console.print(_summary(plan), highlight=False, soft_wrap=True)
    result = _play(plan, out, console, ["meshrelay", "chaos", "run", "--seed", str(seed)], None)
    return result.history, witnessed_by(result)


def witnessed_by(result: RunResult) -> Witnessed:
    """What a run saw that its history can't say."""
    times = f" {result.relay_exits} times" if result.relay_exits > 1 else ""
    broken = [f"the relay ended by itself{times}"] if result.relay_exits else []
    broken += [f"a client gave up: {failure}" for failure in result.client_failures]
    return Witnessed(broken=tuple(broken), useless=result.untimely)


def _play(
    plan: Plan, out: Path, console: Console, command: Sequence[str], relay_command: Sequence[str] | None
) -> RunResult:
    with Ticker(console) as ticker:
        return asyncio.run(run_plan(plan, out, watch=ticker, command=command, relay_command=relay_command))


def _chosen(seed: int | None, plan: Path | None) -> Plan:
    if seed is not None and plan is not None:
        typer.echo("expected --seed or --plan, got both; a plan file has its own seed", err=True)
        raise typer.Exit(USAGE)
    if plan is None:
        return main_plan(secrets.randbelow(SEED_MAX) if seed is None else seed)
    try:
        return Plan.load(plan)
    except (PlanInvalid, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None


def _relay_command(plant: str | None) -> Sequence[str] | None:
    if plant is None:
        return None
    if plant not in PLANTED:
        typer.echo(f"--plant: expected one of {', '.join(sorted(PLANTED))}, got {plant!r}", err=True)
        raise typer.Exit(USAGE)
    return (sys.executable, "-m", "faults.planted", plant, "serve")


def _fresh(folder: Path) -> Path:
    """The folder, or one beside it with a number, so that no run overwrites another."""
    number, found = 1, folder
    while (found / "history.jsonl").exists():
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found


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


def _document(result: RunResult, report: Report, written: api.Written) -> dict[str, Any]:
    return {
        "verdict": report.verdict,
        "reason": report.reason,
        "exit_code": report.exit_code,
        "seed": result.plan.seed,
        "history": str(result.history),
        "report": str(written.html),
        "events": result.events,
        "acked": result.acked,
        "refused": result.refused,
        "delivered": result.delivered,
        "lag_s": result.lag_s,
        "waiting_for": result.waiting_for,
        "not_played": [{"fault": one.fault, "kind": one.kind, "why": one.reason} for one in result.not_played],
        "guarantees": {one.guarantee: one.verdict for one in report.guarantees},
    }


def _say(result: RunResult, report: Report, written: api.Written) -> None:
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
    typer.echo(f"history: {result.history}\nreport:  {written.html}")
