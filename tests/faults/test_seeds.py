"""Seeds as people write them."""

from __future__ import annotations

import pytest

from faults.seeds import SEED_MAX, SeedsInvalid, seeds_of


def test_ranges() -> None:
    """Both ends are included; one alone is itself; without an end it goes on for longer than anybody asks."""
    assert list(seeds_of("3..5")) == [3, 4, 5]
    assert list(seeds_of("7")) == [7]
    assert seeds_of("7..")[0] == 7
    assert len(seeds_of("7..")) > SEED_MAX


@pytest.mark.parametrize("text", ["", "a", "5..3", "..3", "-1..2", "1...2", "1..2..3", "1" * 30])
def test_what_names_no_seeds_is_refused(text: str) -> None:
    """The error says what was expected and what came."""
    with pytest.raises(SeedsInvalid, match=r"expected A\.\.B .*, got "):
        seeds_of(text)
