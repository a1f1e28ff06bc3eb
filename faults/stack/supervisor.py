"""The owner's side of the watchdog: start, poll and signal processes that can't outlive this one.

Calls block for about a millisecond (one line there, one line back), which is why they are plain functions also for
callers on an event loop. Nothing here waits for a server to be ready; that is `process.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faults.stack import watchdog
from faults.stack.errors import PartUnavailable, ProcessFailed, WatchdogLost

CLOSE_S = watchdog.FAREWELL_S + watchdog.REAP_S + 5.0
"""How long the watchdog may take to end everything: its own limits, and some for a loaded machine."""


class Supervisor:
    """One watchdog process, and the pipe to it; closing the pipe ends every process started through it."""

    def __init__(self, *, doomed_dir: Path | None) -> None:
        """Start a watchdog that makes `doomed_dir`, if given, and removes it at the end. Raises WatchdogLost."""
        self._requests = 0
        self._lock = threading.Lock()
        self._watchdog = subprocess.Popen(
            # -I: neither PYTHON* variables nor the current folder decide what the watchdog imports
            [sys.executable, "-I", watchdog.__file__, str(os.getpid()), *([str(doomed_dir)] if doomed_dir else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # it must outlive a Ctrl-C that ends its owner
        )
        assert self._watchdog.stdout is not None
        if not self._watchdog.stdout.readline():
            raise WatchdogLost(f"expected a watchdog to start and make {doomed_dir}; it said why on standard error")

    @property
    def pid(self) -> int:
        """The watchdog's own pid."""
        return self._watchdog.pid

    def start(
        self,
        *,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        user: int | None = None,
        farewell: int | None = None,
        shm_file: Path | None = None,
    ) -> int:
        """Start a process and return its pid.

        `user` runs it under another uid; `farewell` is the signal that ends it at the close of the stack (without
        one, SIGKILL); `shm_file` is a Postgres pid file naming shared memory to free.
        Raises ProcessFailed, WatchdogLost.
        """
        answer = self._ask(
            op="start",
            argv=list(argv),
            env=dict(env),
            cwd=str(cwd),
            log=str(log),
            user=user,
            farewell=farewell,
            shm_file=None if shm_file is None else str(shm_file),
        )
        if "error" in answer:
            raise ProcessFailed(f"expected {argv[0]} to start, got: {answer['error']}")
        pid: int = answer["pid"]
        return pid

    def poll(self, pid: int) -> int | None:
        """The return code of a process that ended, else None; a pid is unknown after its code was told."""
        returncode: int | None = self._ask(op="poll", pid=pid)["returncode"]
        return returncode

    def signal(self, pid: int, number: int) -> None:
        """Signal a running process; KILL, STOP and CONT reach its descendants too. Raises ProcessFailed."""
        answer = self._ask(op="signal", pid=pid, number=int(number))
        if "error" in answer:
            raise ProcessFailed(f"can't send signal {int(number)}: {answer['error']}; start the process first")

    def mount(self, path: Path, *, size_bytes: int, user: int | None = None) -> None:
        """Give a folder a small disk of its own, seen only by what is started from now on. Raises PartUnavailable."""
        answer = self._ask(op="disk", path=str(path), size_bytes=size_bytes, user=user)
        if "error" in answer:
            raise PartUnavailable("a small disk", f"{answer['error']}; it takes root, or user namespaces")

    def fill(self, path: Path) -> dict[str, Any]:
        """Take all room on a small disk; `taken_bytes`, `free_bytes`, `is_refused`. Raises ProcessFailed."""
        answer = self._ask(op="fill", path=str(path))
        if "error" in answer:
            raise ProcessFailed(f"expected to fill {path}, got: {answer['error']}")
        return {name: answer[name] for name in ("taken_bytes", "free_bytes", "is_refused")}

    def free(self, path: Path) -> int:
        """Give the room on a small disk back; the free bytes."""
        return int(self._ask(op="free", path=str(path))["free_bytes"])

    def close(self) -> None:
        """End every process and wait until they are gone; idempotent. Raises WatchdogLost if that takes too long."""
        assert self._watchdog.stdin is not None
        assert self._watchdog.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._watchdog.stdin.close()
        try:
            self._watchdog.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            raise WatchdogLost(
                f"expected watchdog {self.pid} to end within {CLOSE_S:.0f} s; see `ps -s {self.pid}`"
            ) from None
        self._watchdog.stdout.close()

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._requests += 1
            answer: dict[str, Any] = {}
            while answer.get("request") != self._requests:  # a Ctrl-C may have left an earlier answer unread
                line = self._exchange(request | {"request": self._requests} if not answer else None)
                if not line:
                    lost = f"expected watchdog {self.pid} to answer {request['op']!r}, got nothing; start a new stack"
                    raise WatchdogLost(lost)
                answer = json.loads(line)
        return answer

    def _exchange(self, request: dict[str, Any] | None) -> bytes:
        """Send a request, if there is one, and read a line; nothing if the pipe is closed on either side."""
        assert self._watchdog.stdin is not None
        assert self._watchdog.stdout is not None
        try:
            if request is not None:
                self._watchdog.stdin.write(json.dumps(request).encode() + b"\n")
                self._watchdog.stdin.flush()
            return self._watchdog.stdout.readline()
        except (BrokenPipeError, ValueError):  # ValueError: closed on this side
            return b""
