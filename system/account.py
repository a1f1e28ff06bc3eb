"""What one connection was sent, in a few numbers that its relay can afford to log when it ends.

A line an event would be most of a relay's log. A count, a sum and the range they belong to are one line a connection,
and tell whoever has the table beside them whether something was left out, and which event if it was one. What is
counted was handed to the socket: whether the agent read it, its next cursor tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from system.cursor import SEQ_MAX, Position


class Burst(msgspec.Struct, frozen=True, gc=False):
    """The events of one write, in order; made once for all sessions that are sent the same."""

    positions: Sequence[Position]
    sum: int
    """Of the positions."""

    def __len__(self) -> int:
        """How many."""
        return len(self.positions)


def burst_of(positions: Sequence[Position]) -> Burst:
    """The burst of these positions, which rise."""
    return Burst(positions, sum(positions))


class Account:
    """What one connection was sent so far."""

    __slots__ = ("_is_closed", "_sum", "count", "first", "last", "reached", "start")

    def __init__(self, start: Position) -> None:
        self.start = start
        """Behind this position it began; 0 is the beginning of what is retained."""
        self.reached = start
        """Everything addressed to the agent up to here was sent, not wanted, or told to be gone."""
        self.count = 0
        self.first = Position(0)
        """The lowest position sent; 0 if nothing was."""
        self.last = Position(0)
        """The highest position sent."""
        self._sum = 0
        self._is_closed = False

    def sent(self, burst: Burst) -> None:
        """Count what was handed to the socket."""
        positions = burst.positions
        if self._is_closed or not positions:
            return
        self.first = min(self.first, positions[0]) if self.count else positions[0]
        self.last = max(self.last, positions[-1])
        self.count += len(positions)
        self._sum += burst.sum

    def moved(self, position: Position) -> None:
        """The connection has reached this position."""
        if not self._is_closed:
            self.reached = max(self.reached, position)

    def close(self, position: Position) -> None:
        """The socket takes nothing any more: the connection stays where it is, wherever its session goes."""
        self.moved(position)
        self._is_closed = True

    @property
    def seq_sum(self) -> int:
        """The sum of the sequences sent, modulo 2^48."""
        return self._sum & SEQ_MAX
