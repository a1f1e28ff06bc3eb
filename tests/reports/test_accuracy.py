"""Among many deliveries the judge finds exactly what is wrong: as many as were broken, of the classes they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports import api
from reports.bench.source import Shape, correct_history
from reports.checkers.findings import Kind
from reports.history import Deliver, Gap, Gone, Published, Record, encode
from tests.reports.counted import as_counted
from tests.reports.mutate import Mutator
from tests.reports.story import judge

SMALL = Shape(deliveries=1_200, agents=5, leaves_each=0.05)
LONG = Shape(deliveries=100_000)


def counted(records: list[Record]) -> Counter[Kind]:
    """The findings by kind, all of them."""
    found: Counter[Kind] = Counter()
    for judged in judge(records):
        found.update(judged.counts)
    return found


def history(shape: Shape, seed: int) -> list[Record]:
    """A correct history."""
    return list(correct_history(Shape(deliveries=shape.deliveries, agents=shape.agents, seed=seed,
                                      leaves_each=shape.leaves_each)))  # fmt: skip


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=10, derandomize=True)
def test_a_generated_history_breaks_nothing(seed: int) -> None:
    """Whatever the seed, nothing is found, and there are notices, repeats and broadcasts to be wrong about."""
    records = history(SMALL, seed)
    assert not counted(records)
    kinds = Counter(type(record) for record in records)
    assert kinds[Deliver] >= SMALL.deliveries
    assert sum(isinstance(one, Published) and one.duplicate for one in records)
    assert sum(isinstance(one, Deliver) and one.addressee == "_all" for one in records)


@given(
    seed=st.integers(0, 1 << 30),
    lost=st.integers(0, 12),
    repeated=st.integers(0, 12),
    swapped=st.integers(0, 12),
    misdirected=st.integers(0, 12),
    invented=st.integers(0, 12),
    hushed=st.integers(0, 3),
)
@settings(max_examples=25, derandomize=True)
def test_exactly_what_was_broken_is_found(
    seed: int, lost: int, repeated: int, swapped: int, misdirected: int, invented: int, hushed: int
) -> None:
    """Any number of each kind in one history, at any places: those are found, and no others."""
    mutator = Mutator(history(SMALL, seed), seed)
    mutator.hush(hushed)
    mutator.lose(lost)
    mutator.repeat(repeated)
    mutator.swap(swapped)
    mutator.misdirect(misdirected)
    mutator.invent(invented)
    broken = mutator.broken()
    assert counted(broken.records) == +broken.expected


@given(seed=st.integers(0, 1 << 30), lost=st.integers(0, 12), repeated=st.integers(0, 1))
@settings(max_examples=20, derandomize=True)
def test_by_count_alone_as_many_are_found(seed: int, lost: int, repeated: int) -> None:
    """Of the same histories told by counts: every loss is found, wherever it lies, and nothing else is called one."""
    correct = history(SMALL, seed)
    mutator = Mutator(correct, seed)
    mutator.lose(lost)
    found = counted(as_counted(correct, mutator.broken().records))
    assert sum(found.values()) == lost
    assert set(found) <= {Kind.LOST_PREFIX, Kind.LOST_MIDDLE, Kind.LOST_TAIL}


@pytest.mark.parametrize("k", [0, 100])
def test_k_losses_among_100_000_deliveries(tmp_path: Path, k: int) -> None:
    """The report of a long history has exactly the losses that are hidden in it, and is written as a user sees it."""
    mutator = Mutator(history(LONG, seed=k + 1), seed=k)
    mutator.lose(k)
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(map(encode, mutator.broken().records)))
    report = api.judge(path)
    assert report.counts["deliveries"] >= LONG.deliveries - k
    assert Counter(found.kind for found in report.findings) == Counter({"lost-middle": k} if k else {})
    assert {one.guarantee: one.findings for one in report.guarantees if one.findings} == ({"G1": k} if k else {})
    assert report.exit_code == (1 if k else 0)


def test_all_classes_among_100_000_deliveries() -> None:
    """Losses, repeats, swaps, foreign and invented events, and hushed gaps at once, in one long history."""
    mutator = Mutator(history(LONG, seed=7), seed=7)
    mutator.hush(5)
    for breaking in (mutator.lose, mutator.repeat, mutator.swap, mutator.misdirect, mutator.invent):
        breaking(40)
    broken = mutator.broken()
    assert counted(broken.records) == broken.expected
    assert broken.expected[Kind.SILENT_GAP] >= 5
    assert sum(isinstance(record, Gap | Gone) for record in broken.records) > 50
