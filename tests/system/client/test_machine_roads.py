"""Losses, gaps and failures: the client's roads through trouble, none of which skips an event."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.client.errors import (
    FrameTooLarge,
    HandlerFailed,
)
from system.client.machine import TABLE, Machine
from system.client.notices import Floors
from system.client.steps import (
    Action,
    BookmarkSeen,
    Connect,
    Done,
    EventSeen,
    Finish,
    GapSeen,
    Garbage,
    GoneSeen,
    Handle,
    Lost,
    Opened,
    Raised,
    Read,
    Save,
    Started,
    Tell,
    Wait,
)
from system.cursor import Cursor
from tests.system.client.machine_words import (
    ACTIONS,
    GAP,
    SAMPLES,
    SETTINGS,
    answered,
    gone,
    machine,
    place,
    reading,
    reconnected,
    seen,
)


def test_a_loss_is_told_then_resynced() -> None:
    """After a 410 the application is told, then the relay's address is followed until a cursor is saved behind it."""
    made = machine(place(3))
    assert made.step(answered(410, notice=gone())) == Tell(notice=gone())
    assert made.step(Done()) == Connect(address="/r", place=None, keyword=None, fresh_token=False)
    made.step(Lost(why="connect"))
    assert reconnected(made).address == "/r"
    made.step(Opened())
    made.step(seen(8))
    assert made.place == place(3)
    made.step(Done())
    made.step(Lost(why="eof"))
    assert reconnected(made) == Connect(address=None, place=place(8), keyword=None, fresh_token=False)


def test_a_place_in_a_former_life_is_presented_with_what_was_told() -> None:
    """Once it is told that its epoch is over, it goes on in what is retained of it; in this one it need not say so."""
    made = machine(place(3, "former"))
    made.step(answered(410, notice=gone("wrong_epoch")))
    made.step(Done())
    made.step(Opened())
    for epoch, told in (("former", "abc234-9"), ("abc234", None)):
        made.step(seen(2, epoch))
        made.step(Done())
        made.step(Lost(why="eof"))
        there = place(2, epoch)
        assert reconnected(made) == Connect(address=None, place=there, keyword=None, fresh_token=False, told=told)
        made.step(Opened())


def test_the_same_loss_is_told_once() -> None:
    """The resync stream repeats the notice that led to it: one call for both; other floors are another loss."""
    made = machine(place(3))
    made.step(answered(410, notice=gone()))
    made.step(Done())
    made.step(Opened())
    assert made.step(GoneSeen(notice=gone(via="event", resync="/r2"))) == Read()
    further = gone(via="event", floors=Floors(critical="abc234-6", standard="abc234-7"))
    assert made.step(GoneSeen(notice=further)) == Tell(notice=further)
    assert made.step(Done()) == Read()


def test_a_resync_that_is_gone_again_backs_off() -> None:
    """A 410 at every resync address does not become a hot loop."""
    made = machine(place(3))
    made.step(answered(410, notice=gone(resync="/r1")))
    assert isinstance(made.step(Done()), Connect)
    assert isinstance(made.step(answered(410, notice=gone(resync="/r2"))), Wait)
    assert reconnected(made).address == "/r2"


@pytest.mark.parametrize(("reason", "is_read"), [("expired", False), ("wrong_epoch", True), ("ahead", True)])
def test_after_a_foreign_cursor_nothing_counts_as_behind(reason: str, is_read: bool) -> None:
    """A stream that was cut back delivers lower cursors than the old place: after `ahead` they are news."""
    made = machine(place(900))
    made.step(answered(410, notice=gone(reason)))
    made.step(Done())
    made.step(Opened())
    assert isinstance(made.step(seen(5)), Handle) is is_read


def test_a_loss_in_the_stream_is_told_on_the_open_connection() -> None:
    """After relay.gone the client reads on (skip mode), and if the relay closes it follows the address."""
    made = reading(place(3))
    notice = gone(via="event")
    assert made.step(GoneSeen(notice=notice)) == Tell(notice=notice)
    assert made.step(Done()) == Read()
    made.step(Lost(why="eof"))
    assert reconnected(made).address == "/r"


def test_a_loss_that_could_not_be_told_is_learned_again() -> None:
    """If on_gone raises, the next connection presents the old place, so that the relay says it again."""
    made = machine(place(3))
    made.step(answered(410, notice=gone()))
    assert isinstance(made.step(Raised(error=LookupError("planted"))), Wait)
    assert reconnected(made).place == place(3)
    assert isinstance(made.step(answered(410, notice=gone())), Tell)


def test_a_gap_is_told_and_delivery_goes_on() -> None:
    """A gap interrupts nothing."""
    made = reading(place(3))
    assert made.step(GapSeen(notice=GAP)) == Tell(notice=GAP)
    assert made.step(Done()) == Read()


def test_failures_in_one_place_end_the_run_with_the_event() -> None:
    """`handler_attempts_max` failures without the place moving raise; a bookmark that stays put does not reset them."""
    made = reading(place(1))
    for _ in range(2):
        made.step(BookmarkSeen(place=place(1)))
        made.step(seen(2))
        assert isinstance(made.step(Raised(error=LookupError("planted"))), Wait)
        assert reconnected(made).place == place(1)
        made.step(Opened())
    made.step(seen(2))
    action = made.step(Raised(error=LookupError("planted")))
    assert isinstance(action, Finish)
    assert isinstance(action.error, HandlerFailed)
    assert (action.error.event_id, action.error.cursor, made.place) == ("e2", "abc234-2", place(1))


def test_garbage_backs_off_and_ends_with_itself() -> None:
    """Unreadable frames in one place are retried as often as handlers, then raised; a moved place forgives."""
    made = reading(place(1))
    error = FrameTooLarge("planted")
    for _ in range(2):
        made.step(Garbage(error=error))
        reconnected(made)
        made.step(Opened())
    made.step(seen(2))
    made.step(Done())
    assert made.failures == 0
    for _ in range(2):
        assert isinstance(made.step(Garbage(error=error)), Wait)
        reconnected(made)
        made.step(Opened())
    assert made.step(Garbage(error=error)) == Finish(why="garbage", error=error)


@given(st.data())
def test_no_road_skips_an_event(data: st.DataObject) -> None:
    """Under any events whatever, the place moves only to what was handled and done, and failures never pass it."""
    made = Machine(dataclasses.replace(SETTINGS, handler_attempts_max=10_000), random.Random(5))
    action: Action = made.step(Started(saved=place(1)))
    in_hand: Cursor | None = None
    for _ in range(data.draw(st.integers(1, 40))):
        choices = list(TABLE[made.state])
        if not choices:
            break
        event = SAMPLES[data.draw(st.sampled_from(choices))]
        if isinstance(event, EventSeen):
            event = seen(data.draw(st.integers(1, 9)))
        before = made.place
        action = made.step(event)
        assert type(action) in ACTIONS
        if isinstance(event, Done) and in_hand is not None:
            assert made.place == in_hand
        else:
            assert made.place == before
        if isinstance(action, Handle):
            in_hand = action.delivery.place
        elif isinstance(action, Save):
            in_hand = action.place
        else:
            in_hand = None
        if isinstance(action, Connect) and action.address is None:
            assert action.place == made.place
        if isinstance(action, Wait):
            assert 0 <= action.delay_s <= SETTINGS.told_max_s + SETTINGS.backoff_max_s
