"""The read path as a seam: where sessions read from, by the name of the option that the operator chose.

    cursor     pages from Postgres, live from the hub's window (option C, the default)
    jetstream  a consumer of the stream for each session; Postgres tells what of it is gone (option A)
    redis      pages from a Redis Stream for each agent and class, live by news of what was fed (option B)

Whatever stands behind it, a session sees a `Source`: pages of what is retained, with floors, and a word when there is
more. Positions, cursors, notices and the session's states are the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from system.cursor import Position
from system.hub import LiveSession, Released
from system.places import Place
from system.session import Page


class Source(Protocol):
    """What one session reads from; it belongs to that session alone, which closes it."""

    async def read_page(self, after: Position, rows_max: int) -> Page:
        """The agent's next events after a position, with the floors that hold for them.

        Raises NotReady, DatabaseUnavailable, NatsUnavailable, RedisUnavailable: all mean 'the same again, soon'.
        """
        ...

    def is_ahead(self, position: Position) -> bool:
        """Whether there is nothing to read after a position before this replica has heard of more."""
        ...

    async def wait_moved(self, timeout_s: float) -> None:
        """Wait until this replica hears of more, or the time is over."""
        ...

    def covers(self, position: Position) -> bool:
        """Whether a session that has everything up to a position may go live: what it lacks is `since` it."""
        ...

    def since(self, position: Position) -> Sequence[Released]:
        """What the agent is to receive after a position before it goes live, in order; `covers` must hold."""
        ...

    def join(self, session: LiveSession) -> None:
        """From now on push to the session, or have it lose live when there is something to read."""
        ...

    def leave(self, session: LiveSession) -> None:
        """Undo `join`; one that never joined is none of our concern."""
        ...

    def reached(self, position: Position) -> Position:
        """What a live session that joined at this position has been sent up to."""
        ...

    def close(self) -> None:
        """Give back whatever the session held; must neither wait nor raise."""
        ...


class Transport(Protocol):
    """One option, as a replica runs it; what has a body here is for those that need no server of their own."""

    def open(self, agent: str) -> Source:
        """A source for one session of an agent."""
        ...

    async def run(self) -> None:
        """What every replica does for it, for ever; returns only if there is nothing."""
        ...

    async def located(self, agent: str, place: Place) -> Place:
        """A place as Postgres has it, with the floors that hold where the agent will read. Raises as `read_page`."""
        return place

    def parts(self, limit_s: float) -> dict[str, bool]:
        """What readiness asks of it, by name: good only if it was proved within so many seconds."""
        return {}

    @property
    def problem(self) -> str | None:
        """Why it can't be used at all, for readiness; None when all is well."""
        return None

    async def prove(self, silence_s: float) -> None:
        """If nothing was heard of its server for so long, ask, and wait for the answer, for as long as it takes."""
        assert silence_s > 0, silence_s

    async def lead(self, fence: int) -> None:
        """What only the leading replica does for it, until cancelled. Raises LeaseLost."""
        ...
