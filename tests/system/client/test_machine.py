"""The client's decisions: every pair of state and event is decided or rejected, and no road skips an event."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from system.client.errors import (
    CursorRefused,
    RelayRefused,
    TokenRefused,
)
from system.client.machine import REJECTED, TABLE, Machine, Verdict, verdict_of
from system.client.notices import CloseNotice
from system.client.steps import (
    BookmarkSeen,
    CloseSeen,
    Connect,
    Done,
    Finish,
    Handle,
    Lost,
    Opened,
    Read,
    RetrySeen,
    Save,
    Started,
    State,
    Wait,
)
from system.cursor import Cursor
from tests.system.client.machine_words import (
    EVENTS,
    SAMPLES,
    SETTINGS,
    answered,
    machine,
    place,
    reading,
    reconnected,
    seen,
)


def test_every_pair_is_decided_or_rejected() -> None:
    """TABLE and REJECTED together name each pair of state and event exactly once."""
    decided = {(state, event) for state, row in TABLE.items() for event in row}
    listed = [(state, event) for state, row in REJECTED.items() for event in row]
    assert len(listed) == len(set(listed))
    assert decided.isdisjoint(listed)
    assert decided.union(listed) == {(state, event) for state in State for event in EVENTS}


@pytest.mark.parametrize(
    ("state", "event"), [(state, event) for state, row in REJECTED.items() for event in row], ids=str
)
def test_a_rejected_pair_is_a_bug(state: State, event: type) -> None:
    """An event that cannot come is an assertion, and leaves the state as it was."""
    made = machine()
    made.state = state
    with pytest.raises(AssertionError, match=f"{event.__name__} cannot come while {state.value}"):
        made.step(SAMPLES[event])
    assert made.state is state


@pytest.mark.parametrize(
    ("saved", "start_from", "expected"),
    [
        (None, None, (None, None)),
        (None, "earliest", (None, "earliest")),
        (place(4), "earliest", (place(4), None)),
    ],
)
def test_the_first_position(saved: Cursor | None, start_from: str | None, expected: Any) -> None:
    """A saved cursor wins over the keyword, which serves only an empty store."""
    made = Machine(dataclasses.replace(SETTINGS, start_from=start_from), random.Random(3))
    action = made.step(Started(saved=saved))
    assert action == Connect(address=None, place=expected[0], keyword=expected[1], fresh_token=False)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.RETRY),
        (204, Verdict.RETRY),
        (301, Verdict.STOP),
        (307, Verdict.STOP),
        (400, Verdict.STOP),
        (401, Verdict.TOKEN),
        (403, Verdict.STOP),
        (404, Verdict.STOP),
        (406, Verdict.STOP),
        (408, Verdict.RETRY),
        (409, Verdict.STOP),
        (410, Verdict.STOP),
        (429, Verdict.RETRY),
        (500, Verdict.RETRY),
        (502, Verdict.RETRY),
        (503, Verdict.RETRY),
        (504, Verdict.RETRY),
    ],
)
def test_what_a_status_means(status: int, verdict: Verdict) -> None:
    """Definite refusals stop, the rest is tried again; a 410 resyncs only with the relay's own document."""
    assert verdict_of(status, has_gone=False) is verdict
    assert verdict_of(410, has_gone=True) is Verdict.GONE


@pytest.mark.parametrize(
    ("status", "kind"), [(400, CursorRefused), (403, TokenRefused), (404, RelayRefused), (307, RelayRefused)]
)
def test_a_definite_refusal_ends_with_its_own_error(status: int, kind: type[RelayRefused]) -> None:
    """The error carries the status, the relay's words and a next step."""
    action = machine().step(answered(status))
    assert isinstance(action, Finish)
    assert type(action.error) is kind
    assert action.error.status == status
    assert f"got {status}: planted; " in str(action.error)


def test_an_event_is_the_place_only_once_it_is_done() -> None:
    """Handling does not move the place; Done does; a loss in between reconnects from the old one."""
    made = reading(place(1))
    assert made.step(seen(2)) == Handle(delivery=seen(2).delivery)
    assert made.place == place(1)
    assert made.step(Done()) == Read()
    assert made.place == place(2)
    made.step(Lost(why="eof"))
    assert reconnected(made).place == place(2)


def test_what_lies_behind_is_passed_over_in_the_same_epoch_only() -> None:
    """Events and bookmarks at or before the place are read past; another epoch has no such order."""
    made = reading(place(5))
    assert made.step(seen(5)) == Read()
    assert made.step(seen(4)) == Read()
    assert made.step(BookmarkSeen(place=place(5))) == Read()
    assert isinstance(made.step(seen(1, "zzz999")), Handle)
    assert made.step(Done()) == Read()
    assert made.place == place(1, "zzz999")


