"""Columns: which there are, what is common to them, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.what_if.variants import ASKED, BASE, VARIANTS_MAX, AskedWrong, Variant, variants_of


def test_without_any_words_there_is_the_window_alone() -> None:
    """`sim window` is what it was."""
    (only,) = variants_of((), (), (), with_base=True)
    assert only.name == BASE
    assert only.is_base


def test_settings_alone_are_one_column_beside_the_base() -> None:
    """`--set` and `--outage` make a variant of their own."""
    base, asked = variants_of(("agents=5",), ("nats=3h",), (), with_base=True)
    assert (base.name, base.is_base, asked.name) == (BASE, True, ASKED)
    assert dict(asked.values) == {"agents": 5}
    assert [one.text for one in asked.outages] == ["nats=3h"]


def test_what_is_common_reaches_every_variant_and_not_the_base() -> None:
    """A variant's own setting comes before the common one; outages add up."""
    base, short, long = variants_of(
        ("agents=5", "retention.standard=12h"),
        ("nats=3h",),
        ("short: retention.standard=6h outage:relay=1h@1h", "long:"),
        with_base=True,
    )
    assert base.is_base
    assert dict(short.values) == {"agents": 5, "retention.standard": 21_600.0}
    assert [one.text for one in short.outages] == ["nats=3h", "relay=1h@1h"]
    assert dict(long.values) == {"agents": 5, "retention.standard": 43_200.0}


def test_an_outage_of_a_kind_is_told_from_a_name() -> None:
    """Both have a colon."""
    _, one = variants_of((), (), ("slow: outage:pause:nats=1m@1h",), with_base=True)
    assert (one.name, one.outages[0].kind, one.outages[0].what) == ("slow", "pause", "nats")


@pytest.mark.parametrize(
    ("variants", "with_base", "says"),
    [
        ((), False, "--no-base: expected --set, --outage or --variant with it"),
        (("agents=5",), True, '--variant: expected "NAME: SETTING=VALUE'),
        (("outage:nats=3h",), True, '--variant: expected "NAME: SETTING=VALUE'),
        (("a b: agents=5",), True, "with a name of 1 to 24 letters"),
        (("../x: agents=5",), True, "with a name of 1 to 24 letters"),
        (("a: agents=5", "a: agents=6"), True, "expected every name once, got 'a' again; rename one"),
        (("base: agents=5",), True, "expected every name once, got 'base' again"),
        (("a: agents=5 agents=6",), True, "--variant a: agents=6: expected agents once; leave one out"),
        (("a: foo=5", "b: outage:nats=3"), True, "--variant a: foo=5: expected the name of a setting"),
        (("a: foo=5", "b: outage:nats=3"), True, "--variant b: outage:nats=3: expected a duration"),
        (tuple(f"v{n}: agents={n}" for n in range(1, VARIANTS_MAX + 1)), True, "expected at most 16 columns, got 17"),
    ],
)
def test_wrong_columns_are_refused_whole(variants: tuple[str, ...], with_base: bool, says: str) -> None:
    """Every problem is told at once, with the variant that it is in."""
    with pytest.raises(AskedWrong) as caught:
        variants_of((), (), variants, with_base=with_base)
    assert says in str(caught.value)


@given(st.lists(st.text(max_size=30), max_size=3), st.lists(st.text(max_size=20), max_size=2), st.booleans())
def test_any_words_are_columns_or_refused(variants: list[str], settings: list[str], with_base: bool) -> None:
    """Nothing but AskedWrong is ever raised, and it names at least one problem."""
    found, problems = list[Variant](), tuple[str, ...]()
    try:
        found = variants_of(settings, (), variants, with_base=with_base)
    except AskedWrong as error:
        problems = error.problems
    assert bool(found) != bool(problems)
    assert len({one.name for one in found}) == len(found)
