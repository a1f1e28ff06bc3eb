"""A run's progress for people: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from faults import chaos

LINE_S = 15.0
"""Between two lines where no bar can be drawn."""


class Ticker:
    """Shows where a run is; call it as often as you like."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said_at = 0.0

    def __enter__(self) -> Ticker:
        """Begin to draw, if there is a terminal."""
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("starting the stack", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: chaos.Progress) -> None:
        """Take in where the run is."""
        line = (
            f"{progress.phase}: {progress.acked} of {progress.events} events published, {progress.delivered} "
            f"delivered, {progress.effective} of {progress.faults} faults proved"
        )
        if self._bar is not None and self._task is not None:
            done_s = min(max(progress.at_s, 0.0), progress.of_s)
            self._bar.update(self._task, description=line, completed=done_s, total=progress.of_s)
        elif time.monotonic() - self._said_at > LINE_S:
            self._said_at = time.monotonic()
            self._console.print(
                f"{max(progress.at_s, 0.0):.0f} of {progress.of_s:g} s, {line}", highlight=False, soft_wrap=True
            )
