"""Cursors and positions: one text for one place, nothing else accepted, and one order for all places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.cursor import (
    ORDINAL_MAX,
    SEQ_MAX,
    TAG_ALPHABET,
    Cursor,
    CursorMalformed,
    ordinal_of,
    pack,
    seq_of,
    tag_from,
)

seqs = st.integers(0, SEQ_MAX)
ordinals = st.integers(0, ORDINAL_MAX)
tags = st.text(TAG_ALPHABET, min_size=6, max_size=6)

MALFORMED = [
    "",
    "-",
    "abc234",
    "abc234-",
    "-5",
    "abc23-5",
    "abc2345-5",
    "ABC234-5",
    "abc 34-5",
    "abc234--5",
    "abc234-+5",
    "abc234-05",
    "abc234-00",
    "abc234-5 ",
    " abc234-5",
    "abc234-5\n",
    "abc234-5\x00",
    "abc234-٥",
    "äbc234-5",
    "abc234-5.0",
    "abc234-1e3",
    "abc234-0x10",
    f"abc234-{SEQ_MAX + 1}",
    "abc234-999999999999999",
    "abc234-1000000000000000",
    "abc234-" + "9" * 10_000,
    "earliest",
    "null",
]


@given(tags, seqs)
def test_a_cursor_comes_back_from_its_text(tag: str, seq: int) -> None:
    """Text and cursor name each other, one to one."""
    assert Cursor.parse(str(Cursor(tag, seq))) == Cursor(tag, seq)


@pytest.mark.parametrize("text", MALFORMED, ids=repr)
def test_anything_else_is_malformed(text: str) -> None:
    """What is not exactly a cursor's text is refused with an example and what came, shortened."""
    with pytest.raises(CursorMalformed, match="expected a cursor such as") as refused:
        Cursor.parse(text)
    assert len(str(refused.value)) < 400


@given(st.text(max_size=24))
def test_no_text_is_read_as_another_cursors(text: str) -> None:
    """Whatever parses is the canonical text of what it parsed to: no two texts are one cursor."""
    try:
        cursor = Cursor.parse(text)
    except CursorMalformed:
        return
    assert str(cursor) == text


@given(tags, seqs, seqs)
def test_cursors_of_one_epoch_order_by_sequence(tag: str, one: int, other: int) -> None:
    """G3 is checked on cursors: their order is that of the sequences, not of the digits."""
    assert (Cursor(tag, one) < Cursor(tag, other)) == (one < other)


@given(ordinals, seqs, ordinals, seqs)
def test_positions_order_by_epoch_then_sequence(ordinal: int, seq: int, other: int, other_seq: int) -> None:
    """One bigint orders everything ever stored, and loses neither part."""
    position = pack(ordinal, seq)
    assert (ordinal_of(position), seq_of(position)) == (ordinal, seq)
    assert (position < pack(other, other_seq)) == ((ordinal, seq) < (other, other_seq))
    assert 0 <= position < 2**63, "must fit a signed bigint"


@pytest.mark.parametrize(("ordinal", "seq"), [(-1, 0), (ORDINAL_MAX + 1, 0), (0, -1), (0, SEQ_MAX + 1)])
def test_a_position_out_of_range_is_a_bug(ordinal: int, seq: int) -> None:
    """Packing never wraps into another epoch in silence."""
    with pytest.raises(AssertionError):
        pack(ordinal, seq)


@given(st.text("0123456789abcdef", min_size=8, max_size=32))
def test_a_tag_from_any_token_makes_cursors(token: str) -> None:
    """A new epoch's tag is always one that cursors can carry, and the same for the same token."""
    tag = tag_from(token)
    assert Cursor.parse(f"{tag}-1").epoch == tag == tag_from(token)


def test_tags_differ() -> None:
    """Two epochs get different tags: the token's low digits all take part."""
    assert len({tag_from(f"{number:032x}") for number in range(10_000)}) == 10_000
