"""Confidence limits against values that others published, and against the definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.review.bounds import share, upper_limit


@pytest.mark.parametrize("trials", [1, 3, 10, 20, 59, 100, 299, 2_000, 50_000])
def test_no_failures_give_the_closed_form(trials: int) -> None:
    """None of n: 1 - 0.05^(1/n) (Clopper and Pearson, Biometrika 26 (1934) 404)."""
    assert upper_limit(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials), rel=1e-9)


@pytest.mark.parametrize(("trials", "percent"), [(10, 26), (20, 14), (30, 10), (100, 3)])
def test_the_rule_of_three_and_its_table(trials: int, percent: int) -> None:
    """The upper 95 % limits that Hanley and Lippman-Hand tabulate (JAMA 249 (1983) 1743), in whole percent."""
    limit = upper_limit(0, trials)
    assert limit is not None
    assert round(limit * 100) == percent
    assert limit <= 3 / trials


def test_59_trials_show_less_than_five_percent_and_58_do_not() -> None:
    """Wilks's number of runs for 95 % at 95 % (Annals of Mathematical Statistics 12 (1941) 91): 59."""
    assert (upper_limit(0, 59) or 1) < 0.05 < (upper_limit(0, 58) or 0)


@pytest.mark.parametrize(("failures", "trials", "limit"), [(1, 93, 0.05), (2, 124, 0.05), (3, 153, 0.05)])
def test_wilks_s_numbers_with_failures(failures: int, trials: int, limit: float) -> None:
    """The higher orders of the same: 93, 124 and 153 runs bear one, two and three failures."""
    assert (upper_limit(failures, trials) or 1) < limit < (upper_limit(failures, trials - 1) or 0)


@given(st.integers(1, 300), st.data())
def test_the_limit_is_where_so_few_failures_become_unlikely(trials: int, data: st.DataObject) -> None:
    """At the limit, so many failures or fewer have probability 0.05: the binomial sum, added up."""
    failures = data.draw(st.integers(0, trials - 1))
    limit = upper_limit(failures, trials)
    assert limit is not None
    tail = sum(
        math.comb(trials, count) * limit**count * (1 - limit) ** (trials - count) for count in range(failures + 1)
    )
    assert tail == pytest.approx(0.05, abs=1e-6)


def test_the_ends() -> None:
    """No trial says nothing; nothing but failures allow everything; what can't be is refused."""
    assert upper_limit(0, 0) is None
    assert upper_limit(7, 7) == 1.0
    with pytest.raises(ValueError, match="expected 0 to 3 failures of 3 trials, got 4"):
        upper_limit(4, 3)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.95, "95 %"),
        (0.13911, "14 %"),
        (0.0014967, "0.15 %"),
        (0.00006241, "0.00625 %"),
        (0.0101, "1.01 %"),
        (1.0, "100 %"),
    ],
)
def test_shares_are_rounded_up(value: float, said: str) -> None:
    """A limit never seems lower than it is."""
    assert share(value) == said


@given(st.floats(1e-9, 1.0))
def test_a_share_is_never_below_its_value(value: float) -> None:
    """And not a hundredth above."""
    said = float(share(value).removesuffix(" %")) / 100
    assert value <= said * (1 + 1e-8)
    assert said <= value * 1.0101
