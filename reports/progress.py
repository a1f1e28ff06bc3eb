"""How far a long history has been read, for a person at a terminal; nobody else is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from reports.history import Watch


@contextmanager
def shown() -> Iterator[Watch]:
    """A watch for `api.judge`, whose bar stands on standard error while the `with` lasts."""
    console = Console(stderr=True)
    columns = TextColumn("judging"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("judging", total=None)

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield watch
