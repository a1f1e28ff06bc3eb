"""A relay's process is configured by its environment alone, and steered like any other process of the stack."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from faults.stack import ProcessFailed, RelayProcess
from faults.stack.supervisor import Supervisor

pytestmark = pytest.mark.stack

STAND_IN = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(os.environ.get("MESHRELAY_WORD", "").encode())

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = HTTPServer((os.environ["MESHRELAY_HTTP_HOST"], int(os.environ["MESHRELAY_HTTP_PORT"])), Handler)
server.serve_forever()
"""
"""Serves `/readyz` as the relay does; the relay itself has tests of its own."""


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    """A watchdog without servers."""
    supervisor = Supervisor(doomed_dir=None)
    yield supervisor
    supervisor.close()


def relay(supervisor: Supervisor, run_dir: Path, program: str = STAND_IN) -> RelayProcess:
    """A stand-in for a relay, not started."""
    command = [sys.executable, "-c", program]
    return RelayProcess(supervisor=supervisor, run_dir=run_dir, name="relay", settings={"WORD": "one"}, command=command)


async def word(process: RelayProcess) -> str:
    """What the stand-in read from its environment."""
    async with aiohttp.ClientSession() as session, session.get(f"{process.url}/readyz") as response:
        return await response.text()


async def test_settings_arrive_and_change_at_the_next_start(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay sees its settings as MESHRELAY_* and none of ours; a change holds from its next start."""
    monkeypatch.setenv("MESHRELAY_WORD", "from outside")
    process = relay(supervisor, tmp_path)
    await process.start()
    url, first = process.url, await word(process)
    process.set(WORD="two")
    await process.restart()
    assert (first, await word(process), process.url) == ("one", "two", url)


async def test_sigterm_ends_it_politely_and_sigkill_does_not(supervisor: Supervisor, tmp_path: Path) -> None:
    """The return code tells a drained relay (0) from a killed one (-9)."""
    process = relay(supervisor, tmp_path)
    await process.start()
    drained = await process.stop()
    await process.start()
    killed = await process.kill()
    assert (drained, killed, process.is_running()) == (0, -signal.SIGKILL, False)


async def test_a_process_that_ends_at_once_is_reported_with_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    """A start that fails says how it ended and what it last wrote, without waiting for the time limit."""
    process = relay(supervisor, tmp_path, "raise SystemExit('no such database')")
    with pytest.raises(ProcessFailed, match=r"ended with code 1; .*\nno such database"):
        await process.start()


async def test_a_process_that_does_not_run_takes_no_signal(supervisor: Supervisor, tmp_path: Path) -> None:
    """Steering a process that was never started, or is dead, is an error that says so; nothing else is signalled."""
    process = relay(supervisor, tmp_path)
    with pytest.raises(ProcessFailed, match="was never started"):
        process.pause()
    await process.start()
    await process.kill()
    with pytest.raises(ProcessFailed, match="ended with code -9"):
        await process.kill()


async def test_a_running_process_is_not_started_twice(supervisor: Supervisor, tmp_path: Path) -> None:
    """A second start is refused while the first runs."""
    process = relay(supervisor, tmp_path)
    await process.start()
    with pytest.raises(ProcessFailed, match="already runs"):
        process.start_nowait()


async def test_a_program_that_does_not_exist_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    """A command that can't be executed fails at once with its name, and the watchdog goes on."""
    process = RelayProcess(
        supervisor=supervisor, run_dir=tmp_path, name="relay", settings={}, command=["/nonexistent/relay"]
    )
    with pytest.raises(ProcessFailed, match="/nonexistent/relay"):
        process.start_nowait()
    other = relay(supervisor, tmp_path)
    await other.start()
    assert other.is_running()
