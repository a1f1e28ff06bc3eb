"""`meshrelay export`: a production relay's tables and logs as a history, and nothing judged."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from reports.export.connections import Connection, gathered
from reports.export.logs import Line, LogInvalid, read_lines
from reports.export.tables import TablesUnreadable, reading
from reports.export.write import Deployment, Exported, ExportRefused, Window, export
from system.exits import COULD_NOT_RUN, USAGE

STDIN = Path("-")

_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def register(app: typer.Typer, *, deployment: Callable[[], Deployment], settings_invalid: type[Exception]) -> None:
    """Add the sub-command; `deployment` reads the relay's settings, or raises `settings_invalid`."""

    @app.command(name="export", rich_help_panel="Evidence")
    def export_history(
        logs: Annotated[list[Path], typer.Argument(help="The relays' logs, one file or more; - is standard input.")],
        out: Annotated[Path, typer.Option("--out", help="The history to write (JSONL); must not be there yet.")],
        since: Annotated[str, typer.Option(help="ISO 8601 with a zone, or so long ago: 30m, 24h, 7d.")] = "24h",
        until: Annotated[str, typer.Option(help="The same; 0s is now.")] = "0s",
        clock_slack_s: Annotated[
            float, typer.Option("--clock-slack", min=0, help="Seconds that clocks of replicas and Postgres may differ.")
        ] = 5.0,
    ) -> None:
        """Write a history from the relay's tables and logs, for `meshrelay report --history`.

        It runs in the relay's own environment (MESHRELAY_*) and only reads. Exit code: 0 written, 2 usage, 4 could not.
        """
        console = Console(stderr=True)
        try:
            source = deployment()
            now = datetime.now(UTC)
            window = Window(since=_time(since, now), until=_time(until, now), clock_slack_s=clock_slack_s)
            if window.since >= window.until:
                raise ExportRefused(f"expected --since before --until, got {window.since} and {window.until}")
            if out.exists():
                raise ExportRefused(f"expected a file that is not there yet, got {out}")
        except (settings_invalid, ExportRefused) as error:
            console.print(f"[red]nothing exported[/]: {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(USAGE) from None
        try:
            with console.status("reading the logs") as status:
                connections = gathered(_lines(logs))
                if not connections:
                    raise ExportRefused(
                        "expected lines such as 'session.closed' in the logs, got none; is LOG_LEVEL info?"
                    )

                def watch(done: int, events: int) -> None:
                    status.update(f"{done:,} of {events:,} events written")

                written = asyncio.run(_export(source, connections, window, out, watch))
        except (LogInvalid, TablesUnreadable, ExportRefused, OSError) as error:
            console.print(f"[red]nothing exported[/]: {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(COULD_NOT_RUN) from None
        console.print(
            f"{written.records:,} records: {written.events:,} events, {written.connections:,} connections "
            f"({written.unended:,} without an end), {written.deliveries:,} events sent"
        )
        console.print(f"judge it with: meshrelay report --history {escape(str(out))}", soft_wrap=True)


async def _export(
    source: Deployment,
    connections: Sequence[Connection],
    window: Window,
    out: Path,
    watch: Callable[[int, int], None],
) -> Exported:
    async with reading(source.dsn, source.stream) as tables:
        # what is committed later than the snapshot may have been sent, and is not in it
        capped = Window(since=window.since, until=min(window.until, tables.now), clock_slack_s=window.clock_slack_s)
        return await export(tables, connections, source, capped, out, watch)


def _lines(logs: Sequence[Path]) -> Iterator[Line]:
    for path in logs:
        with _opened(path) as lines:
            yield from read_lines(lines, str(path))


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[bytes]]:
    if path == STDIN:
        yield iter(sys.stdin.buffer)
        return
    with path.open("rb") as file:
        yield iter(file)


def _time(text: str, now: datetime) -> datetime:
    """A time with its zone. Raises ExportRefused."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ExportRefused(f"expected a time such as 2026-01-31T08:00:00Z or 24h, got {text!r}")
    return at
