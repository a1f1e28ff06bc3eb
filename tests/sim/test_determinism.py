"""One seed, one trace: in any process, whatever its hashes, its memory and the machine's clock."""

from __future__ import annotations

import pytest

from faults.planted.straying import STRAYING
from sim.determinism import strayed
from sim.difference import first_difference
from sim.swarm import swarm_plan
from sim.trace import Segment
from sim.trial import try_plan

pytestmark = pytest.mark.sim
A_FEW = range(1_000, 1_020)
"""Beside the two hundred of their own file, which CI plays."""
ONE = Segment(10, 20, "a", "b", b"PING\r\n")
TWO = Segment(30, 40, "b", "a", b"PONG\r\n")


def test_a_few_seeds_leave_the_same_trace_whatever_python_hashes() -> None:
    """Each in two processes with different PYTHONHASHSEEDs."""
    found = list(strayed(A_FEW, jobs=1))
    assert not found, "\n".join(one.difference.shown("1", "2") for one in found)


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


def test_two_plays_in_one_process_leave_the_same_trace() -> None:
    """Nothing leaks from world to world: not even what libraries keep for the whole process."""
    first, second = (try_plan(swarm_plan(4)) for _ in range(2))
    assert first.trace_sha256 == second.trace_sha256
    assert first.steps == second.steps


@pytest.mark.parametrize(
    ("one", "other", "index"),
    [
        ([ONE, TWO], [ONE, TWO._replace(data=b"PONG \r\n")], 1),
        ([ONE, TWO], [ONE], 1),
        ([], [ONE], 0),
        ([ONE], [ONE._replace(t_ns=21)], 0),
    ],
)
def test_the_first_difference(one: list[Segment], other: list[Segment], index: int) -> None:
    """Its place, and what stood before it."""
    difference = first_difference(one, other)
    assert difference is not None
    assert difference.index == index
    assert list(difference.before) == one[:index]
    assert "first difference" in difference.shown("one", "other")


def test_no_difference() -> None:
    """The same is the same."""
    assert first_difference([ONE, TWO], [ONE, TWO]) is None
