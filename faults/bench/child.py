"""The processes beside a measurement: started with a pipe, told what to do by lines of JSON, ended with the pipe."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil

ANSWER_BYTES_MAX = 64 * 1024 * 1024
END_S = 5.0


class ChildFailed(RuntimeError):
    """A process beside the measurement could not do what it was told; the message is its own."""


class Child:
    """One process, doing one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self.pid = process.pid

    async def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Have it carry out one command. Raises ChildFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what} | arguments).encode() + b"\n")
        line = await self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "it ended"}
        if "error" in answer:
            raise ChildFailed(f"{self._name}: {what}: {answer['error']}")
        return answer


@asynccontextmanager
async def running(module: str) -> AsyncIterator[Child]:
    """A child that runs `faults.bench.<module>`, for the length of an `async with`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"faults.bench.{module}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=ANSWER_BYTES_MAX,
    )
    try:
        yield Child(process, module)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def cpu_s(pid: int) -> float:
    """The processor time that a process has used, in s, of the kernel's work for it too."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def rss_bytes(pid: int) -> int:
    """The memory of a process that is in RAM, in bytes."""
    return int(psutil.Process(pid).memory_info().rss)
