"""One seed, one trace: in any process, whatever its hashes, its memory and the machine's clock.

Each test starts processes that hash differently, hence a marker of their own: `pytest -m determinism`.
"""

from __future__ import annotations

import pytest

from faults.planted.straying import STRAYING
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


@pytest.mark.parametrize(
    ("stray", "said"),
    [("wall-clock", b": 20"), ("set-order", b"Content-Type"), ("address", b"retry: ")],
)
def test_a_relay_that_strays_from_the_seed_is_found(stray: str, said: bytes) -> None:
    """The machine's clock, a set's order and an address are noticed, and the first segment with one is named."""
    assert stray in STRAYING
    (found,) = strayed([0], jobs=1, bug=stray)
    difference = found.difference
    assert difference.one is not None
    assert difference.other is not None
    assert difference.one.source.startswith("relay-")
    assert difference.one.target.startswith("agent.")
    assert said in difference.one.data
    assert difference.one.t_ns == difference.other.t_ns
    assert difference.one.text in difference.shown("one", "other")
