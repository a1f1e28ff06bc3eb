"""G4: stored and delivered once, and nothing brought back."""

from __future__ import annotations

import pytest

from reports.checkers.findings import Kind
from tests.reports.story import Story


def test_duplicate_on_one_connection() -> None:
    """The same event twice on one connection is a duplicate."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e1")
    story.converge()
    assert story.kinds() == [Kind.DUPLICATE]
    (finding,) = story.findings()
    assert len(finding.evidence) == 2


def test_redelivery_after_a_crash_is_none() -> None:
    """An agent that crashed before saving its cursor gets the same again, rightly."""
    story = Story()
    for name in ("e1", "e2"):
        story.publish(name, "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2")
    story.disconnect("a", "killed")
    story.connect("a", "e1")
    story.deliver("a", "e2")
    story.converge()
    assert story.kinds() == []


@pytest.mark.parametrize("came", ["e1", "e2"])
def test_replayed_at_or_before_the_cursor(came: str) -> None:
    """What lies at or before the presented cursor must not come back."""
    story = Story()
    for name in ("e1", "e2"):
        story.publish(name, "a")
    story.connect("a", "e2")
    story.deliver("a", came)
    story.converge()
    assert story.kinds() == [Kind.REPLAYED]


def test_a_retry_stored_twice() -> None:
    """A retried publish under two cursors is one finding for the event, however many agents got both."""
    story = Story()
    story.publish("e1", "_all")
    second = story.publish("e1", "_all", seq=2)
    for agent in ("a", "b"):
        story.connect(agent, "earliest")
        story.deliver(agent, "e1")
        story.deliver(agent, "e1", cursor=second)
    story.converge()
    assert story.kinds() == [Kind.DUPLICATE_STORAGE]


def test_two_acks_with_two_cursors() -> None:
    """A retry that is acked under another cursor was stored twice, even if nobody receives it."""
    story = Story()
    story.publish("e1", "a")
    story.publish("e1", "a", seq=2)
    assert story.kinds() == [Kind.DUPLICATE_STORAGE]


@pytest.mark.parametrize("first", ["acked", "unknown"])
@pytest.mark.parametrize(("waited_s", "twice"), [(3.0, False), (1.0, True)])
def test_a_repeat_after_the_streams_window(first: str, waited_s: float, *, twice: bool) -> None:
    """The stream has forgotten the id, so the ack may name a second place; stored it is where it is delivered."""
    story = Story(dedupe_s=2.0)
    story.send("e1", "a")
    story.ack("e1") if first == "acked" else story.fail("e1", "unknown")
    story.wait(waited_s)
    story.publish("e1", "a", seq=2)
    story.connect("a", "earliest")
    story.deliver("a", "e1", cursor="aaaaaa-1")
    story.converge()
    assert (Kind.DUPLICATE_STORAGE in story.kinds()) == twice
    assert twice or not story.kinds()


@pytest.mark.parametrize("first", ["acked", "unknown"])
@pytest.mark.parametrize(("waited_s", "twice"), [(3.0, False), (0.5, True)])
def test_a_repeat_that_took_longer_than_the_streams_window(first: str, waited_s: float, *, twice: bool) -> None:
    """It was sent in good time, and stored when the stream had forgotten the id: only its ack tells how late."""
    story = Story(dedupe_s=2.0)
    story.send("e1", "a")
    story.ack("e1") if first == "acked" else story.fail("e1", "unknown")
    story.send("e1", "a")
    story.wait(waited_s)
    story.ack("e1", seq=2)
    story.connect("a", "earliest")
    story.deliver("a", "e1", cursor="aaaaaa-1")
    story.converge()
    assert (Kind.DUPLICATE_STORAGE in story.kinds()) == twice
    assert twice or not story.kinds()


def test_delivered_twice_though_the_stream_had_forgotten() -> None:
    """That is what the window excuses nobody from: pg-writer knows every id for as long as it is retained."""
    story = Story(dedupe_s=2.0)
    story.publish("e1", "a")
    story.wait(3.0)
    story.publish("e1", "a", seq=2)
    story.connect("a", "earliest")
    story.deliver("a", "e1", cursor="aaaaaa-1")
    story.deliver("a", "e1", cursor="aaaaaa-2")
    story.converge()
    assert story.kinds() == [Kind.DUPLICATE_STORAGE]


@pytest.mark.parametrize(("waited_s", "twice"), [(101.0, False), (90.0, True)])
def test_a_repeat_past_its_retention(waited_s: float, *, twice: bool) -> None:
    """What was swept is known to nobody: a repeat is a new event, and may be delivered as one."""
    story = Story(critical_s=100)
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.wait(waited_s)
    story.publish("e1", "a", seq=2)
    story.deliver("a", "e1", cursor="aaaaaa-2")
    story.converge()
    assert (Kind.DUPLICATE_STORAGE in story.kinds()) == twice
    assert twice or not story.kinds()


@pytest.mark.parametrize(
    ("waited_s", "is_seen", "twice"), [(101.0, False, False), (101.0, True, True), (90.0, False, True)]
)
def test_a_copy_that_came_to_be_written_past_its_retention(waited_s: float, *, is_seen: bool, twice: bool) -> None:
    """What was swept is known to nobody; but what another agent received before its time was over was written then."""
    story = Story(critical_s=100)
    story.publish("e1", "a")
    story.connect("b", "earliest")
    story.wait(waited_s / 2)
    story.publish("e4", "b", seq=4)
    if is_seen:
        story.deliver("b", "e4")
    story.wait(waited_s / 2)
    story.connect("a", "earliest")
    story.deliver("a", "e1", cursor="aaaaaa-1")
    story.deliver("a", "e1", cursor="aaaaaa-3")
    if not is_seen:
        story.deliver("b", "e4")
    story.converge()
    assert (Kind.DUPLICATE_STORAGE in story.kinds()) == twice, story.kinds()
    assert twice or not story.kinds()


def test_delivered_under_another_cursor_than_acked() -> None:
    """The ack names one cursor, the delivery another: the event was stored twice."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", cursor="aaaaaa-5")
    story.converge()
    assert story.kinds() == [Kind.DUPLICATE_STORAGE]


def test_read_again_in_a_new_epoch() -> None:
    """What was acknowledged and not yet written when a new epoch began is delivered under the new epoch."""
    story = Story()
    story.publish("e0", "a")
    story.publish("e1", "a")
    story.new_epoch("bbbbbb")
    story.publish("f1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e0", "f1")
    story.deliver("a", "e1", cursor="bbbbbb-2")
    story.converge()
    assert story.kinds() == []
    story.connect("b", "earliest")
    story.deliver("a", "e1", cursor="aaaaaa-2")
    assert Kind.DUPLICATE_STORAGE in story.kinds()


def test_a_retry_acked_in_a_new_epoch() -> None:
    """A retry after a new epoch began may be acked under it, and is still delivered where it was stored."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.new_epoch("bbbbbb")
    story.publish("e1", "a", seq=1)
    story.converge()
    assert story.kinds() == []


def test_a_retry_answered_as_duplicate_is_right() -> None:
    """Both acks of a retried publish name one cursor, and it is delivered once."""
    story = Story()
    story.send("e1", "a")
    story.fail("e1", "unknown")
    story.publish("e1", "a")
    story.ack("e1", duplicate=True)
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.converge()
    assert story.kinds() == []
