"""Small disks that can be filled: whether they can be had on this machine, and how a full one is played."""

from __future__ import annotations

import functools
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from faults.stack.errors import PartUnavailable
from faults.stack.supervisor import Supervisor

MIB = 1024 * 1024
NATS_BYTES = 128 * MIB
"""Some twenty times what a run publishes."""
POSTGRES_BYTES = 256 * MIB
"""An empty cluster has 40 MiB, its log at most 100 with the settings below."""
REDIS_BYTES = 64 * MIB
"""Its log of a run, rewritten at 64 MiB by default, so hardly ever."""
POSTGRES_SETTINGS = {"max_wal_size": "64MB", "min_wal_size": "32MB"}
"""For a small disk: the default lets the log grow to 1 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallDisk:
    """A server's disk."""

    supervisor: Supervisor
    path: Path

    def fill(self) -> dict[str, int | bool]:
        """Take all room: how many bytes are taken and left, and whether a write was refused. Raises ProcessFailed."""
        return self.supervisor.fill(self.path)

    def free(self) -> int:
        """Give the room back; the free bytes."""
        return self.supervisor.free(self.path)


@functools.cache
def refused() -> str | None:
    """Why no small disks can be had on this machine; None if they can. Tried once, for real."""
    folder = Path(tempfile.gettempdir()) / f"meshrelay-disk-{secrets.token_hex(8)}"
    supervisor = Supervisor(doomed_dir=folder)
    try:
        supervisor.mount(folder, size_bytes=MIB)
    except PartUnavailable as error:
        return str(error)
    finally:
        supervisor.close()
    return None
