"""The quick way to read an event judges as the thorough one does."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system import event as module
from system.event import NESTING_MAX, Event, EventInvalid, read_event
from tests.system.harness import event

BYTES_MAX = 64 * 1024
TEXTS = st.sampled_from(["", "a", "a b", "ä", "a~r", "a~r1", "x" * 128, "x" * 129, "A-_9", "_all", "-a", "nul\0", "\n"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "specversion": st.sampled_from(["1.0", "1", "", None, 1.0]),
    "id": TEXTS | st.sampled_from([None, 7]),
    "source": TEXTS | st.sampled_from(["s" * 512, "s" * 513, None]),
    "type": TEXTS | st.sampled_from(["a.b", "relay.x", "relay", "a..b", "A.b", "t" * 64, "t" * 65, False]),
    "subject": TEXTS | st.sampled_from(["a" * 64, "a" * 65, [], {}]),
    "time": st.sampled_from(
        [
            *("2026-01-31T08:00:00Z", "2028-02-29t08:00:00.123456789+01:00", "2026-02-30T08:00:00Z"),
            *("2026-01-31 08:00:00Z", "2026-01-31T08:00:00", "2026-01-31T24:00:00Z", "0000-01-01T00:00:00Z"),
            *("", None, 5),
        ]
    ),
    "datacontenttype": TEXTS | st.none(),
    "dataschema": TEXTS | st.none(),
    "data": st.none() | st.integers() | TEXTS | st.lists(TEXTS, max_size=3) | st.dictionaries(TEXTS, st.floats()),
    "data_base64": TEXTS,
    "redispatchof": TEXTS,
    "redispatchcount": st.integers(0, 3),
    "extension": TEXTS | st.booleans() | st.just({}),
    "Not-a-name": TEXTS,
}


def judged(raw: bytes) -> Event | list[str]:
    """What reading these bytes comes to."""
    try:
        return read_event(raw, bytes_max=BYTES_MAX)
    except EventInvalid as error:
        return error.problems


def judged_thoroughly(raw: bytes) -> Event | list[str]:
    """The same without the quick way."""
    with mock.patch.object(module, "_read_plain", return_value=None):
        return judged(raw)


@given(
    changes=st.fixed_dictionaries({}, optional=VALUES),
    missing=st.sets(st.sampled_from(["specversion", "id", "source", "type", "subject"]), max_size=1),
    indent=st.sampled_from([None, 1]),
)
def test_both_ways_judge_alike(changes: dict[str, Any], missing: set[str], indent: int | None) -> None:
    """Whatever its attributes, an event is accepted with the same text, or refused for the same reasons."""
    attributes = {name: value for name, value in (event() | changes).items() if name not in missing}
    raw = json.dumps(attributes, indent=indent).encode()
    assert judged(raw) == judged_thoroughly(raw)


PLAIN = json.dumps(event())


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.encode(),
        b" " + PLAIN.encode() + b"\r\n",
        PLAIN.replace("{", '{"id":"first",', 1).encode(),
        PLAIN.replace("{", '{"id":"' + "x" * 200 + '",', 1).encode(),
        PLAIN.replace("{", '{"data":' + "[" * NESTING_MAX + "]" * NESTING_MAX + ",", 1).encode(),
        PLAIN.replace("{", '{"data":' + "[" * 20_000 + "]" * 20_000 + ",", 1).encode(),
        PLAIN.replace("{", '{"data":"\\ud800",', 1).encode(),
        PLAIN.replace("{", '{"data":01,', 1).encode(),
        PLAIN.replace("{", '{"data":1e999,', 1).encode(),
        PLAIN.encode() + b"\xff",
        PLAIN.replace("{", '{"dataschema":"\xff",', 1).encode("latin-1"),
        f"[{PLAIN}]".encode(),
        b"",
        b"null",
    ],
)
def test_both_ways_read_odd_bytes_alike(raw: bytes) -> None:
    """Repeated keys, deep nesting, broken UTF-8 and half JSON are judged alike."""
    assert judged(raw) == judged_thoroughly(raw)


def test_nearly_all_events_go_the_quick_way() -> None:
    """The quick way is taken at all: an event without extensions needs no second look."""
    with mock.patch.object(module, "_problems", side_effect=AssertionError):
        assert read_event(PLAIN.encode(), bytes_max=BYTES_MAX).text == PLAIN
