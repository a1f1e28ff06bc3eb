"""What agents were told is gone, rightly: by class and by agent. A run that held may have much of it; pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reports.checkers.chain import Chain
from reports.checkers.loss import fate_of
from reports.index import Index


class ToldGone(msgspec.Struct, frozen=True, kw_only=True):
    """Events past their retention that one agent, or a run's agents together, never received and were told of."""

    critical: int = 0
    standard: int = 0

    @property
    def total(self) -> int:
        """Of both classes."""
        return self.critical + self.standard


def told_gone(index: Index, chains: Sequence[Chain]) -> dict[str, ToldGone]:
    """By client, those that were told of anything, in the order of the history; as G2's trials count them.

    An event of all agents counts once for each. Copies that the relay itself dispatched again are not counted.
    """
    found: dict[str, ToldGone] = {}
    for chain in chains:
        gone = [passed.event for passed in chain.passed if fate_of(index, chain, passed) is None]
        critical = sum(index.is_critical(event) for event in gone)
        if gone:
            found[chain.log.agent] = ToldGone(critical=critical, standard=len(gone) - critical)
    return found


def together(by_agent: dict[str, ToldGone]) -> ToldGone:
    """All agents' added up."""
    return ToldGone(
        critical=sum(one.critical for one in by_agent.values()), standard=sum(one.standard for one in by_agent.values())
    )
