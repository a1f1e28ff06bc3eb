"""Which kinds of faults can be played on what: every pair that a plan may have under a transport. Pure."""

from __future__ import annotations

from typing import get_args

from faults.check import STORES
from faults.vocabulary import Fault, LinkFaultBase, ProcessName, kind_of, links_of, processes_of

ONLY_ON: dict[str, tuple[ProcessName, ...]] = {
    "leader_change": (ProcessName.NATS,),
    "quorum_loss": (ProcessName.NATS,),
    "disk_full": STORES,
}
"""Kinds that mean something on some processes alone."""


def pairs_of(transport: str) -> tuple[tuple[str, str], ...]:
    """Every (kind, link or process) that a plan over a transport may have, in the vocabulary's order."""
    pairs: list[tuple[str, str]] = []
    for fault in get_args(Fault):
        kind = kind_of(fault)
        if issubclass(fault, LinkFaultBase):
            pairs += [(kind, link.value) for link in links_of(transport)]
        else:
            there = processes_of(transport)
            pairs += [(kind, process.value) for process in there if process in ONLY_ON.get(kind, there)]
    return tuple(pairs)
