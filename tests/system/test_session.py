"""A session's decisions: what is told is exact, and no state is left without a next one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.cursor import Position
from system.session import (
    NOTHING_TOLD,
    TRANSITIONS,
    Floors,
    Notice,
    Page,
    PageRow,
    Signal,
    State,
    advance,
    next_page_rows,
    notice_for,
)

REJECTED = {(State.LIVE, Signal.CAUGHT_UP), (State.CLOSED, Signal.CAUGHT_UP)}


def floors(critical: int, standard: int) -> Floors:
    """Floors at these positions."""
    return Floors(Position(critical), Position(standard))


def test_every_state_and_signal_is_decided_or_rejected() -> None:
    """Each pair is in the table or among those that only a bug can produce, and never in both."""
    pairs = set(itertools.product(State, Signal))
    assert set(TRANSITIONS) | REJECTED == pairs
    assert not set(TRANSITIONS) & REJECTED


@pytest.mark.parametrize(("state", "signal"), sorted(REJECTED, key=str))
def test_a_rejected_pair_raises(state: State, signal: Signal) -> None:
    """A session that joined twice would send the window twice; it fails instead."""
    with pytest.raises(KeyError):
        advance(state, signal)


def test_closed_is_for_ever() -> None:
    """Nothing leads out of CLOSED, and CLOSE leads into it from everywhere."""
    assert {advance(State.CLOSED, signal) for signal in (Signal.FELL_BEHIND, Signal.CLOSE)} == {State.CLOSED}
    assert {advance(state, Signal.CLOSE) for state in State} == {State.CLOSED}


@pytest.mark.parametrize(
    ("position", "critical", "standard", "notice"),
    [
        (10, 0, 0, None),
        (10, 10, 10, None),
        (10, 9, 9, None),
        (10, 11, 0, Notice.GONE),
        (10, 0, 11, Notice.GAP),
        (10, 11, 11, Notice.GONE),
        (10, 11, 99, Notice.GONE),
        (10, 10, 11, Notice.GAP),
        (0, 1, 0, Notice.GONE),
        (0, 0, 1, Notice.GAP),
        (0, 0, 0, None),
    ],
)
def test_what_is_told_is_exact_to_one_position(
    position: int, critical: int, standard: int, notice: Notice | None
) -> None:
    """G2: a cursor at the floor has missed nothing, one before it has; critical outweighs standard."""
    assert notice_for(Position(position), floors(critical, standard), NOTHING_TOLD) is notice


positions = st.integers(0, 12)


@given(st.sets(st.tuples(st.integers(1, 12), st.booleans()), max_size=12), positions, positions, positions)
def test_told_if_and_only_if_something_more_is_gone(
    deleted: set[tuple[int, bool]], position: int, told_critical: int, told_standard: int
) -> None:
    """G2 against its own words: GONE if and only if a critical event after the position is deleted that was not told
    before; GAP if only standard ones are; nothing otherwise.
    """
    critical = [pos for pos, is_critical in deleted if is_critical]
    standard = [pos for pos, is_critical in deleted if not is_critical]
    found = notice_for(
        Position(position),
        floors(max(critical, default=0), max(standard, default=0)),
        floors(told_critical, told_standard),
    )
    more_critical = any(pos > position and pos > told_critical for pos in critical)
    more_standard = any(pos > position and pos > told_standard for pos in standard)
    assert found is (Notice.GONE if more_critical else Notice.GAP if more_standard else None)


@given(
    st.integers(1, 5_000), st.integers(0, 10**9), st.integers(0, 5_000), st.integers(1, 5_000), st.integers(1, 10**9)
)
def test_the_next_page_stays_within_its_limits(
    rows: int, page_bytes: int, last_rows: int, rows_max: int, bytes_max: int
) -> None:
    """A page asks for at least one row, grows at most fourfold, and is as many rows as the last ones' size allows."""
    wanted = next_page_rows(
        rows=rows, page_bytes=page_bytes, last_rows=last_rows, rows_max=rows_max, bytes_max=bytes_max
    )
    assert wanted >= 1
    if last_rows == 0:
        assert wanted == rows
    else:
        assert wanted <= max(1, min(rows_max, rows * 4))
        assert wanted == 1 or wanted * max(1, page_bytes // last_rows) <= bytes_max


def test_a_page_reaches_its_last_row_or_the_watermark() -> None:
    """A full page may have more behind its last row; one that is not full has covered everything to the watermark."""
    rows = [PageRow(Position(5), "t", "{}"), PageRow(Position(9), "t", "{}")]
    assert Page(rows, NOTHING_TOLD, Position(40), full=True).end == 9
    assert Page(rows, NOTHING_TOLD, Position(40), full=False).end == 40
    assert Page([], NOTHING_TOLD, Position(40), full=False).end == 40
