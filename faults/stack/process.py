"""A process of the real stack: started, awaited, paused, killed and restarted on the same port with the same data."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from faults.stack.errors import ProcessFailed
from faults.stack.ports import LOOPBACK, ReservedPort
from faults.stack.supervisor import Supervisor

READY_S = 30.0
"""Longest wait for readiness: servers take well under 1 s, a loaded CI machine several."""
STOP_S = 30.0
"""Longest wait after the polite signal: above the relay's drain deadline of 20 s."""
POLL_S = 0.02
"""Between two looks at a process; a look costs well under a millisecond."""
LOG_TAIL_BYTES = 2000

Probe = Callable[[], Awaitable[bool]]

Status = Literal["running", "stopped", "gone", "unclear"]
"""What is seen of a process: `stopped` is frozen, `gone` has ended or was never started, `unclear` is none of these."""


def status_of(pid: int | None) -> Status:
    """What the system says of a process of this machine; None is one that does not run."""
    try:
        told = psutil.Process(pid).status() if pid is not None else psutil.STATUS_ZOMBIE
    except psutil.Error:
        return "gone"
    if told in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        return "gone"
    return "stopped" if told == psutil.STATUS_STOPPED else "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """How to run one process."""

    name: str
    """Names its log file and its errors; unique within a stack."""
    argv: tuple[str, ...]
    folder: Path
    """Its working folder, with its data."""
    log_path: Path
    probe: Probe | None = None
    """Whether it serves; False or an OSError means not yet. None: serving is not what it is for."""
    env: dict[str, str] = field(default_factory=dict)
    """The whole environment; read at each start, so a change takes effect at the next one."""
    polite_signal: int = signal.SIGTERM
    farewell: int | None = None
    """Signal that ends it at the close of the stack, if SIGKILL would leave something behind."""
    user: int | None = None
    """Another uid to run under."""
    shm_file: Path | None = None


def program(
    supervisor: Supervisor, run_dir: Path, name: str, argv: Sequence[str], is_ready: Callable[[], bool]
) -> ManagedProcess:
    """A process that listens on no port, not started; its environment is this one's, its folder `run_dir`."""

    async def probe() -> bool:
        return is_ready()

    spec = ProcessSpec(
        name=name,
        argv=tuple(argv),
        folder=run_dir,
        log_path=run_dir / f"{name}.log",
        probe=probe,
        env=dict(os.environ),
    )
    return ManagedProcess(supervisor=supervisor, port=None, spec=spec)


class ManagedProcess:
    """One process, steered by signals; `pid` is None while it does not run."""

    def __init__(self, *, supervisor: Supervisor, port: ReservedPort | None, spec: ProcessSpec) -> None:
        """Prepare it, not started; `port` is None for one that listens on none."""
        self.spec = spec
        self.pid: int | None = None
        self.returncode: int | None = None
        """How the last run ended; negative for a signal."""
        self._supervisor = supervisor
        self._port = port

    @property
    def name(self) -> str:
        """Its name within the stack."""
        return self.spec.name

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1, the same for all its runs."""
        assert self._port is not None, self.name
        return self._port.number

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return LOOPBACK, self.port

    @property
    def log_path(self) -> Path:
        """Where its output goes, all runs appended."""
        return self.spec.log_path

    def is_running(self) -> bool:
        """Whether the process exists (it may be paused); notices when it has ended."""
        if self.pid is not None:
            returncode = self._supervisor.poll(self.pid)
            if returncode is not None:
                self.pid, self.returncode = None, returncode
        return self.pid is not None

    async def status(self) -> Status:
        """What is seen of it now."""
        return status_of(self.pid) if self.is_running() else "gone"

    async def start(self) -> None:
        """Start it and wait until it serves. Raises ProcessFailed."""
        self.start_nowait()
        await self.wait_ready()

    def start_nowait(self) -> None:
        """Start it without waiting. Raises ProcessFailed if it runs already."""
        if self.is_running():
            raise ProcessFailed(f"{self.name} already runs as pid {self.pid}; stop or kill it first")
        spec = self.spec
        self.returncode = None
        self.pid = self._supervisor.start(
            argv=spec.argv,
            env=spec.env,
            cwd=spec.folder,
            log=spec.log_path,
            user=spec.user,
            farewell=spec.farewell,
            shm_file=spec.shm_file,
        )

    async def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until it serves. Raises ProcessFailed if it ends first or takes longer."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            if not self.is_running():
                raise ProcessFailed(f"expected {self.name} to serve, but it {self._how_it_ended()}; {self.log_tail()}")
            if await self._serves(deadline):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise ProcessFailed(f"expected {self.name} to serve within {timeout_s:g} s; {self.log_tail()}")
            await asyncio.sleep(POLL_S)

    async def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait until it has ended and return its code (negative: the signal). Raises ProcessFailed."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self.is_running():
            if asyncio.get_running_loop().time() > deadline:
                raise ProcessFailed(f"expected {self.name} to end within {timeout_s:g} s; {self.log_tail()}")
            await asyncio.sleep(POLL_S)
        if self.returncode is None:
            raise ProcessFailed(f"{self.name} was never started; start it first")
        return self.returncode

    async def kill(self) -> int:
        """SIGKILL it with all its children, and wait until it is gone; returns its code."""
        self.signal(signal.SIGKILL)
        return await self.wait()

    def terminate(self) -> None:
        """Ask it politely to end, without waiting."""
        self.signal(self.spec.polite_signal)

    async def stop(self, timeout_s: float = STOP_S) -> int:
        """Ask it politely to end, and wait; returns its code. Raises ProcessFailed if it does not."""
        self.terminate()
        return await self.wait(timeout_s)

    async def restart(self) -> None:
        """Stop it politely if it runs, start it on the same port with the same data, wait until it serves."""
        if self.is_running():
            await self.stop()
        await self.start()

    def pause(self) -> None:
        """Freeze it with all its children (SIGSTOP): its connections stay open and silent."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Send a signal. Raises ProcessFailed if it does not run."""
        if self.pid is None or not self.is_running():
            raise ProcessFailed(f"{self.name} does not run ({self._how_it_ended()}); start it first")
        self._supervisor.signal(self.pid, number)

    def release(self) -> None:
        """Give its port back; it can't be started again."""
        assert self.pid is None, self.name
        if self._port is not None:
            self._port.release()

    async def _serves(self, deadline: float) -> bool:
        if self.spec.probe is None:
            return True
        try:
            async with asyncio.timeout_at(deadline):
                return await self.spec.probe()
        except OSError:
            return False  # refused, reset or timed out: not yet

    def _how_it_ended(self) -> str:
        return "was never started" if self.returncode is None else f"ended with code {self.returncode}"

    def log_tail(self) -> str:
        """The end of its log, with the log's path, for an error message."""
        try:
            tail = self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        except FileNotFoundError:
            return "it wrote no log"
        return f"the end of {self.log_path}:\n{tail}"
