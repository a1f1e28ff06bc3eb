"""Who still listens on the ports of a run that has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Lived:
    """When a run's first process began and when the run ended, in s since the epoch."""

    began_s: float
    ended_s: float

    def has(self, pid: int | None) -> bool:
        """Whether a process may be of this run: any that began while it lived, known to us or not."""
        try:
            return pid is None or self.began_s <= psutil.Process(pid).create_time() < self.ended_s
        except psutil.NoSuchProcess:
            return False


def still_listening(ports: Iterable[int], lived: Lived) -> list[int]:
    """The ports on which a process of the run listens; one that another program has since is not theirs any more."""
    wanted = set(ports)
    rows = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return sorted({one.laddr.port for one in rows if one.laddr.port in wanted and lived.has(one.pid)})
