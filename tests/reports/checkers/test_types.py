"""Clients that ask for some types only: what they are owed, what they are not to get, and what they may be told."""

from __future__ import annotations

import pytest

from reports.checkers.findings import Kind
from tests.reports.story import CRITICAL, STANDARD, Story

OTHER = "agent.status"


def choosy(*given: str, types: tuple[str, ...] = (STANDARD,)) -> list[str]:
    """Three events for an agent, of two types, of which it asks for one and is given some."""
    story = Story()
    for name, event_type in (("e1", STANDARD), ("e2", OTHER), ("e3", STANDARD)):
        story.publish(name, "a", event_type)
    story.connect("a", "earliest", types=types)
    story.deliver("a", *given)
    story.bookmark("a")
    story.converge()
    return story.kinds()


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        (("e1", "e3"), []),
        (("e1", "e2", "e3"), [Kind.UNASKED]),
        (("e3",), [Kind.LOST_PREFIX]),
        (("e1",), [Kind.LOST_TAIL]),
    ],
)
def test_a_client_is_given_what_it_asks_for(given: tuple[str, ...], kinds: list[Kind]) -> None:
    """All of it, and nothing else."""
    assert choosy(*given) == kinds


def test_who_asks_for_nothing_in_particular_is_owed_everything() -> None:
    """No types are all types."""
    assert choosy("e1", "e3", types=()) == [Kind.LOST_MIDDLE]


def test_who_asks_now_for_these_and_now_for_those_is_owed_what_both_ask_for() -> None:
    """For what only one of them asked for is not owed for certain."""
    story = Story()
    story.publish("e1", "a", STANDARD)
    story.publish("e2", "a", OTHER)
    story.connect("a", "earliest", types=(STANDARD, OTHER))
    story.deliver("a", "e1")
    story.disconnect("a")
    story.connect("a", "e1", types=(STANDARD,))
    story.bookmark("a")
    story.converge()
    assert story.kinds() == []


@pytest.mark.parametrize(("waits_s", "kinds"), [(20.0, []), (2.0, [Kind.FALSE_GAP])])
@pytest.mark.parametrize("names_floors", [True, False])
def test_it_may_be_told_that_something_else_is_gone(waits_s: float, kinds: list[Kind], *, names_floors: bool) -> None:
    """Floors are kept by class: a gap of types that it never wanted is no lie, unless it can't have expired."""
    story = Story()
    start = story.publish("e0", "a", CRITICAL)
    story.publish("e1", "a", OTHER)
    story.wait(waits_s)
    story.publish("e2", "a", STANDARD)
    story.connect("a", start, types=(STANDARD,))
    story.gap("a", standard="e1" if names_floors else None)
    story.deliver("a", "e2")
    story.converge()
    assert story.kinds() == kinds


@pytest.mark.parametrize(("types", "kinds"), [((STANDARD,), []), ((), [Kind.FALSE_410])])
def test_a_bookmark_in_a_replay_does_not_say_which_epoch_is_current(types: tuple[str, ...], kinds: list[Kind]) -> None:
    """Where all of a page is unwanted a bookmark moves the place, be it of a former epoch, as the events are."""
    story = Story()
    start = story.publish("e1", "a", OTHER)
    story.fault("loss", "effective", "power_loss")
    story.connect("a", start, types=types, status=410, reason="wrong_epoch")
    story.gone("a", reason="wrong_epoch", via="status")
    story.connect("a", "earliest", types=types)
    if not types:
        story.deliver("a", "e1")
    story.bookmark("a", start)
    story.new_epoch("bbbbbb")
    story.bookmark("a")
    assert story.kinds() == kinds
