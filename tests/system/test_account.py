"""What a connection was sent, in numbers: they add up whatever the order of pages, windows and live pushes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from system.account import Account, burst_of
from system.cursor import SEQ_MAX, Position, pack, seq_of

POSITIONS = st.lists(st.integers(1, SEQ_MAX).map(lambda seq: pack(3, seq)), max_size=20, unique=True).map(sorted)


@given(st.lists(POSITIONS, max_size=6))
def test_the_numbers_are_those_of_all_that_was_sent(bursts: list[list[Position]]) -> None:
    """Count, sum, lowest and highest are the same as of one list of everything."""
    account = Account(Position(0))
    for positions in bursts:
        account.sent(burst_of(positions))
    everything = [position for positions in bursts for position in positions]
    assert account.count == len(everything)
    assert account.seq_sum == sum(seq_of(position) for position in everything) % (SEQ_MAX + 1)
    assert (account.first, account.last) == (min(everything, default=0), max(everything, default=0))


def test_what_the_socket_did_not_take_is_not_counted() -> None:
    """From the moment that it is closed neither events nor the session's further way count."""
    account = Account(pack(1, 2))
    account.sent(burst_of([pack(1, 3)]))
    account.moved(pack(1, 4))
    account.close(pack(1, 5))
    account.sent(burst_of([pack(1, 6)]))
    account.moved(pack(1, 9))
    account.close(pack(1, 9))
    assert (account.start, account.reached, account.count, account.last) == (pack(1, 2), pack(1, 5), 1, pack(1, 3))


def test_a_place_never_moves_back() -> None:
    """A page that ends before the window did takes nothing back."""
    account = Account(pack(1, 7))
    account.moved(pack(1, 5))
    assert account.reached == pack(1, 7)
