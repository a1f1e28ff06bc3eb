"""`meshrelay sim gaps` and `sim outage`: the reliability report's experiments in the simulated world, one at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from faults.plan import Plan
from faults.planted import PLANTED, planted, unknown
from faults.transports import Over, TransportName
from faults.vocabulary import TIME_S_MAX
from reports.review.evidence import GapTrial, Outage
from reports.verdict import EXIT_CODES
from sim.errors import NotModelled
from sim.outcome import WorldFailed
from sim.review.envelope import (
    AFTER_S,
    BEGINS_S,
    LENGTHS_S,
    PARTS,
    UNITS_S,
    outage_from,
    outage_plan,
    parts_over,
    shown_s,
)
from sim.review.gaps import gap_plan, gaps_s, trials_of
from sim.trial import Played, play
from system.exits import COULD_NOT_RUN, USAGE

LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
LENGTH_S_MAX = TIME_S_MAX - BEGINS_S - AFTER_S

Seed = Annotated[int, typer.Option("--seed", min=0, help="Draws moments within seconds, distances and clocks.")]
Bug = Annotated[str | None, typer.Option("--bug", "--plant", help="Break the relay as this planted bug does.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the evidence as one line of JSON.")]


def gaps_command(
    seed: Seed = 1,
    transport: Over = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the gaps around 24 h: three days, not two weeks.")
    ] = False,
    bug: Bug = None,
    as_json: AsJson = False,
) -> None:
    """Let agents be away for gaps on both sides of 24 h and 7 days, and count what was delivered, told and lost.

    Exit codes: 0 held, 1 violated, 2 usage, 3 not converged, 4 could not run.
    """
    plan = gap_plan(seed, transport, quick=quick)
    played = _played(plan, bug, f"{len(gaps_s(quick=quick))} gaps over {plan.transport}")
    trials = trials_of(played, plan)
    if as_json:
        typer.echo(msgspec.json.encode(trials).decode())
    else:
        Console().print(_table(trials))
        typer.echo(f"{played.report.verdict}: {played.report.reason}")
    raise typer.Exit(EXIT_CODES[played.report.verdict])


def outage_command(
    what: Annotated[str, typer.Option("--what", help=f"What is away: {', '.join(PARTS)}; relay is every replica.")],
    length: Annotated[
        str, typer.Option("--for", help=f"How long, such as {', '.join(shown_s(one) for one in LENGTHS_S)}.")
    ],
    seed: Seed = 1,
    transport: Over = None,
    bug: Bug = None,
    as_json: AsJson = False,
) -> None:
    """Let one part be away for a time at production's retention, and say which promises were kept.

    Exit codes: 0 held, 1 violated, 2 usage, 3 not converged, 4 could not run.
    """
    length_s = _length_s(length)
    parts = parts_over(transport)
    if what not in parts:
        over = (transport or TransportName.CURSOR).value
        _refuse(f"--what: expected one of {', '.join(parts)} over {over}, got {what!r}")
    plan = outage_plan(what, length_s, seed=seed, transport=transport)
    played = _played(plan, bug, f"{what} away for {shown_s(length_s)} over {plan.transport}")
    outage = outage_from(played, plan, what, length_s, bug)
    if as_json:
        typer.echo(msgspec.json.encode(outage).decode())
    else:
        for name, value in _lines(outage):
            typer.echo(f"  {name:14} {value}")
    raise typer.Exit(EXIT_CODES[played.report.verdict])


def _length_s(text: str) -> float:
    """A length such as `90s`, `15m`, `3h` or `1.5d`, in s."""
    found = LENGTH.fullmatch(text)
    length_s = float(found[1]) * UNITS_S[found[2]] if found else 0.0
    if not 1.0 <= length_s <= LENGTH_S_MAX:
        _refuse(
            f"--for: expected a number with s, m, h or d, from 1s to {LENGTH_S_MAX / UNITS_S['d']:.0f}d, got {text!r}"
        )
    return length_s


def _played(plan: Plan, bug: str | None, what: str) -> Played:
    """Play a plan, or end the command with the reason why not."""
    if bug is not None and bug not in PLANTED:
        _refuse(f"--bug: {unknown(bug)}")
    shown = f"simulating {plan.duration_s / UNITS_S['d']:.2g} days: {what} …"
    try:
        with planted(bug) if bug is not None else nullcontext(), Console(stderr=True).status(shown):
            return play(plan)
    except (WorldFailed, NotModelled) as error:
        typer.echo(f"could not run: {error}", err=True)
        raise typer.Exit(COULD_NOT_RUN) from None


def _refuse(problem: str) -> NoReturn:
    typer.echo(problem, err=True)
    raise typer.Exit(USAGE)


COLUMNS = ("class", "gap, h", "off, s", "missed", "within", "got", "told", "lost", "notice")


def _table(trials: Sequence[GapTrial]) -> Table:
    """`off` is from the retention; `within` of what was missed was promised, for it was younger than its retention."""
    table = Table(box=SIMPLE_HEAD)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("class", "notice") else "right", no_wrap=True)
    for one in sorted(trials, key=lambda one: (one.retention_class, one.gap_s)):
        counts = (one.events, one.within, one.delivered, one.told, one.lost)
        gap, off = f"{one.gap_s / UNITS_S['h']:.3f}", f"{one.gap_s - one.retention_s:+,.0f}"
        table.add_row(one.retention_class, gap, off, *map(str, counts), one.notice)
    return table


def _lines(outage: Outage) -> Iterator[tuple[str, str]]:
    for name, value in msgspec.structs.asdict(outage).items():
        yield name, ", ".join(value) if isinstance(value, tuple) else str(value)
