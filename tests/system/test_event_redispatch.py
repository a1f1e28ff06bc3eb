"""The copies that the redispatcher publishes: recognisable, repeatable, and otherwise the event as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.event import ID_LENGTH_MAX, NESTING_MAX, read_event, redispatch_text
from tests.system.harness import event
from tests.system.test_event import KEPT, nested

BYTES_MAX = 256 * 1024


@pytest.mark.parametrize("text", KEPT)
def test_a_copy_changes_three_attributes_and_no_other_byte(text: str) -> None:
    """The copy's data is the publisher's own text: no number is rounded on the second way either.

    Decoding and encoding again once turned 1.10 into 1.1, and took escapes apart.
    """
    copy_id, copy = redispatch_text(text, count=2)
    read = read_event(copy.encode(), bytes_max=BYTES_MAX)
    assert (read.id, copy_id, read.redispatch_of) == ("a~r2", "a~r2", "a")
    added = {"id": "a~r2", "redispatchof": "a", "redispatchcount": 2}
    assert json.loads(copy, parse_float=str) == json.loads(text, parse_float=str) | added
    for value in ("123456789012345678901234567890", "[1.10,1e5,-0,0.1000000000000000055]", "\\u0000 \\u2028", "🚀"):
        assert (value in copy) == (value in text)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=ID_LENGTH_MAX))
def test_a_copy_of_any_valid_event_is_valid(event_id: str) -> None:
    """Whatever the original's id, and at any count, the gate lets the copy pass."""
    original = json.dumps(event(event_id))
    if "~r" in event_id:
        return
    for count in (1, 9, 100):
        _, copy = redispatch_text(original, count=count)
        assert read_event(copy.encode(), bytes_max=BYTES_MAX).redispatch_of == event_id


def test_the_deepest_event_can_be_copied() -> None:
    """No valid event is too deep to be published again."""
    _, copy = redispatch_text(nested(NESTING_MAX).decode(), count=1)
    assert read_event(copy.encode(), bytes_max=BYTES_MAX)
