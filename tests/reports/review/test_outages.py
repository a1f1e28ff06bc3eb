"""What an outage cost, on hand-written histories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reports.api import judge_index
from reports.checkers.follow import chains_of
from reports.review.evidence import Outage
from reports.review.outages import caught_up_s, outage_of
from tests.reports.story import STANDARD, Story


@contextmanager
def outage(story: Story) -> Iterator[None]:
    """Something is away, for as long as a `with` lasts."""
    story.fault("f", "asked", "cut")
    story.fault("f", "effective", "cut")
    yield
    story.fault("f", "lifted", "cut")


def at_work(*agents: str) -> Story:
    """Agents that have all there is."""
    story = Story()
    story.phase("safety")
    for agent in agents:
        story.publish(f"first-{agent}", agent)
        story.connect(agent, "earliest")
        story.deliver(agent, f"first-{agent}")
    return story


def counted(story: Story) -> Outage:
    """The story's outage."""
    index = story.index()
    report = judge_index(index, "history.jsonl")
    return outage_of(
        index, report, transport="cursor", what="nats", how="cut off", length_s=60, command="meshrelay sim outage"
    )


def took_s(story: Story) -> float | None:
    """How long it took until everybody was caught up."""
    index = story.index()
    return caught_up_s(index, chains_of(index))


def test_what_was_refused_at_first_is_counted_once() -> None:
    """By the first attempt of each event, however often it was tried again, and whatever came of it."""
    story = at_work("a")
    with outage(story):
        for event, outcome in (("e1", "refused"), ("e2", "unknown")):
            story.send(event, "a")
            story.fail(event, outcome)  # type: ignore[arg-type]
            story.send(event, "a")
            story.fail(event, "unknown")
        story.publish("e3", "a")
        story.send("e3", "a")
        story.fail("e3", "unknown")
    for event in ("e1", "e2"):
        story.publish(event, "a")
    story.deliver("a", "e3", "e1", "e2")
    story.converge()
    found = counted(story)
    assert (found.verdict, found.violated) == ("held", ())
    assert (found.events, found.refused, found.delivered, found.lost) == (4, 2, 4, 0)


def test_what_was_told_and_what_was_lost() -> None:
    """Events told gone by class; what is neither got nor told is lost, and breaks a promise."""
    story = at_work("a")
    with outage(story):
        story.publish("c", "a")
        story.publish("s", "a", STANDARD)
        story.disconnect("a")
        story.wait(200)
    story.connect("a", "first-a")
    story.gone("a", critical="c", standard="s")
    story.publish("lost", "a")
    story.publish("after", "a")
    story.deliver("a", "after")
    story.converge()
    found = counted(story)
    assert (found.told_critical, found.told_standard, found.lost) == (1, 1, 1)
    assert (found.verdict, found.violated) == ("violated", ("G1",))


def test_what_a_new_epoch_tells_is_told() -> None:
    """An agent that begins anew after a 410 `wrong_epoch` was told of what it never gets, and is caught up then."""
    story = at_work("a")
    with outage(story):
        story.publish("c", "a")
        story.publish("s", "a", STANDARD)
        story.disconnect("a")
        story.wait(2_000_000)
    story.new_epoch("bbbbbb")
    story.connect("a", "first-a", status=410, reason="wrong_epoch")
    story.gone("a", reason="wrong_epoch", via="status")
    story.disconnect("a")
    story.connect("a", "earliest")
    story.publish("after", "a")
    story.deliver("a", "after")
    story.converge()
    found = counted(story)
    assert (found.verdict, found.told_critical, found.told_standard, found.lost) == ("held", 1, 1, 0)
    assert took_s(story) is not None


def test_caught_up_is_when_the_last_has_the_last() -> None:
    """Of what was sent before the end; what comes after that is not waited for."""
    story = at_work("a", "b")
    with outage(story):
        story.publish("e1", "_all")
    story.wait(3)
    story.deliver("a", "e1")
    story.wait(4)
    story.deliver("b", "e1")
    story.publish("e2", "a")
    story.wait(20)
    story.deliver("a", "e2")
    took = took_s(story)
    assert took is not None
    assert 7 < took < 8


def test_being_told_is_being_caught_up() -> None:
    """Whoever was told that an event is gone need not wait for it."""
    story = at_work("a")
    with outage(story):
        story.publish("s", "a", STANDARD)
        story.disconnect("a")
        story.wait(30)
    story.wait(2)
    story.connect("a", "first-a")
    story.gap("a", standard="s")
    took = took_s(story)
    assert took is not None
    assert 2 < took < 3


def test_what_never_comes_is_said() -> None:
    """Who is there and neither got an event nor was told of it was never caught up; an outage has an end."""
    story = at_work("a")
    with outage(story):
        story.publish("e1", "a")
    story.wait(5)
    assert took_s(story) is None
    endless = at_work("a")
    endless.fault("f", "effective", "cut")
    assert took_s(endless) is None


def test_only_who_is_there_is_waited_for() -> None:
    """Who left before the end and never came back owes no haste; nothing to catch up with takes no time."""
    story = at_work("a", "b")
    story.disconnect("b")
    with outage(story):
        story.publish("e1", "b")
    assert took_s(story) == 0.0
    story.wait(5)
    story.connect("b", "first-b")
    assert took_s(story) is None
    story.deliver("b", "e1")
    took = took_s(story)
    assert took is not None
    assert 5 < took < 6
