"""One seed, one trace: in one process here; between processes that hash differently in `test_two_processes.py`."""

from __future__ import annotations

import pytest

from sim.difference import first_difference
from sim.swarm import swarm_plan
from sim.trace import Segment
from sim.trial import try_plan

pytestmark = pytest.mark.sim
ONE = Segment(10, 20, "a", "b", b"PING\r\n")
TWO = Segment(30, 40, "b", "a", b"PONG\r\n")


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
