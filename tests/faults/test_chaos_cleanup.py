"""Whatever interrupts a chaos run, nothing of it remains but its folder, and what that says so far can be judged."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import psutil
import pytest
from typer.testing import CliRunner

import meshrelay
from faults.stack import disks
from faults.vocabulary import Cut, DiskFull, Link, Pause, ProcessName
from reports.parts import LEADING, PARTS_FOLDER
from tests.faults.listening import Lived, still_listening
from tests.faults.test_chaos import small_run

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

STARTED_S = 60.0
GONE_S = 20.0
LONG_S = 100.0
ROOT = Path(__file__).parents[2]

FAULTS = (
    DiskFull(id="full", process=ProcessName.POSTGRES, at_s=0.5, for_s=LONG_S - 1),
    Pause(id="frozen", process=ProcessName.AGENT, at_s=0.5, for_s=LONG_S - 1, only="slow"),
    Pause(id="relay", process=ProcessName.RELAY, at_s=0.5, for_s=LONG_S - 1, only="relay-2"),
    Cut(id="cut", link=Link.PUBLISHER_NATS, at_s=0.5, for_s=LONG_S - 1),
)
"""What might keep something alive: a mounted disk, a frozen child of the nursery, a frozen replica, held bytes."""


def until(what: str, is_so: object, within_s: float) -> None:
    """Wait until something is so."""
    assert callable(is_so)
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"expected {what} within {within_s:g} s"
        time.sleep(0.05)


def proved(out: Path) -> int:
    """How many faults of the run have left proof by now."""
    path = out / PARTS_FOLDER / LEADING
    return path.read_bytes().count(b'"phase":"effective"') if path.exists() else 0


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; a zombie has, only its new parent has not looked yet."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def mounts_of(folders: Iterable[Path]) -> list[str]:
    """The mounts within these folders, in the mount namespaces of all processes that may be looked at."""
    found: dict[str, None] = {}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
                place = line.split()[4]
                if any(place.startswith(f"{folder}/") for folder in folders):
                    found[place] = None
    return list(found)


def _told(process: psutil.Process) -> tuple[str, list[str]]:
    """A process's name and words; neither, of one that has ended meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name(), process.cmdline()
    return "", []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_remains_of_an_interrupted_run(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and SIGKILL in the midst of faults: no process, port, socket, mount or folder is left."""
    assert disks.refused() is None
    plan, out = tmp_path / "plan.json", tmp_path / "run"
    msgspec.structs.replace(small_run(), duration_s=LONG_S, faults=FAULTS).dump(plan)
    argv = [sys.executable, "-m", "meshrelay", "chaos", "run", "--plan", str(plan), "--out", str(out)]
    with (tmp_path / "errors").open("wb") as errors:
        owner = subprocess.Popen(argv, cwd=ROOT, stdout=errors, stderr=errors, preexec_fn=_hear_ctrl_c)
    try:
        until("all faults to take effect", lambda: proved(out) == len(FAULTS), STARTED_S)
        below = psutil.Process(owner.pid).children(recursive=True)
        told = [_told(one) for one in below]
        assert {"nats-server", "postgres"} <= {name for name, _ in told}
        run_dirs = {Path(words[4]) for _, words in told if "watchdog.py" in " ".join(words)}
        assert [(folder / "agents.sock").exists() for folder in run_dirs] == [True]
        pids = {one.pid for one in below}
        ports = {one.laddr.port for one in psutil.net_connections("tcp") if one.pid in pids}
        assert len(mounts_of(run_dirs)) == 2, "a small disk for NATS, and one for Postgres"
        began_s = psutil.Process(owner.pid).create_time()
        owner.send_signal(number)
        assert owner.wait(GONE_S) != 0
        ended_s = time.time()
        until("every process to be gone", lambda: not alive(below), GONE_S)
        until("its folder to be gone", lambda: not any(folder.exists() for folder in run_dirs), GONE_S)
        assert mounts_of(run_dirs) == []
        assert still_listening(ports, Lived(began_s, ended_s)) == []
    finally:
        owner.kill()
        owner.wait()
    result = CliRunner().invoke(
        meshrelay.command(["report"]), ["report", "--history", str(out), "--out", str(tmp_path / "report")]
    )
    assert result.exit_code == 3, result.output
    assert "the history ends before everybody was caught up" in result.output
    assert (tmp_path / "report" / "report.html").exists()


def _hear_ctrl_c() -> None:
    """A shell's background job, as these tests may be, ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
