"""Back-off and Retry-After: bounds, spread, and nothing that a server's mistake can turn into a day's pause."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.client.backoff import backoff_s, retry_after_s

NOW = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples."""


@given(
    seed=st.integers(),
    attempt=st.integers(0, 10_000),
    base_s=st.floats(0.001, 60),
    max_s=st.floats(0.001, 3600),
    told_s=st.floats(0, 3600),
)
def test_never_earlier_than_told_nor_later_than_the_ceiling(
    seed: int, attempt: int, base_s: float, max_s: float, told_s: float
) -> None:
    """A delay lies between what was told and that plus the ceiling, for any attempt number."""
    delay_s = backoff_s(random.Random(seed), attempt=attempt, base_s=base_s, max_s=max_s, told_s=told_s)
    assert told_s <= delay_s <= told_s + max_s
    assert attempt > 0 or delay_s <= told_s + base_s


def test_the_ceiling_doubles_and_the_jitter_is_full() -> None:
    """Over many draws the delays of attempt n fill the whole of 0 to base·2^n."""
    rng = random.Random(1)
    for attempt, ceiling_s in enumerate([1, 2, 4, 8, 10, 10]):
        draws = [backoff_s(rng, attempt=attempt, base_s=1, max_s=10) for _ in range(2000)]
        assert min(draws) < 0.05 * ceiling_s
        assert 0.95 * ceiling_s < max(draws) <= ceiling_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("999999999999999999999999", 300.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("٣", 0.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("Sun, 06 Nov 2094 08:49:37 GMT", 300.0),
        ("Sun, 06 Nov 1994 08:50:07", 30.0),
        ("Sun, 99 Nov 1994 08:50:07 GMT", 0.0),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    """Seconds and dates are read, the past and the unreadable are 0, and a far future is bounded."""
    assert retry_after_s(header, wall=lambda: NOW, max_s=300) == seconds
