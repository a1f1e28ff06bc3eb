"""Seeds as people write them: `A..B`, one alone, or `A..` without an end."""

from __future__ import annotations

import re

SEED_MAX = 2**31 - 1
"""Drawn seeds are short enough to be typed."""

_RANGE = re.compile(r"(\d{1,18})(?:(\.\.)(\d{1,18})?)?")


class SeedsInvalid(ValueError):
    """Text that names no seeds: what was expected, and what came."""


def seeds_of(text: str) -> range:
    """The seeds that a text names, both ends included; `A..` goes on for as long as anybody asks.

    Raises SeedsInvalid.
    """
    match = _RANGE.fullmatch(text)
    if match is not None:
        first, dots, last = match.groups()
        begin = int(first)
        end = int(last) if last else begin + SEED_MAX if dots else begin
        if begin <= end:
            return range(begin, end + 1)
    raise SeedsInvalid(f"expected A..B with A at most B, such as 0..299, or A.. without an end, got {text!r}")
