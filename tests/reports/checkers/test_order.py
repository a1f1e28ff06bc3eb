"""G3: rising cursors, within and across connections."""

from __future__ import annotations

from reports.checkers.findings import Kind
from tests.reports.story import Story


def test_two_deliveries_swapped() -> None:
    """A delivery behind the one before it is out of order, and not lost besides."""
    story = Story()
    for name in ("e1", "e2", "e3"):
        story.publish(name, "a")
    story.connect("a", "earliest")
    story.deliver("a", "e2", "e1", "e3")
    story.converge()
    assert story.kinds() == [Kind.OUT_OF_ORDER]


def test_late_on_a_later_connection() -> None:
    """What a connection passed over and a later one brings, because the agent crashed, comes too late."""
    story = Story()
    for name in ("e1", "e2", "e3"):
        story.publish(name, "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e3")
    story.disconnect("a", "killed")
    story.connect("a", "e1")
    story.deliver("a", "e2", "e3")
    story.converge()
    assert story.kinds() == [Kind.OUT_OF_ORDER]


def test_an_older_cursor_brings_older_events() -> None:
    """Presenting an older cursor asks for older events: cursors fall across connections, rightly."""
    story = Story()
    for name in ("e1", "e2"):
        story.publish(name, "a")
    story.connect("a", "e1")
    story.deliver("a", "e2")
    story.disconnect("a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2")
    story.converge()
    assert story.kinds() == []


def test_a_bookmark_that_falls_back() -> None:
    """A bookmark behind a delivery would take the agent back."""
    story = Story()
    story.publish("e1", "a")
    story.publish("e2", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2")
    story.bookmark("a", story.cursor("e1"))
    assert story.kinds() == [Kind.OUT_OF_ORDER]


def test_two_events_under_one_cursor() -> None:
    """A stream that went back without a new epoch gives one cursor to two events."""
    story = Story()
    story.publish("e1", "a")
    story.publish("e2", "b", seq=1)
    assert story.kinds() == [Kind.CURSOR_SHARED]


def test_the_one_that_lost_its_cursor_is_lost() -> None:
    """Of two events under one cursor, the one that doesn't come is lost besides."""
    story = Story()
    story.publish("e1", "a")
    story.publish("e2", "a", seq=1)
    story.connect("a", "earliest")
    story.deliver("a", "e2")
    story.converge()
    assert story.kinds() == [Kind.LOST_TAIL, Kind.CURSOR_SHARED]


def test_epochs_are_ordered_by_their_first_appearance() -> None:
    """Sequences start again in a new epoch, and what is in it lies behind everything before."""
    story = Story()
    story.epoch = "zzzzzz"
    story.publish("e1", "a")
    story.publish("e2", "a")
    story.new_epoch("aaaaaa")
    story.publish("f1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2", "f1")
    story.converge()
    assert story.kinds() == []
