"""One seed, one trace, for two hundred seeds: they have a marker, being nearly a quarter of `pytest -m sim` else."""

from __future__ import annotations

import pytest

from sim.determinism import small_plan, strayed

pytestmark = pytest.mark.determinism
SEEDS = 200
PIECES = 4


@pytest.mark.parametrize("piece", range(PIECES))
def test_seeds_leave_the_same_trace_whatever_python_hashes(piece: int) -> None:
    """Two hundred seeds, each in two processes with different PYTHONHASHSEEDs."""
    found = list(strayed(range(piece, SEEDS, PIECES), jobs=1))
    assert not found, "\n".join(one.difference.shown("1", "2") for one in found)


def test_small_plans_differ_and_have_faults() -> None:
    """What is compared is no two hundred times the same."""
    plans = [small_plan(seed) for seed in range(SEEDS)]
    assert len({plan.encode() for plan in plans}) == SEEDS
    assert sum(bool(plan.faults) for plan in plans) > SEEDS // 4
