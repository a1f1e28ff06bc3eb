"""G2: cursors that mean nothing in the stream, and what is said of them."""

from __future__ import annotations

import pytest

from reports.checkers.findings import Kind
from tests.reports.story import Story


def test_wrong_epoch() -> None:
    """A cursor of the epoch before is a right 410; of the only epoch there is, a false one."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "e1", status=410)
    story.gone("a", reason="wrong_epoch", via="status")
    story.disconnect("a")
    assert story.kinds() == []  # the stream may just have been made anew
    story.publish("e2", "a")
    assert story.kinds() == [Kind.FALSE_410]


def test_ahead() -> None:
    """`ahead` is false for a cursor that the stream had reached, unless the stream went back."""
    story = Story()
    for number in (1, 2, 3):
        story.publish(f"e{number}", "a")
    story.connect("a", "e2", status=410)
    story.gone("a", reason="ahead", via="status")
    story.disconnect("a")
    assert story.kinds() == [Kind.FALSE_410]
    story.publish("again", "b", seq=2)
    assert Kind.FALSE_410 not in story.kinds()


def test_ahead_after_power_loss() -> None:
    """Where power was lost the stream may have gone back."""
    story = Story()
    story.publish("e1", "a")
    story.fault("f", "effective", "power_loss")
    story.connect("a", "e1", status=410)
    story.gone("a", reason="ahead", via="status")
    assert story.kinds() == []


def test_ahead_of_everything_is_right() -> None:
    """A cursor beyond all that was acknowledged is ahead."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "aaaaaa-7", status=410)
    story.gone("a", reason="ahead", via="status")
    assert story.kinds() == []


@pytest.mark.parametrize("cursor", ["zzzzzz-1", "aaaaaa-9", "aaaaaa-1"])
def test_a_cursor_that_means_nothing_must_not_be_served(cursor: str) -> None:
    """Of an epoch never seen, ahead of everything, or of the epoch before: a stream is no answer."""
    story = Story()
    story.publish("e1", "a")
    if cursor == "aaaaaa-1":
        story.new_epoch("bbbbbb")
    story.publish("f1", "b")
    story.wait(10)
    story.connect("a", cursor)
    story.bookmark("a", cursor if cursor == "aaaaaa-1" else None)
    expected = [Kind.CURSOR_ACCEPTED]
    if cursor == "aaaaaa-9":
        expected.append(Kind.OUT_OF_ORDER)  # the bookmark lies behind the cursor
    assert story.kinds() == expected


def test_who_publishes_under_an_old_epoch_proves_nothing() -> None:
    """A publisher that knows the stream alone goes on naming the epoch that it knew: the notice was right (an outage of
    nine days, after which messages were gone that nobody had stored).
    """
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.disconnect("a")
    story.connect("a", "e1", status=410, reason="wrong_epoch")
    story.gone("a", reason="wrong_epoch", via="status")
    story.wait(10)
    story.publish("e2", "b")
    is_alone = story.kinds()
    story.new_epoch("bbbbbb")
    story.publish("f1", "b")
    assert (is_alone, story.kinds()) == ([Kind.FALSE_410], [])


def test_a_wrong_epoch_told_in_the_stream_is_right() -> None:
    """With on_gone=event or skip the answer is 200, and the first word is the notice."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.disconnect("a")
    story.new_epoch("bbbbbb")
    story.publish("f1", "a")
    story.wait(10)
    story.connect("a", "e1")
    story.gone("a", reason="wrong_epoch")
    story.deliver("a", "f1")
    story.converge()
    assert story.kinds() == []


def two_lives() -> Story:
    """Two events of a former life of the stream, which the agent has had, and one of this one."""
    story = Story()
    for name in ("e1", "e2"):
        story.publish(name, "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2")
    story.disconnect("a")
    story.new_epoch("bbbbbb")
    story.publish("f1", "a")
    story.wait(10)
    return story


def test_who_is_told_in_the_stream_may_be_given_all_that_is_retained() -> None:
    """Its cursor means nothing, so that what lies before it may come again, or not, for it has had it."""
    story = two_lives()
    story.connect("a", "e2")
    story.gone("a", reason="wrong_epoch", via="event", critical=None, standard=None)
    story.gap("a", standard=None)
    story.deliver("a", "e1", "e2", "f1")
    assert story.kinds() == [Kind.FALSE_GAP]  # nothing of its class is gone; the cursor's notice stands all the same
    story = two_lives()
    story.connect("a", "e2")
    story.gone("a", reason="wrong_epoch", via="event", critical=None, standard=None)
    story.deliver("a", "e1", "f1")
    story.converge()
    assert story.kinds() == []  # it has had the other one before


@pytest.mark.parametrize(
    ("told", "expected"), [("bbbbbb-1", []), ("aaaaaa-2", [Kind.CURSOR_ACCEPTED]), (None, [Kind.CURSOR_ACCEPTED])]
)
def test_who_knows_of_this_life_goes_on_in_the_former_one(told: str | None, expected: list[Kind]) -> None:
    """A page that ends in what is retained of a former life is gone on with, by who has been told."""
    story = two_lives()
    story.connect("a", "e1", told=told)
    story.deliver("a", "e2", "f1")
    assert story.kinds() == expected


MADE_UP: dict[str, tuple[int | str, ...]] = {
    "latest": (400,),
    "aaaaaa-0x7": (400,),
    "zzzzzz-1": ("wrong_epoch",),
    "aaaaaa-9": ("ahead",),
}
"""Cursors that nobody gave out, with the answers that are right while the stream has one epoch."""


@pytest.mark.parametrize("answer", [400, "wrong_epoch", "ahead", 200])
@pytest.mark.parametrize("cursor", MADE_UP)
def test_a_made_up_cursor_has_one_right_answer(cursor: str, answer: int | str) -> None:
    """Each is told what is wrong with it; a page behind it, or another's answer, is a finding."""
    story = Story()
    story.publish("e1", "a")
    story.invented("a", cursor, *((answer,) if isinstance(answer, int) else (410, answer)))
    assert story.kinds() == ([] if answer in MADE_UP[cursor] else [Kind.CURSOR_ACCEPTED])


def test_a_cursor_beyond_a_former_epoch_is_ahead_or_foreign() -> None:
    """When the stream began anew is not known to a moment: either may have been true."""
    story = Story()
    story.publish("e1", "a")
    story.new_epoch("bbbbbb")
    story.publish("f1", "a")
    for reason in ("ahead", "wrong_epoch"):
        story.invented("a", "aaaaaa-9", 200, reason)
    story.invented("a", "bbbbbb-9", 200, "ahead")
    assert story.kinds() == []


@pytest.mark.parametrize("cursor", ["aaaaaa-1", "aaaaaa-0"])
def test_a_cursor_that_may_have_been_given_out_is_not_judged(cursor: str) -> None:
    """Whoever says that he made it up may have been lucky."""
    story = Story()
    story.publish("e1", "a")
    story.invented("a", cursor, 200)
    assert story.kinds() == []


def test_no_answer_to_a_made_up_cursor_says_nothing() -> None:
    """A relay that is away has not taken it."""
    story = Story()
    story.publish("e1", "a")
    story.invented("a", "zzzzzz-1", None)
    assert story.kinds() == []
