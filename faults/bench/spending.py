"""What each process of a stack has spent: processor time, bytes over its sockets, memory.

Read from the kernel, so that the servers are measured as they are: a postmaster with all its backends, those that have
ended included; sockets by the kernel's own counts of TCP (RFC 4898), as `ss` of iproute2 shows them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from faults.stack.process import ManagedProcess

_COUNTS = re.compile(r"bytes_(sent|received):(\d+)")
SS_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One process, up to a moment, or between two."""

    cpu_s: float
    network_bytes: int | None
    """Sent and received over TCP; None where `ss` can't be had."""
    memory_bytes: int
    """Private memory (USS), of all its processes."""

    def since(self, before: Spent) -> Spent:
        """What was spent between two moments; memory may have shrunk."""
        both = None not in (self.network_bytes, before.network_bytes)
        return Spent(
            cpu_s=self.cpu_s - before.cpu_s,
            network_bytes=(self.network_bytes or 0) - (before.network_bytes or 0) if both else None,
            memory_bytes=self.memory_bytes - before.memory_bytes,
        )


def spent(processes: Mapping[str, ManagedProcess]) -> dict[str, Spent]:
    """What each has spent so far, by the name it is given here; all must be running. Raises psutil.Error."""
    by_port = _network_bytes()
    return {name: _spent(process, by_port) for name, process in processes.items()}


def _spent(process: ManagedProcess, by_port: Mapping[int, int] | None) -> Spent:
    assert process.pid is not None, f"{process.name} does not run"
    first = psutil.Process(process.pid)
    cpu_s, memory_bytes = 0.0, 0
    own = first.cpu_times()
    cpu_s += own.children_user + own.children_system  # those that have ended
    for one in [first, *first.children(recursive=True)]:
        try:
            times = one.cpu_times()
            memory_bytes += one.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue  # a backend that has just ended: the next look has it among the ended
        cpu_s += times.user + times.system
    return Spent(
        cpu_s=cpu_s,
        network_bytes=None if by_port is None else by_port.get(process.port, 0),
        memory_bytes=memory_bytes,
    )


def _network_bytes() -> dict[int, int] | None:
    """Bytes over every open TCP connection, by the port of its listening side."""
    program = shutil.which("ss")
    if program is None:
        return None
    listing = subprocess.run(
        [program, "-tinHO", "state", "established"], capture_output=True, text=True, timeout=SS_LIMIT_S, check=True
    )
    found: dict[int, int] = {}
    for line in listing.stdout.splitlines():
        # <receive queue> <send queue> <local address>:<port> <peer address>:<port> … bytes_sent:… bytes_received:…
        port = int(line.split()[2].rsplit(":", 1)[1])
        found[port] = found.get(port, 0) + sum(int(count) for _, count in _COUNTS.findall(line))
    return found
