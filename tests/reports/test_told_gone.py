"""What agents were told is gone is counted by class and agent, as G2 counts it."""

from __future__ import annotations

from reports.checkers.follow import chains_of
from reports.checkers.notices import check_notices
from reports.index import Index
from reports.told_gone import ToldGone, together, told_gone
from tests.reports.story import STANDARD, Story


def counted(story: Story) -> tuple[dict[str, ToldGone], int]:
    """By agent, and what G2 says in all."""
    index = Index.of(story.records)
    chains = chains_of(index)
    return told_gone(index, chains), check_notices(index, chains).trials["events told gone"]


def asleep(story: Story) -> Story:
    """Two agents stand at an event each."""
    for name in ("a", "b"):
        story.connect(name, "earliest")
        story.publish(f"{name}0", name)
        story.deliver(name, f"{name}0")
        story.disconnect(name)
    return story


def test_nothing_is_told_where_everything_came() -> None:
    """No notice, no count."""
    story = asleep(Story())
    story.converge()
    assert counted(story) == ({}, 0)


def test_each_class_counts_for_each_agent() -> None:
    """A gap counts standard events, a loss both classes, and an event of all agents once for each that lacks it."""
    story = asleep(Story(critical_s=100, standard_s=10))
    story.publish("s1", "_all", STANDARD)
    story.publish("s2", "a", STANDARD)
    story.publish("c1", "b")
    story.wait(200)
    story.publish("a9", "a")
    story.publish("b9", "b")
    story.connect("a", "a0")
    story.gap("a", standard="s2")
    story.deliver("a", "a9")
    story.connect("b", "b0", status=410)
    story.gone("b", critical="c1", standard="s1")
    story.connect("b", "b0")
    story.deliver("b", "b9")
    story.converge()
    by_agent, total = counted(story)
    assert by_agent == {"a": ToldGone(standard=2), "b": ToldGone(critical=1, standard=1)}
    assert together(by_agent) == ToldGone(critical=1, standard=3)
    assert together(by_agent).total == total == 4


def test_what_was_lost_is_not_told_gone() -> None:
    """An event that was young when the agent was led past it is a loss, whatever a notice says later."""
    story = asleep(Story(critical_s=100, standard_s=10))
    story.publish("s1", "a", STANDARD)
    story.publish("a9", "a")
    story.connect("a", "a0")
    story.gap("a", standard="s1")
    story.deliver("a", "a9")
    story.converge()
    assert counted(story)[0] == {}
    assert "lost-early" in story.kinds()
