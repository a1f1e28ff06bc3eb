"""What has come from a session's consumer and was not given yet, pure: how much, up to where, and what a page takes.

It refuses to claim more than the consumer has said: a page ends at the last message that came, or, where the consumer
had nothing, at an end of the stream that was known before it said so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from system.session import PageRow


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One message of a consumer; `row` is None for one that is no event of this agent's."""

    seq: int
    pending: int
    """How many more the consumer had for us when it sent this one."""
    row: PageRow | None
    size: int


class Cut(msgspec.Struct, frozen=True):
    """What a page takes: the first so many arrivals, and where it ends."""

    count: int
    rows: Sequence[PageRow]
    reached_seq: int
    has_more: bool


class Arrivals:
    """A session's arrivals, in stream order."""

    def __init__(self, after_seq: int) -> None:
        self._waiting: deque[Arrival] = deque()
        self.last_seq = after_seq
        """Everything for this agent up to here has come."""
        self.bytes = 0
        """What waits, in bytes of its events."""
        self.pending: int | None = None
        """How much more the consumer has, as it last said; None while there is no consumer that would know."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_whole(self) -> bool:
        """Whether everything that there is has come."""
        return self.pending == 0

    def opened(self, *, pending: int, end_seq: int) -> None:
        """A consumer begins after `last_seq`; `end_seq` was the stream's end before it counted what is pending."""
        self.pending = pending
        if not pending:
            self.last_seq = max(self.last_seq, end_seq)

    def closed(self) -> None:
        """The consumer is gone; what has come stays."""
        self.pending = None

    def emptied(self) -> None:
        """The consumer says that it has nothing left."""
        if self.pending is not None:
            self.pending = 0

    def looked(self, seq: int) -> None:
        """The consumer has given all that it has for us up to a sequence, and that has come."""
        self.last_seq = max(self.last_seq, seq)

    def add(self, arrived: Sequence[Arrival]) -> None:
        """Take what has come next; what lies at or before what came already is passed over."""
        for one in arrived:
            if one.seq > self.last_seq:
                self._waiting.append(one)
                self.bytes += one.size
                self.last_seq = one.seq
            self.pending = one.pending

    def cut(self, rows_max: int) -> Cut:
        """The next page, of at most so many arrivals; nothing is taken before `give`."""
        taken = [one for one, _ in zip(self._waiting, range(rows_max), strict=False)]
        is_all = len(taken) == len(self._waiting)
        return Cut(
            count=len(taken),
            rows=[one.row for one in taken if one.row is not None],
            reached_seq=self.last_seq if is_all else taken[-1].seq,
            has_more=not (is_all and self.is_whole),
        )

    def give(self, cut: Cut) -> None:
        """A page was given: what it took waits no more."""
        for _ in range(cut.count):
            self.bytes -= self._waiting.popleft().size

    @property
    def given_seq(self) -> int:
        """Everything for this agent up to here was given: the next that waits, or comes, lies beyond."""
        return self._waiting[0].seq - 1 if self._waiting else self.last_seq
