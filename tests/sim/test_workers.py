"""Processes that play worlds end with the command that started them, whatever ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL

import psutil
import pytest

from tests.sim.what_if.test_playing import LIMIT_S, eventually

CAMPAIGN = ("sim", "campaign", "--seeds", "0..9999", "--jobs", "2")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_command(how: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM or SIGKILL of the command: its workers, in the middle of worlds, end soon, and leave no files."""
    asked = [sys.executable, "-m", "meshrelay", *CAMPAIGN]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(asked, cwd=tmp_path, env=environment, stdout=DEVNULL, stderr=DEVNULL) as command:
        try:
            starter = psutil.Process(command.pid)
            eventually(lambda: len(busy(starter)) >= 2)
            children = starter.children(recursive=True)
        finally:
            command.send_signal(how)
    _, alive = psutil.wait_procs(children, timeout=LIMIT_S)
    assert alive == []
    assert list(tmp_path.iterdir()) == []


def busy(starter: psutil.Process) -> list[psutil.Process]:
    """Its processes that have worked for longer than it takes to begin."""
    found = []
    for one in starter.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [one] if one.cpu_times().user > 3.0 else []
    return found
