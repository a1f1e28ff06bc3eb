"""Absences become trials, on hand-written histories: critical events are kept for 100 s, standard ones for 10 s."""

from __future__ import annotations

import pytest

from reports.review.evidence import GapTrial
from reports.review.gaps import gap_trials
from tests.reports.story import CRITICAL, STANDARD, Story


def away(gap_s: float, *events: tuple[str, str]) -> Story:
    """An agent that has all, leaves, and comes back `gap_s` later; `events` are published just after it left."""
    story = Story()
    story.publish("before", "a")
    story.connect("a", "earliest")
    story.deliver("a", "before")
    story.disconnect("a")
    for event, kind in events:
        story.publish(event, "a", kind)
    story.wait(gap_s)
    story.connect("a", "before")
    return story


def trials(story: Story, *, gap_s_min: float = 1.0) -> list[GapTrial]:
    """The trials of a story that ends well."""
    story.publish("after", "a")
    story.deliver("a", "after")
    story.bookmark("a")
    story.converge()
    return gap_trials(story.index(), "cursor", gap_s_min=gap_s_min)


def test_what_came_was_delivered() -> None:
    """Within retention all is promised, and came; each class is a trial, with the gap as the history shows it."""
    story = away(5, ("c", CRITICAL), ("s", STANDARD))
    story.deliver("a", "c", "s")
    critical, standard = trials(story)
    assert (critical.retention_class, critical.retention_s) == ("critical", 100.0)
    assert (standard.retention_class, standard.retention_s) == ("standard", 10.0)
    for one in (critical, standard):
        assert (one.events, one.delivered, one.within, one.told, one.lost, one.notice) == (1, 1, 1, 0, 0, "none")
        assert 5 < one.gap_s < 6
        assert (one.transport, one.seed) == ("cursor", 1)


def test_what_expired_was_told() -> None:
    """A standard event that expired is told by a gap, and none of it was promised any more."""
    story = away(20, ("s", STANDARD))
    story.gap("a", standard="s")
    (trial,) = trials(story)
    assert (trial.delivered, trial.told, trial.lost, trial.within, trial.notice) == (0, 1, 0, 0, "gap")


def test_a_410_is_graver_than_a_gap() -> None:
    """If critical events are gone the notice is a 410, for either class of what was missed."""
    story = away(200, ("c", CRITICAL), ("s", STANDARD))
    story.gap("a", standard="s")
    story.gone("a", critical="c", standard="s")
    assert [(one.told, one.lost, one.notice) for one in trials(story)] == [(1, 0, "410"), (1, 0, "410")]


def test_a_refusal_with_410_is_the_end_of_the_gap() -> None:
    """The relay has answered; what it takes the agent to come by a stream after that is not its absence."""
    story = Story()
    story.publish("before", "a")
    story.connect("a", "earliest")
    story.deliver("a", "before")
    story.disconnect("a")
    story.publish("c", "a")
    story.wait(200)
    story.connect("a", "before", status=503)
    story.disconnect("a")
    story.wait(50)
    story.connect("a", "before", status=410)
    story.gone("a", critical="c", via="status")
    story.disconnect("a")
    story.publish("d", "a")
    story.wait(30)
    story.connect("a", "c")
    story.deliver("a", "d")
    (trial,) = trials(story)
    assert 250 < trial.gap_s < 253
    assert (trial.told, trial.lost, trial.notice) == (1, 0, "410")


@pytest.mark.parametrize(("gap_s", "within"), [(5, 1), (20, 0)])
def test_what_is_passed_without_a_word_is_lost(gap_s: float, within: int) -> None:
    """Whether it was promised or past its retention: neither got nor told is lost."""
    (trial,) = trials(away(gap_s, ("s", STANDARD)))
    assert (trial.events, trial.delivered, trial.told, trial.lost, trial.within) == (1, 0, 0, 1, within)


def test_a_notice_does_not_make_good_what_was_promised() -> None:
    """An event that is told gone while it is younger than its retention is lost all the same."""
    story = away(5, ("s", STANDARD))
    story.gap("a", standard="s")
    (trial,) = trials(story)
    assert (trial.within, trial.told, trial.lost, trial.notice) == (1, 0, 1, "gap")


def test_the_wrong_notice_is_no_notice() -> None:
    """A critical event of which only a gap speaks is lost."""
    story = away(200, ("c", CRITICAL), ("s", STANDARD))
    story.gap("a", standard="s")
    critical, standard = trials(story)
    assert (critical.told, critical.lost) == (0, 1)
    assert (standard.told, standard.lost) == (1, 0)


def test_only_what_was_missed_counts() -> None:
    """Not what came before or after, nor what nobody acknowledged, nor another agent's; what is for all does."""
    story = Story()
    story.publish("before", "a")
    story.connect("a", "earliest")
    story.deliver("a", "before")
    story.disconnect("a")
    story.publish("mine", "a")
    story.publish("all", "_all")
    story.publish("other", "b")
    story.send("unknown", "a")
    story.fail("unknown", "unknown")
    story.wait(5)
    story.connect("a", "before")
    story.deliver("a", "mine", "all")
    (trial,) = trials(story)
    assert (trial.events, trial.delivered) == (2, 2)


def test_a_notice_belongs_to_the_gap_before_it() -> None:
    """Each absence has its own notice, and absences below the least are no gaps."""
    story = away(5, ("s", STANDARD))
    story.deliver("a", "s")
    for gap_s, event in ((20, "t"), (6, "u")):
        story.disconnect("a")
        story.publish(event, "a", STANDARD)
        story.wait(gap_s)
        story.connect("a", "s" if event == "t" else "t")
        if event == "t":
            story.gap("a", standard="t")
            story.bookmark("a")
        else:
            story.deliver("a", "u")
    found = trials(story)
    assert [one.notice for one in found] == ["none", "gap", "none"]
    assert [int(one.gap_s) for one in found] == [5, 20, 6]
    assert [one.gap_s for one in gap_trials(story.index(), "cursor", gap_s_min=10)] == [found[1].gap_s]


def test_what_the_history_leaves_open_is_no_trial() -> None:
    """An agent that left again before anything came has neither lost it nor got it yet."""
    story = away(5, ("s", STANDARD))
    story.disconnect("a")
    story.converge()
    assert gap_trials(story.index(), "cursor") == []
