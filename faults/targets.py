"""What faults are played on: the lines of links, processes, and disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from faults.stack.process import Status
from faults.toxiproxy import Route, Toxiproxy
from faults.vocabulary import Link, LinkFault, ProcessName


class Steered(Protocol):
    """A process that faults are played on."""

    @property
    def name(self) -> str:
        """Its name in the history."""
        ...

    @property
    def pid(self) -> int | None:
        """Its pid; None while it does not run, or if it runs where pids say nothing to us."""
        ...

    async def kill(self) -> int | None:
        """SIGKILL it and wait until it is gone; answers its code, None if that can't be known."""
        ...

    async def stop(self) -> int | None:
        """End it politely and wait until it is gone; answers its code, None if that can't be known."""
        ...

    async def status(self) -> Status:
        """What is seen of it now, once what was asked of it before is carried out."""
        ...

    def start_nowait(self) -> None:
        """Start it again, as it was."""
        ...

    async def wait_ready(self) -> None:
        """Wait until it serves, or lives, if serving is not what it is for."""
        ...

    def pause(self) -> None:
        """SIGSTOP it."""
        ...

    def resume(self) -> None:
        """SIGCONT it."""
        ...


class Relay(Steered, Protocol):
    """A replica of the relay."""

    @property
    def url(self) -> str:
        """Its own base address, past its proxy, without a slash at the end."""
        ...

    def log_tail(self) -> str:
        """The end of its log, or where that is, for an error message."""
        ...


class Disk(Protocol):
    """A server's disk that can be filled."""

    def fill(self) -> Mapping[str, Any]:
        """Take all room; `taken_bytes`, `free_bytes`, and `is_refused`, whether the next write was."""
        ...

    def free(self) -> int:
        """Give it back; the free bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One proxied way of a link: a link has one for each replica of the relay at its end."""

    replica: str | None
    """None where no replica is at an end."""
    route: Route
    client_pids: Callable[[], Sequence[int]] | None
    """The processes at its near end; None if they are out of sight."""

    @property
    def name(self) -> str:
        """Its name in proofs."""
        return self.replica or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What faults are played on."""

    toxiproxy: Toxiproxy
    lines: Mapping[Link, Sequence[Line]]
    processes: dict[ProcessName, Mapping[str, Steered]]
    """Of each kind, by the names that faults may call them by."""
    disks: Mapping[str, Disk] = field(default_factory=dict)
    """By the names of processes; empty if the plan fills none."""

    def hit_by(self, fault: LinkFault) -> list[Line]:
        """The lines that a fault is played on."""
        return [line for line in self.lines[fault.link] if fault.only in (None, line.replica)]

    @property
    def routes(self) -> list[Route]:
        """Every proxy."""
        return [line.route for lines in self.lines.values() for line in lines]
