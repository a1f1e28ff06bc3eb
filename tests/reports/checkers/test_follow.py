"""What is owed to a connection without a concrete cursor."""

from __future__ import annotations

import pytest

from reports.checkers.findings import Kind
from reports.history import Deliver
from tests.reports.story import STANDARD, Story, kinds_of, telling


def test_earliest_owes_what_is_not_expired() -> None:
    """`earliest` needs no word about what had expired before; what had not is owed."""
    story = Story(critical_s=100, standard_s=10)
    story.publish("old", "a", STANDARD)
    story.wait(50)
    story.publish("young", "a", STANDARD)
    story.publish("e3", "a")
    story.connect("a", "earliest")
    story.deliver("a", "young", "e3")
    story.converge()
    assert story.kinds() == []
    records = [r for r in story.records if not (isinstance(r, Deliver) and r.id == "young")]
    assert kinds_of(records) == [Kind.LOST_PREFIX]


@pytest.mark.parametrize("presented", ["earliest", "acked", None])
def test_what_expires_while_a_request_is_on_its_way_needs_no_telling(presented: str | None) -> None:
    """The relay looks when it has the request, which a fault may keep for seconds: seed 1275 over `jetstream`."""
    story = Story(critical_s=100, standard_s=10, slack_s=1)
    story.publish("e1", "a")
    story.publish("old", "a", STANDARD)
    story.publish("e3", "a")
    story.wait(4)
    story.connect("a", presented, answered_after_s=8)
    story.deliver("a", "e1", "e3")
    story.converge()
    assert story.kinds() == []


def test_what_expires_after_the_answer_is_told() -> None:
    """From then on the relay has said what there is."""
    story = Story(critical_s=100, standard_s=10, slack_s=1)
    story.publish("e1", "a")
    story.publish("old", "a", STANDARD)
    story.publish("e3", "a")
    story.wait(5)
    story.connect("a", "earliest", answered_after_s=3)
    story.wait(8)
    story.deliver("a", "e1", "e3")
    story.converge()
    assert story.kinds() == [Kind.SILENT_GAP]


def test_now_owes_what_is_published_after_the_answer() -> None:
    """`now` brings nothing earlier, and everything later."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "now")
    story.publish("e2", "a")
    story.publish("e3", "a")
    story.deliver("a", "e2", "e3")
    story.converge()
    assert story.kinds() == []
    records = [r for r in story.records if not (isinstance(r, Deliver) and r.id == "e2")]
    assert kinds_of(records) == [Kind.LOST_PREFIX]


def test_now_may_begin_behind_the_head() -> None:
    """What was in flight when `now` was asked may come or not; once it came, everything behind it is owed."""
    story = Story()
    story.publish("e1", "a")
    story.publish("e2", "a")
    story.connect("a", "now")
    story.deliver("a", "e1")
    story.publish("e3", "a")
    story.deliver("a", "e3")
    assert story.kinds() == [Kind.LOST_MIDDLE]


@pytest.mark.parametrize("presented", [None, "acked"])
def test_acked_begins_at_an_ack_that_may_be_unconfirmed(presented: str | None) -> None:
    """From the last ack: what the agent has seen may be acked or not, what it never saw is owed."""
    story = Story()
    for number in range(1, 6):
        story.publish(f"e{number}", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2", "e3")
    story.acknowledge("a", "e1")
    story.disconnect("a")
    story.connect("a", presented)
    story.deliver("a", "e5")
    assert story.kinds() == [Kind.LOST_MIDDLE]


@pytest.mark.parametrize("first", ["e2", "e3", "e4"])
def test_acked_may_redeliver_what_was_not_confirmed(first: str) -> None:
    """Redelivery may begin anywhere behind the confirmed ack, and is whole from there on."""
    story = Story()
    for number in range(1, 6):
        story.publish(f"e{number}", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2", "e3")
    story.acknowledge("a", "e1")
    story.disconnect("a")
    story.connect("a", "acked")
    story.deliver("a", *[f"e{number}" for number in range(int(first[1]), 6)])
    assert story.kinds() == []


def test_acked_never_redelivers_what_was_confirmed() -> None:
    """What lies at or before the confirmed ack does not come back."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.acknowledge("a", "e1")
    story.disconnect("a")
    story.connect("a", "acked")
    story.deliver("a", "e1")
    assert story.kinds() == [Kind.REPLAYED]


def test_without_an_ack_it_begins_at_the_earliest() -> None:
    """An agent that never acked and never saw anything is owed everything retained."""
    story = Story()
    story.publish("e1", "a")
    story.publish("e2", "a")
    story.connect("a", None)
    story.deliver("a", "e2")
    assert story.kinds() == [Kind.LOST_PREFIX]


@pytest.mark.parametrize(("saved", "kinds"), [("e3", []), ("e2", [Kind.LOST_MIDDLE]), (None, [Kind.LOST_MIDDLE])])
def test_no_more_can_be_acknowledged_than_was_saved(saved: str | None, kinds: list[Kind]) -> None:
    """Who lost its cursor is owed again what it has seen and not saved, where the history tells what was saved."""
    story = Story()
    for number in range(1, 5):
        story.publish(f"e{number}", "a")
    story.connect("a", story.cursor("e1"))
    story.deliver("a", "e2", "e3")
    for name in ("e2", "e3"):
        story.handled("a", name)
    if saved is not None:
        story.saved("a", story.cursor(saved))
    story.disconnect("a")
    story.connect("a", "acked")
    story.deliver("a", "e4")
    missing = {"e3": 0, "e2": 1, None: 2}[saved]
    assert kinds_of(telling(story.records)) == kinds * missing
