"""`meshrelay report`: gathers the evidence that a review of the decision rests on, and writes what follows from it.

With `--history` it judges one history instead, a run's or one that production left. `meshrelay adr` carries a report's
evidence over into the ADR.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from faults.judged import fresh
from faults.paths import folder_to_write
from faults.planted import PLANTED, unknown
from reports import cli as histories
from reports.api import ALL_PROMISES, Written, write_review
from reports.render.review import trials
from reports.review.adr import AdrInvalid, filled
from reports.review.against import against as compared
from reports.review.assemble import review_of
from reports.review.document import Review, decode, encode
from sim.options.parts import PartInvalid, Parts
from sim.review.gather import commands_of, evidence_of
from sim.review.measure import Measurement, Request
from sim.review.origin import RELAY, digest_of, provenance
from sim.review.parts import KEPT, RUN, Evidences
from system.exits import COULD_NOT_RUN, USAGE

COLOURS = {"held": "green", "violated": "red", "confirmed": "green", "refuted": "red"}
ADR = Path("reports/adr/0001-cursor-and-replay.md")


def register(app: typer.Typer) -> None:
    """Add the commands to the root command."""
    app.command("report", rich_help_panel="Evidence")(report)
    app.command("adr", rich_help_panel="Evidence")(adr)


def report(
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.0, help="Measure for so long; 0: only write what is there already.")
    ] = 5.0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes of the simulation.")] = os.cpu_count() or 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the main plan on the real stack.")] = 7,
    plant: Annotated[
        str | None, typer.Option("--plant", "--bug", help="Break the relay on purpose, to see red.")
    ] = None,
    kept: Annotated[
        Path, typer.Option("--kept", help="Evidence of longer runs, for what this one has no time for.")
    ] = KEPT,
    old: Annotated[
        Path | None,
        typer.Option(
            "--against",
            exists=True,
            dir_okay=False,
            help="An older report.json: say what changed, 1 if a claim got worse.",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option("--history", exists=True, help="Judge this history (JSONL), or a run's folder, and nothing else."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", callback=folder_to_write, help="The folder to write into.")] = Path(
        "out/report"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Is the decision still right, how sure are we, what would change our mind: HTML, Markdown, JSON, JUnit.

    Exit codes: 0 held, 1 violated or a claim got worse, 2 usage, 3 not converged (a history), 4 nothing was shown.
    """
    console = Console(stderr=True)
    if history is not None:
        histories.judge_one(history, out, as_json=as_json)
    if plant is not None and plant not in PLANTED:
        typer.echo(f"--plant: {unknown(plant)}", err=True)
        raise typer.Exit(USAGE)
    try:
        before = None if old is None else decode(old.read_bytes())
        folder = out / "evidence"
        if minutes > 0:
            _measure(Request(minutes=minutes, jobs=jobs, seed=seed, out=_emptied(out), bug=plant), folder, console)
        review = _written(folder, None if plant else kept, before)
        written = write_review(review, out)
    except (PartInvalid, msgspec.DecodeError) as error:
        typer.echo(f"{old}: expected an older report.json: {error}" if old else str(error), err=True)
        raise typer.Exit(USAGE) from None
    except OSError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(COULD_NOT_RUN) from None
    if as_json:
        typer.echo(encode(review).decode())
    _tell(review, written, Console(stderr=as_json))
    raise typer.Exit(review.exit_code)


def adr(
    source: Annotated[Path, typer.Option("--report", help="A report.json.")] = Path("out/report/report.json"),
    file: Annotated[Path, typer.Option("--file", help="The ADR, which has a place for evidence.")] = ADR,
) -> None:
    """Write a report's evidence into the ADR, between its marks.

    Exit codes: 0 written, 2 no report, or no place for it.
    """
    try:
        file.write_text(filled(file.read_text(encoding="utf-8"), decode(source.read_bytes())), encoding="utf-8")
    except (AdrInvalid, msgspec.DecodeError, OSError) as error:
        typer.echo(f"{file}, {source}: {error}", err=True)
        raise typer.Exit(USAGE) from None
    typer.echo(f"{file}: evidence of {source}")


def _emptied(out: Path) -> Path:
    """The folder without the evidence of an earlier run; runs on the real stack are kept beside each other."""
    shutil.rmtree(out / "evidence", ignore_errors=True)
    return out


def _measure(request: Request, folder: Path, console: Console) -> None:
    origin = provenance(minutes=request.minutes, bug=request.bug)
    parts = Parts(folder, origin)
    parts.keep(RUN, origin)
    Measurement(request, parts, fresh(request.out / "real"), console).run()


def _written(folder: Path, kept: Path | None, before: Review | None) -> Review:
    """The review of what is in a folder, and behind it of what was kept. Raises PartInvalid, OSError."""
    parts = Evidences(Parts(folder), None if kept is None else Parts(kept), relay=digest_of(RELAY))
    evidence = evidence_of(parts)
    review = review_of(evidence, ALL_PROMISES, commands_of(evidence.provenance))
    return review if before is None else compared(review, before)


def _tell(review: Review, written: Written, console: Console) -> None:
    """The answer, the claims and the promises, for a person at a terminal."""
    colour = COLOURS.get(review.verdict, "yellow")
    console.print(f"\n[bold {colour}]{review.verdict}[/]: {escape(review.answer.right[0])}", soft_wrap=True)
    for line in review.answer.sure:
        console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)
    table = Table("claim of the ADR", "", box=None, padding=(0, 1))
    for claim in review.claims:
        table.add_row(claim.claim, f"[{COLOURS.get(claim.status, 'yellow')}]{claim.status}[/]")
    console.print(table)
    table = Table("", "promise", "verdict", "trials", box=None, padding=(0, 1))
    for one in review.promises:
        if one.transport == review.promises[0].transport:
            shade = COLOURS.get(one.verdict, "yellow")
            table.add_row(one.guarantee, one.promise.split(":")[0], f"[{shade}]{one.verdict}[/]", trials(one))
    console.print(table)
    for one in review.promises:
        if one.verdict == "violated":
            console.print(
                f"  [red]{one.guarantee} ({one.transport})[/]: {escape(one.why)}\n  again: {one.command}",
                soft_wrap=True,
            )
    for change in review.changed:
        if change.is_worse:
            console.print(
                f"  [red]worse[/] {escape(f'{change.what}: {change.before} -> {change.now}')}", soft_wrap=True
            )
    console.print(f"report: {escape(str(written.html))}", soft_wrap=True)
