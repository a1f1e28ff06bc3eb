"""G1: what is lost, and what is not."""

from __future__ import annotations

import pytest

from reports.checkers.findings import Guarantee, Kind
from reports.history import Deliver
from tests.reports.story import Story, kinds_of


def good(count: int = 5) -> Story:
    """One agent gets all its events live, over two connections."""
    story = Story()
    story.connect("a", "earliest")
    for number in range(1, count + 1):
        story.publish(f"e{number}", "a")
        story.deliver("a", f"e{number}")
        if number == 2:
            story.disconnect("a")
            story.connect("a", "e2")
    story.converge()
    return story


def test_a_good_history_has_no_findings() -> None:
    """Everything delivered once, in order: nothing is held against it."""
    assert good().kinds() == []


@pytest.mark.parametrize(
    ("removed", "kind"), [("e1", Kind.LOST_PREFIX), ("e4", Kind.LOST_MIDDLE), ("e5", Kind.LOST_TAIL)]
)
def test_removing_one_delivery_reports_exactly_that_loss(removed: str, kind: Kind) -> None:
    """One delivery taken out of a good history is one finding: prefix, middle or tail by where it stood."""
    records = [r for r in good().records if not (isinstance(r, Deliver) and r.id == removed)]
    assert kinds_of(records) == [kind]


def test_a_loss_names_its_event_and_shows_its_evidence() -> None:
    """The finding names agent, event and cursor, and its evidence is publish, ack, connect, and what led past."""
    records = [r for r in good().records if not (isinstance(r, Deliver) and r.id == "e4")]
    story = good()
    story.records = records
    (finding,) = story.findings()
    assert (finding.guarantee, finding.agent, finding.event_id) == (Guarantee.G1, "a", "e4")
    assert finding.cursor == "aaaaaa-4"
    kinds = [type(records[number]).__name__ for number in finding.evidence]
    assert kinds == ["Connect", "Publish", "Published", "Deliver"]
    last = records[finding.evidence[-1]]
    assert isinstance(last, Deliver)
    assert last.id == "e5"
    assert "led past by a later delivery on connection a.2" in finding.detail


def test_a_bookmark_leads_past_an_event() -> None:
    """A bookmark says that everything up to it was given: what was not is lost."""
    story = Story()
    story.connect("a", "earliest")
    story.publish("e1", "a")
    story.bookmark("a")
    story.disconnect("a")
    assert story.kinds() == [Kind.LOST_TAIL]


def test_presenting_a_later_cursor_leads_past_an_event() -> None:
    """An agent that comes back with a cursor beyond what it was given has lost what lies between."""
    story = Story()
    story.connect("a", "earliest")
    for number in (1, 2, 3):
        story.publish(f"e{number}", "a")
    story.deliver("a", "e1")
    story.disconnect("a")
    story.connect("a", "e3")
    story.disconnect("a")
    assert story.kinds() == [Kind.LOST_TAIL, Kind.LOST_TAIL]


def test_an_agent_that_never_reconnected_lost_nothing() -> None:
    """What was published after the last connection may still come: it is not lost."""
    story = Story()
    story.connect("a", "earliest")
    story.disconnect("a")
    story.publish("e1", "a")
    story.converge()
    assert story.kinds() == []


def test_a_redelivery_owed_after_a_crash_is_owed() -> None:
    """An agent that crashed before saving presents its old cursor; what it doesn't get again is lost."""
    story = Story()
    story.connect("a", "earliest")
    for number in (1, 2, 3):
        story.publish(f"e{number}", "a")
        story.deliver("a", f"e{number}")
    story.disconnect("a", "killed")
    story.connect("a", "e1")
    story.deliver("a", "e3")
    assert story.kinds() == [Kind.LOST_MIDDLE]


def test_told_but_expired_early() -> None:
    """A critical event that is told gone within its retention was expired early, however politely."""
    story = Story(critical_s=100)
    story.publish("e0", "a")
    story.publish("e1", "a")
    story.wait(50)
    story.connect("a", "e0", status=410, reason="expired")
    story.gone("a", critical="e1", via="status")
    story.disconnect("a")
    assert story.kinds() == [Kind.LOST_EARLY]


def test_told_after_it_was_lost_is_lost() -> None:
    """Passed over while young, told when old: the notice does not mend the loss."""
    story = Story(critical_s=100)
    for number in (0, 1, 2):
        story.publish(f"e{number}", "a")
    story.connect("a", "e0")
    story.deliver("a", "e2")
    story.disconnect("a", "killed")
    story.wait(200)
    story.connect("a", "e0", status=410)
    story.gone("a", critical="e2", via="status")
    story.disconnect("a")
    assert story.kinds() == [Kind.LOST_PREFIX]


def test_the_slack_leaves_room_for_doubt() -> None:
    """An event told gone within the slack of its retention may have been old enough: no violation."""
    story = Story(critical_s=100, slack_s=5)
    story.publish("e0", "a")
    story.publish("e1", "a")
    story.wait(96)
    story.connect("a", "e0", status=410)
    story.gone("a", critical="e1", via="status")
    assert story.kinds() == []


def test_what_a_new_epoch_drops_while_young_is_lost_though_told() -> None:
    """A young event that a new epoch dropped was told of, and is lost early all the same."""
    story = Story()
    story.publish("e0", "b")
    story.publish("e1", "a")
    story.new_epoch("bbbbbb")
    story.publish("f1", "a")
    story.connect("a", "e0", status=410, reason="wrong_epoch")
    story.gone("a", reason="wrong_epoch", via="status")
    story.disconnect("a")
    story.connect("a", "earliest")
    story.deliver("a", "f1")
    story.disconnect("a")
    assert story.kinds() == [Kind.LOST_EARLY]


def test_a_notice_does_not_cover_what_was_published_later() -> None:
    """Being told that a cursor means nothing says nothing about events to come."""
    story = Story()
    story.publish("e0", "a")
    story.new_epoch("bbbbbb")
    story.publish("f1", "a")
    story.connect("a", "e0", status=410, reason="wrong_epoch")
    story.gone("a", reason="wrong_epoch", via="status")
    story.disconnect("a")
    story.connect("a", "earliest")
    story.deliver("a", "e0", "f1")
    story.publish("f2", "a")
    story.publish("f3", "a")
    story.deliver("a", "f3")
    story.converge()
    assert story.kinds() == [Kind.LOST_MIDDLE]


def test_what_was_seen_is_not_lost_by_presenting_a_later_cursor() -> None:
    """A failed connection with an older cursor in between does not make lost what had been received."""
    story = Story()
    for name in ("e1", "e2", "e3", "e4"):
        story.publish(name, "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2", "e3")
    story.disconnect("a")
    story.connect("a", "e1", status=503)
    story.disconnect("a")
    story.connect("a", "e4")
    assert story.kinds() == [Kind.LOST_TAIL]
    assert story.findings()[0].event_id == "e4"
