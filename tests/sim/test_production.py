"""What relays log of themselves under every fault, exported from what is stored at some moments: it accuses nobody.

And it is no blind witness: relays that are broken are found by their own lines.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.planted import planted
from faults.transports import TransportName
from sim.production import Production, play_as_production
from sim.swarm import swarm_plan_over

pytestmark = pytest.mark.options

COUNTED, LOGGED = {"G1", "G2", "G4"}, {"G1", "G2", "G3", "G4", "G5"}
SEEDS = {
    TransportName.CURSOR: (2, 7, 24, 41),
    TransportName.JETSTREAM: (6, 19, 49),
    TransportName.REDIS: (9, 78, 107),
}
"""Of these accused somebody when this was new: 2, 24 and 41, where a replica's clock was put back and its lines were
taken in the order of their times; 19 and 49 over the stream, where an export came between an event's delivery and its
storage, and 107 over Redis, between its end there and its storage; 78 over Redis, where it was stored after that.
"""
FOUND = (("newest-first", 1000, "G1"), ("max-seq-for-watermark", 1000, "G1"), ("cursor-inclusive", 1000, "G4"),
         ("leak-by-prefix", 1001, "G5"))  # fmt: skip
"""Planted bugs, each with a seed by whose exports it is found, and what it breaks."""


def played(seed: int, transport: TransportName, folder: Path, *, logs: bool) -> Production:
    """A seed's exports, and the judge's word on it by all that is known."""
    return play_as_production(swarm_plan_over(seed, transport), folder, delivery_log=logs)


def tried(one: Production) -> set[str]:
    """What any of its exports put to the test."""
    reports = [export.report for export in one.exports]
    return {part.guarantee for report in reports for part in report.guarantees if part.verdict != "not tried"}


@pytest.mark.parametrize("logs", [False, True], ids=["counts", "deliveries"])
@pytest.mark.parametrize(
    ("transport", "seed"), [(transport, seed) for transport, seeds in SEEDS.items() for seed in seeds]
)
def test_an_export_accuses_nobody(transport: TransportName, seed: int, logs: bool, tmp_path: Path) -> None:
    """Of a world that held, whatever was cut, killed or set wrong in it; and it puts to the test what it can."""
    one = played(seed, transport, tmp_path, logs=logs)
    assert one.report.verdict == "held"
    accused = {export.history.name: export.report.findings for export in one.exports}
    assert not any(accused.values()), accused
    assert "held" in {export.report.verdict for export in one.exports}
    assert sum(export.exported.deliveries for export in one.exports) > 100
    assert tried(one) == (LOGGED if logs else COUNTED)


@pytest.mark.parametrize(("bug", "seed", "guarantee"), FOUND)
def test_an_export_finds_a_broken_relay(bug: str, seed: int, guarantee: str, tmp_path: Path) -> None:
    """By what it logs of itself, and what is stored."""
    with planted(bug):
        one = played(seed, TransportName.CURSOR, tmp_path, logs=guarantee == "G5")
    violated = {
        part.guarantee
        for export in one.exports
        for part in export.report.guarantees
        if part.verdict == "violated"
    }  # fmt: skip
    assert guarantee in violated
