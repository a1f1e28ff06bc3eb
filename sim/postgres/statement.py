"""What a statement is to the server: its exact text, its types, what it needs, and the function that does it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sim.postgres.engine import Engine
from sim.postgres.errors import ServerError, out_of_range
from sim.postgres.schema import Tables
from sim.postgres.tables import Snapshot
from sim.postgres.types import END_OF_TIMESTAMPS, FIRST_TIMESTAMP, PgType
from sim.postgres.waits import Waiting

MICROSECONDS = 1_000_000
EPOCH_BITS = 48
"""A position is an epoch's ordinal above so many bits of a sequence."""
_COUNTED = ("SELECT", "UPDATE", "DELETE", "INSERT 0")


class Outcome(NamedTuple):
    """What a statement answers: rows, and the verb of its tag, as `UPDATE`."""

    rows: Sequence[Sequence[Any]]
    verb: str
    changed: int | None = None
    """For the tag, if not the number of rows."""
    notice: ServerError | None = None
    """Told before the tag."""

    @property
    def tag(self) -> str:
        """The tag of CommandComplete."""
        if self.verb not in _COUNTED:
            return self.verb
        return f"{self.verb} {len(self.rows) if self.changed is None else self.changed}"


class Run(NamedTuple):
    """One statement under way."""

    engine: Engine
    snapshot: Snapshot

    @property
    def tables(self) -> Tables:
        """The database."""
        return self.engine.tables


Handler = Callable[..., "Outcome | Waiting[Outcome]"]
"""Called with a Run and the parameters, decoded; a generator if it can wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement that the server knows."""

    text: str
    pin: str
    """`digest` of the text that the handler was written for: another text needs another look at the handler."""
    handler: Handler
    parameters: tuple[PgType, ...] = ()
    columns: tuple[tuple[str, PgType], ...] = ()
    needs: tuple[str, ...] = ()
    """Tables, and columns that came later: without them the statement can't be parsed."""


def digest(text: str) -> str:
    """A short fingerprint of a statement's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def later(now: int, seconds: float | None) -> Any:
    """`now() + make_interval(secs => ...)`, a timestamptz or NULL. Raises ServerError 22008."""
    if seconds is None:
        return None
    us = seconds * MICROSECONDS
    if not -(2.0**63) <= us < 2.0**63:  # nor if it is no number
        raise ServerError("22008", "interval out of range")
    found = now + round(us)
    if not FIRST_TIMESTAMP <= found < END_OF_TIMESTAMPS:
        raise ServerError("22008", "timestamp out of range")
    return found


def earlier(now: int, seconds: float | None) -> Any:
    """`now() - make_interval(secs => ...)`. Raises ServerError 22008."""
    return later(now, None if seconds is None else -seconds)


def int8(value: int) -> int:
    """A bigint. Raises ServerError 22003."""
    if not -(1 << 63) <= value < 1 << 63:
        raise out_of_range("bigint")
    return value


def limit(rows_max: int | None) -> int | None:
    """The number behind LIMIT, where NULL means all. Raises ServerError 2201W."""
    if rows_max is not None and rows_max < 0:
        raise ServerError("2201W", "LIMIT must not be negative")
    return rows_max
