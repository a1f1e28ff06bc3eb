"""Durations and settings: what is written is what is meant, and what is wrong is told with the way out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.plan import RelayLimits, RelayTimes
from sim.what_if.durations import DurationWrong, seconds, shown
from sim.what_if.settings import SETTINGS, Setting, Unit, plan_field, setting_of
from sim.what_if.table import settings_shown


@given(st.integers(min_value=0, max_value=10_000_000_000))
def test_a_duration_is_read_back_as_it_is_shown(duration_ms: int) -> None:
    """`shown` and `seconds` are each other's inverse, to the millisecond."""
    assert seconds(shown(duration_ms / 1000)) == duration_ms / 1000


@pytest.mark.parametrize(
    ("text", "is_s"),
    [("90s", 90), ("15m", 900), ("6h", 21_600), ("7d", 604_800), ("1h30m", 5_400), ("250ms", 0.25), (" 1.5H ", 5_400)],
)
def test_durations_are_written_as_people_write_them(text: str, is_s: float) -> None:
    """Each unit, several of them, and fractions."""
    assert seconds(text) == is_s


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("6", "a number needs its unit, such as 6s or 6m"),
        ("", "expected a duration such as 90s, 15m, 6h, 7d"),
        ("6 hours", "expected a duration"),
        ("-6h", "expected a duration"),
        ("30m1h", "expected each unit once, from days to milliseconds"),
        ("1h1h", "expected each unit once"),
        ("1e9d", "expected a duration"),
        ("٣h", "expected a duration"),
    ],
)
def test_no_duration_is_told_with_examples(text: str, says: str) -> None:
    """What is no duration is refused, and the message shows how one looks."""
    with pytest.raises(DurationWrong) as caught:
        seconds(text)
    assert says in str(caught.value)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """Nothing else is ever raised, and nothing is below zero."""
    try:
        assert seconds(text) >= 0
    except DurationWrong:
        pass


def test_every_interval_and_limit_of_the_relay_has_a_name() -> None:
    """No field of the plan's relay is out of reach, and each name leads back to its field."""
    fields = {"relay.": RelayTimes.__struct_fields__, "limits.": RelayLimits.__struct_fields__}
    for prefix, expected in fields.items():
        named = [plan_field(name) for name in SETTINGS if name.startswith(prefix)]
        assert sorted(named) == sorted(expected)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda one: one.name)
def test_ends_of_a_range_are_within_and_what_lies_beyond_is_told(setting: Setting) -> None:
    """The table is true: both ends and the default are taken, the next value beyond is refused, with the reason."""
    if setting.default is not None:
        assert setting_of(f"{setting.name}={setting.value_shown(setting.default)}") == (setting, setting.default)
    if setting.unit is Unit.WORD:
        for word in setting.words:
            assert setting_of(f"{setting.name}={word}")[1] == word
        return
    for end in (setting.low, setting.high):
        assert setting_of(f"{setting.name}={setting.value_shown(end)}")[1] == end
    step = {Unit.DURATION: 1.0, Unit.HOURS: 3_600.0, Unit.SHARE: 0.5, Unit.DAYS: 1.0, Unit.COUNT: 1}[setting.unit]
    with pytest.raises(ValueError, match="expected") as caught:
        setting_of(f"{setting.name}={setting.value_shown(setting.high + step)}")
    assert setting.range_shown in str(caught.value)
    assert setting.why
    assert setting.why in str(caught.value)


def test_a_setting_can_be_off_only_where_that_means_something() -> None:
    """`off` is None for those that have it, and refused by the others."""
    for setting in SETTINGS.values():
        if setting.can_be_off:
            assert setting_of(f"{setting.name}=off")[1] is None
        else:
            with pytest.raises(ValueError, match="expected"):
                setting_of(f"{setting.name}=off")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("retention.standart=6h", "got 'retention.standart'; did you mean retention.standard"),
        ("retention=6h", "`meshrelay sim window --settings` lists all"),
        ("xyzzy=1", "expected the name of a setting, got 'xyzzy'; `meshrelay sim window --settings` lists all"),
        ("agents", "expected NAME=VALUE such as retention.standard=6h, got 'agents'"),
        ("agents=many", "expected a whole number, got 'many'"),
        ("agents=-1", "expected a whole number, got '-1'"),
        ("transport=redis2", "expected one of cursor, jetstream, redis, got 'redis2'; did you mean redis?"),
        ("broadcast_share=120%", "expected 0 to 1, got '120%'; it is a part of all events"),
        ("broadcast_share=nan", "expected a share such as 0.05 or 5%, got 'nan'"),
        ("days=soon", "expected days such as 2 or 0.5, or a duration, got 'soon'"),
        ("agents.shift=90m", "expected whole hours such as 8h, got '90m'"),
        ("relay.lease=30", "a number needs its unit, such as 30s or 30m"),
    ],
)
def test_a_wrong_setting_is_told_with_the_way_out(word: str, says: str) -> None:
    """Names get the nearest right ones, values their range or form."""
    with pytest.raises(ValueError, match="expected") as caught:
        setting_of(word)
    assert says in str(caught.value)


@given(st.text(max_size=40), st.sampled_from(sorted(SETTINGS)), st.booleans())
def test_any_text_is_a_setting_or_refused(text: str, name: str, is_named: bool) -> None:
    """Nothing but a ValueError is ever raised, and what is taken lies in its range."""
    try:
        setting, value = setting_of(f"{name}={text}" if is_named else text)
    except ValueError:
        return
    if isinstance(value, float | int):
        assert setting.low <= value <= setting.high


def test_the_list_of_settings_has_every_name_with_its_default_and_range() -> None:
    """A line for each, in columns."""
    lines = settings_shown().splitlines()
    assert len(lines) == len(SETTINGS) + 1
    for line, setting in zip(lines[1:], SETTINGS.values(), strict=True):
        assert line.startswith(f"{setting.name} ")
        assert setting.range_shown in line
        assert setting.what in line
