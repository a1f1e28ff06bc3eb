"""`meshrelay chaos campaign`: swarm plans on the real stack, one after the other, and one report of them all."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from faults.chaos import CouldNotRun
from faults.judged import BugUnknown, fresh, play_and_judge, relay_broken_by
from faults.outside.choice import StackKind, stack_of, words_of
from faults.outside.file import StackFile, StackFileInvalid
from faults.paths import NewFolder
from faults.seeds import SEED_MAX, SeedsInvalid, seeds_of
from faults.swarm import PLAYED, KindsInvalid, chaos_plan_over, kinds_of
from faults.transports import Over, TransportName, as_option
from reports.api import write_campaign
from reports.campaign import CampaignReport, RunShown, campaign_of, encode, run_of
from reports.render import junit
from system.exits import INTERRUPTED, USAGE

Plant = Annotated[str | None, typer.Option("--plant", "--bug", help="Break the relay on purpose, to try the judge.")]
Stack = Annotated[StackKind, typer.Option("--stack", help="Play on this stack.")]
StackFileOption = Annotated[
    Path | None,
    typer.Option("--stack-file", exists=True, dir_okay=False, help="With --stack external: where its parts are."),
]


def campaign_command(
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="A..B, both included; A.. until the time is over. Default: drawn.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, help="Begin no run after so long. Default: 10 without an end.")
    ] = None,
    kinds: Annotated[str | None, typer.Option("--kinds", help="Only these kinds of faults: kill,cut,…")] = None,
    plant: Plant = None,
    stack: Stack = StackKind.EMBEDDED,
    stack_file: StackFileOption = None,
    out: NewFolder = None,
    transport: Over = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the campaign's report as JSON.")] = False,
) -> None:
    """Play a swarm plan for each seed on the real stack; judge each, and all together.

    Exit codes: 0 every run held, 1 violated, 2 usage, 3 not converged, 4 could not run, 130 interrupted.
    """
    console = Console(stderr=True)
    try:
        chosen = seeds_of(seeds if seeds is not None else f"{secrets.randbelow(SEED_MAX)}..")
        words = kinds_of(kinds)
        relay_command = relay_broken_by(plant)
        outside = stack_of(stack, stack_file, plant)
    except (SeedsInvalid, BugUnknown, KindsInvalid, StackFileInvalid, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE) from None
    folder = out or fresh(Path("out") / "chaos")
    if folder.exists() and any(folder.iterdir()):
        typer.echo(f"--out: expected a new or empty folder, got {folder}; give another, or remove it", err=True)
        raise typer.Exit(USAGE)
    campaign = Campaign(
        out=folder,
        console=console,
        kinds=words,
        plant=plant,
        relay_command=relay_command,
        outside=outside,
        where=words_of(stack, stack_file),
        transport=transport,
    )
    report = campaign.run(chosen, minutes if minutes is not None or len(chosen) < SEED_MAX else 10.0)
    typer.echo(encode(report).decode() if as_json else _shown(report, folder))
    raise typer.Exit(INTERRUPTED if campaign.is_interrupted else report.exit_code)


@dataclass(slots=True, kw_only=True)
class Campaign:
    """Plays plans one by one; what there is so far is on disk after each of them."""

    out: Path
    console: Console
    kinds: Sequence[str]
    plant: str | None
    relay_command: Sequence[str] | None
    outside: StackFile | None
    where: Sequence[str]
    """The words that say on which stack."""
    transport: TransportName | None = None
    runs: list[RunShown] = field(default_factory=list)
    suites: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    is_interrupted: bool = False

    def run(self, seeds: range, minutes: float | None) -> CampaignReport:
        """Until the seeds or the minutes are over, or Ctrl-C: whoever has seen enough is told what there was."""
        began_s, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        notes = [] if self.plant is None else [f"The relay was broken on purpose: {self.plant}."]
        try:
            for seed in _within(seeds, minutes, began_s):
                self._play(seed)
                self._write(started_at, time.monotonic() - began_s, notes)
        except KeyboardInterrupt:
            self.is_interrupted = True
            return self._write(started_at, time.monotonic() - began_s, notes, is_whole=False)
        return self._write(started_at, time.monotonic() - began_s, notes)

    def _play(self, seed: int) -> None:
        plan = chaos_plan_over(seed, self.transport, self.kinds)
        command = self._command(seed)
        self.console.print(f"{plan.name}: {len(plan.faults)} faults", highlight=False)
        folder, began_s = Path("runs") / plan.name, time.monotonic()
        try:
            judged = play_and_judge(
                plan,
                self.out / folder,
                self.console,
                command=command,
                relay_command=self.relay_command,
                outside=self.outside,
            )
        except CouldNotRun as error:
            run = RunShown(
                plan=plan.name,
                seed=seed,
                command=" ".join(command),
                folder=str(folder),
                verdict="could not run",
                reason=str(error),
                wall_s=round(time.monotonic() - began_s, 1),
            )
        else:
            run = run_of(judged.report, folder=str(folder), wall_s=time.monotonic() - began_s)
            self.suites[plan.name] = junit.render(judged.report)
            self.versions = judged.report.versions
        self.runs.append(run)
        self.console.print(
            f"{plan.name} {run.verdict}: {run.reason} ({run.wall_s:.0f} s)", highlight=False, soft_wrap=True
        )

    def _command(self, seed: int) -> list[str]:
        command = ["meshrelay", "chaos", "run", "--swarm", "--seed", str(seed)]
        if set(self.kinds) != set(PLAYED):
            command += ["--kinds", ",".join(self.kinds)]
        command += as_option(self.transport).split()
        return [*command, *self.where] + ([] if self.plant is None else ["--plant", self.plant])

    def _write(self, started_at: str, wall_s: float, notes: Sequence[str], *, is_whole: bool = True) -> CampaignReport:
        report = campaign_of(
            self.runs,
            started_at=started_at,
            wall_s=wall_s,
            versions=self.versions,
            notes=notes,
            is_whole=is_whole,
        )
        write_campaign(report, self.suites, self.out)
        return report


def _within(seeds: range, minutes: float | None, began_s: float) -> Iterator[int]:
    for seed in seeds:
        if minutes is not None and time.monotonic() - began_s > minutes * 60:
            return
        yield seed


def _shown(report: CampaignReport, out: Path) -> str:
    """What a campaign came to, for a person."""
    lines = [f"{report.verdict}: {report.reason}"]
    lines += [f"{number:12,} {name}" for name, number in report.counts.items()]
    lines += [
        f"{sum(by_target.values()):12,} {kind}: " + ", ".join(f"{count} {on}" for on, count in by_target.items())
        for kind, by_target in report.faults.items()
    ]
    for run in report.failed:
        lines += [f"{run.plan} {run.verdict}: {run.reason}", f"  again: {run.command}"]
    return "\n".join([*lines, *report.notes, f"report: {out / 'index.html'}"])
