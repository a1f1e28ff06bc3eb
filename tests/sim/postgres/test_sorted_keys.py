"""Sorted keys against a plain sorted list."""

from __future__ import annotations

import random

import pytest

from sim.postgres.sorted_keys import PIECE_MAX, SortedKeys


@pytest.mark.parametrize("rising", [False, True])
def test_it_is_a_sorted_list(rising: bool) -> None:
    """After any adding and removing, ranges and the whole are those of a sorted list."""
    rng = random.Random(int(rising))
    keys, expected = SortedKeys(), list[int]()
    for number in range(PIECE_MAX * 12):
        key = number if rising else rng.randrange(1 << 40)
        keys.add(key)
        expected.append(key)
        if rng.random() < 0.3:
            keys.remove(expected.pop(rng.randrange(len(expected)) if rng.random() < 0.5 else 0))
        if number % 500 == 0:
            expected.sort()
            low, high = sorted((rng.choice([*expected, 0]), rng.choice([*expected, 1 << 41])))
            assert list(keys.between(low, high)) == [one for one in expected if low <= one < high]
    assert list(keys) == sorted(expected)
    assert len(keys) == len(expected)
    for key in expected:
        keys.remove(key)
    assert list(keys.between(0, 1 << 41)) == []
