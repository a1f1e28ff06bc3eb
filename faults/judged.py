"""A plan played on the real stack and judged: what `chaos run`, `chaos campaign` and `report --run` have in common."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from faults.chaos import CouldNotRun, RunResult, run_plan
from faults.outside.file import StackFile
from faults.plan import Plan
from faults.planted import PLANTED, unknown
from faults.terminal import Ticker
from reports import api
from reports.api import Report  # type: ignore[attr-defined]  # the only door to the judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A run with its verdict and the files of its report."""

    result: RunResult
    report: Report
    written: api.Written


class BugUnknown(ValueError):
    """A planted bug was named that does not exist."""


def play(
    plan: Plan,
    out: Path,
    console: Console,
    *,
    command: Sequence[str],
    relay_command: Sequence[str] | None = None,
    outside: StackFile | None = None,
) -> RunResult:
    """Play a plan with its progress shown. Raises CouldNotRun."""
    with Ticker(console) as ticker:
        run = run_plan(plan, out, watch=ticker, command=command, relay_command=relay_command, outside=outside)
        return asyncio.run(run)


def play_and_judge(
    plan: Plan,
    out: Path,
    console: Console,
    *,
    command: Sequence[str],
    relay_command: Sequence[str] | None = None,
    outside: StackFile | None = None,
) -> Judged:
    """Play a plan, judge its history and write the report into `out`.

    Raises CouldNotRun, also for what nobody expected: a bug of this stand is no verdict on the relay.
    """
    try:
        result = play(plan, out, console, command=command, relay_command=relay_command, outside=outside)
        report = api.judge(result.history)
        written = api.write_report(report, out / "report")
    except CouldNotRun:
        raise
    except Exception as error:  # a bug of ours must end as `could not run`, never as the exit code of a breach
        raise CouldNotRun(f"{type(error).__name__}: {error}") from error
    return Judged(result=result, report=report, written=written)


def relay_broken_by(plant: str | None) -> Sequence[str] | None:
    """The command of a relay with this planted bug; None for the relay as it is. Raises BugUnknown."""
    if plant is None:
        return None
    if plant not in PLANTED:
        raise BugUnknown(f"--plant: {unknown(plant)}")
    return (sys.executable, "-m", "faults.planted", plant, "serve")


def fresh(folder: Path) -> Path:
    """The folder, or one beside it with a number, that holds nothing yet: no run overwrites another, or a torn one."""
    number, found = 1, folder
    while found.exists() and any(found.iterdir()):
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found
