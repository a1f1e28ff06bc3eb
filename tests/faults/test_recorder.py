"""The recorder stamps and appends; the ticker says where a run is, once in a while."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from faults.chaos import Progress
from faults.recorder import Recorder
from faults.terminal import Ticker
from reports import history
from reports.history import read_history


def test_records_have_the_runs_time(tmp_path: Path) -> None:
    """Times count from the recorder's creation, in the order of the file, whatever the clock's own zero is."""
    ticks = iter([1_000, 1_000, 1_500])
    with Recorder(tmp_path / "h.jsonl", clock_ns=lambda: next(ticks)) as recorder:
        recorder.record(history.Phase, name="safety")
        recorder.record(history.Phase, name="end")
    assert [record.t_ns for record in read_history(tmp_path / "h.jsonl").records] == [0, 500]


def _progress(phase: str, at_s: float) -> Progress:
    return Progress(phase=phase, at_s=at_s, of_s=66.0, events=10, acked=4, delivered=7, effective=1, faults=2)


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal there is a whole line now and then, not one for each call, and no escape codes."""
    text = io.StringIO()
    now_s = iter([100.0, 100.0, 101.0, 120.0, 120.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now_s))
    with Ticker(Console(file=text)) as ticker:
        for second in (0.0, 1.0, 20.0):
            ticker(_progress("safety", second))
    lines = text.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1] == "20 of 66 s, safety: 4 of 10 events published, 7 delivered, 1 of 2 faults proved"


def test_a_bar_on_a_terminal_goes_away() -> None:
    """On a terminal the bar is drawn while the run goes on, and the cursor is shown again at its end."""
    text = io.StringIO()
    with Ticker(Console(file=text, force_terminal=True, width=120)) as ticker:
        ticker(_progress("safety", 1.0))
    assert "7 delivered" in text.getvalue()
    assert text.getvalue().rindex("\x1b[?25h") > text.getvalue().rindex("\x1b[?25l")
