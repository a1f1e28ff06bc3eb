"""G6: caught up after healing."""

from __future__ import annotations

import pytest

from reports.checkers.findings import Guarantee, Kind
from tests.reports.story import Story


def behind() -> Story:
    """Faults are lifted and one agent never gets its event."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest", status=503)
    story.disconnect("a")
    story.phase("healed")
    story.connect("a", "earliest", status=None)
    story.disconnect("a")
    return story


def test_not_converged_is_no_loss() -> None:
    """A permanent partition ends as not converged, naming who is behind; nothing is called lost."""
    story = behind()
    story.phase("end")
    assert story.kinds() == [Kind.NOT_CONVERGED, Kind.NOT_CAUGHT_UP]


def test_the_runs_own_word_is_not_taken_on_trust() -> None:
    """An agent still trying is behind even if the run says converged."""
    story = behind()
    story.phase("converged")
    assert story.kinds() == [Kind.NOT_CAUGHT_UP]


def test_an_agent_that_left_before_healing_takes_no_part() -> None:
    """Only agents that were connected, or tried, after healing are waited for."""
    story = Story()
    story.connect("a", "earliest")
    story.disconnect("a")
    story.publish("e1", "a")
    story.phase("healed")
    story.phase("converged")
    assert story.kinds() == []


@pytest.mark.parametrize(("bound_s", "kinds"), [(30.0, []), (10.0, [Kind.CONVERGED_LATE]), (None, [])])
def test_the_bound(bound_s: float | None, kinds: list[Kind]) -> None:
    """Convergence after the stated bound is late; without a bound there is only the run's end."""
    story = Story(bound_s=bound_s)
    story.connect("a", "earliest")
    story.phase("healed")
    story.wait(20)
    story.phase("converged")
    assert story.kinds() == kinds


def test_writer_pending() -> None:
    """What counts is the last look at pg-writer."""
    story = Story()
    story.phase("healed")
    story.writer(7)
    story.writer(0)
    story.phase("converged")
    assert story.kinds() == []
    story.writer(3)
    assert story.kinds() == [Kind.WRITER_PENDING]


def test_a_told_loss_counts_as_caught_up() -> None:
    """An agent that was told of everything that it is missing is caught up."""
    story = Story(critical_s=10)
    story.publish("c0", "a")
    story.publish("c1", "a")
    story.wait(50)
    story.phase("healed")
    story.connect("a", "c0", status=410)
    story.gone("a", critical="c1", via="status")
    story.disconnect("a")
    story.phase("converged")
    assert story.kinds() == []


def test_without_healing_there_is_nothing_to_judge() -> None:
    """A run that never lifted its faults has no trials of G6."""
    story = Story()
    story.connect("a", "earliest")
    (progress,) = [judged for judged in story.judged() if judged.guarantee is Guarantee.G6]
    assert set(progress.trials.values()) == {0}
    assert list(progress) == []