def test_a_bookmark_is_saved_and_becomes_the_place() -> None:
    """A bookmark ahead moves the place like an event, without the handler."""
    made = reading(place(5))
    assert made.step(BookmarkSeen(place=place(9))) == Save(place=place(9))
    assert made.step(Done()) == Read()
    assert made.place == place(9)


def test_what_was_not_asked_for_is_saved_and_not_handled() -> None:
    """With a filter, an event of another type moves the place like a bookmark; without one everything is handled."""
    made = Machine(SETTINGS, random.Random(3), types=("note.added",))
    made.step(Started(saved=place(1)))
    made.step(Opened())
    assert made.step(seen(2)) == Save(place=place(2))
    assert made.step(Done()) == Read()
    assert made.place == place(2)
    assert isinstance(reading().step(seen(2)), Handle)


def test_back_off_widens_and_a_bookmark_or_saved_event_narrows_it_again() -> None:
    """Attempts without news widen the ceiling; news resets it; opening a connection alone does not."""
    made = machine()
    for attempt in range(8):
        action = made.step(Lost(why="connect"))
        assert isinstance(action, Wait)
        assert 0 <= action.delay_s <= min(30, 2**attempt)
        assert made.attempt == attempt + 1
        reconnected(made)
    made.step(Opened())
    assert made.attempt == 8
    made.step(BookmarkSeen(place=place(1)))
    made.step(Done())
    assert made.attempt == 0


@pytest.mark.parametrize(("retry_ms", "base_s"), [(2000, 2.0), (0, 0.01), (10**9, 30.0)])
def test_the_relays_retry_is_the_base_within_bounds(retry_ms: int, base_s: float) -> None:
    """`retry:` sets the first ceiling, but neither a hot loop nor an endless pause."""
    made = reading()
    assert made.step(RetrySeen(retry_ms=retry_ms)) == Read()
    delays = []
    for _ in range(300):
        action = made.step(Lost(why="eof"))
        assert isinstance(action, Wait)
        delays.append(action.delay_s)
        reconnected(made)
        made.attempt = 0
        made.step(Opened())
    assert 0.8 * base_s < max(delays) <= base_s


def test_told_delays_are_obeyed_within_bounds() -> None:
    """Retry-After and retry_ms are never undercut, and never longer than `told_max_s` plus jitter."""
    made = machine()
    action = made.step(answered(503, told_s=12.0))
    assert isinstance(action, Wait)
    assert 12 <= action.delay_s <= 13
    reconnected(made)
    made.step(Opened())
    action = made.step(CloseSeen(notice=CloseNotice(reason="drain", retry_ms=10**9)))
    assert isinstance(action, Wait)
    assert (action.why, 300 <= action.delay_s <= 302) == ("drain", True)


@pytest.mark.parametrize("reason", ["drain", "slow", "lagging", "superseded", "capacity", "never heard of"])
def test_a_closing_notice_keeps_place_and_token(reason: str) -> None:
    """Whatever the reason, also one of a newer relay, the client comes back with what it has."""
    made = reading(place(4))
    made.step(CloseSeen(notice=CloseNotice(reason=reason, retry_ms=0)))
    assert reconnected(made) == Connect(address=None, place=place(4), keyword=None, fresh_token=False)


def test_an_expired_token_is_replaced_before_the_next_connection() -> None:
    """`token_expired` in the stream asks for a fresh token, once."""
    made = reading(place(4))
    made.step(CloseSeen(notice=CloseNotice(reason="token_expired", retry_ms=0)))
    assert reconnected(made).fresh_token
    made.step(Lost(why="connect"))
    assert not reconnected(made).fresh_token


def test_a_401_asks_once_at_once_then_backs_off() -> None:
    """The first 401 costs no wait; further ones do, each with a fresh token; an opened stream forgets them."""
    made = machine()
    assert made.step(answered(401)) == Connect(address=None, place=None, keyword=None, fresh_token=True)
    for _ in range(4):
        assert isinstance(made.step(answered(401)), Wait)
        assert reconnected(made).fresh_token
    made.step(Opened())
    made.step(Lost(why="eof"))
    reconnected(made)
    assert isinstance(made.step(answered(401)), Connect)


def test_401s_end_the_run_only_if_so_set() -> None:
    """With `unauthorized_attempts_max` the last allowed 401 raises; without, the client goes on."""
    made = machine(unauthorized_attempts_max=2)
    assert isinstance(made.step(answered(401)), Connect)
    action = made.step(answered(401))
    assert isinstance(action, Finish)
    assert isinstance(action.error, TokenRefused)
