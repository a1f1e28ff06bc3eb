"""What a session's work can wait for; the work itself is a generator that yields these and touches no clock."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sim.postgres.tables import Transaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Received:
    """Wait for more bytes of the client."""


@dataclass(frozen=True, slots=True)
class Worked:
    """Wait as long as a piece of work takes."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Wait until that transaction ends, or rolls back to a savepoint; then look again."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Durable:
    """Wait until the log is durable up to this position; nothing can interrupt it."""

    lsn: int


Wait = Received | Worked | Ended | Durable
Waiting = Generator[Wait, None, T]
"""Work that may wait, and its result."""

RECEIVED = Received()
WORKED = Worked()
