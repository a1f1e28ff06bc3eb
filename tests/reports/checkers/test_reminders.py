"""G6 of what nobody acknowledges: it comes again, and is only missed where nothing else can be the reason."""

from __future__ import annotations

import msgspec
import pytest

from reports.checkers.findings import Kind
from reports.history import Record, Reminders, Run
from tests.reports.story import Story, kinds_of

REMINDERS = Reminders(
    after_ns=3_000_000_000, within_ns=5_000_000_000, settle_ns=10_000_000_000, silent=("a", "a#2", "b")
)


def reminding(records: list[Record], reminders: Reminders | None = REMINDERS) -> list[Record]:
    """The same history of a run that says when a copy must be there."""
    return [msgspec.structs.replace(one, reminders=reminders) if isinstance(one, Run) else one for one in records]


def assigned(
    *, agent: str = "a", event_type: str = "task.assigned", critical_s: float = 100, later_after_s: float = 7.0
) -> Story:
    """An agent is given an event; much later another is published for it, and comes too."""
    story = Story(critical_s=critical_s)
    story.phase("safety")
    story.connect(agent, "earliest")
    story.publish("e1", agent, event_type)
    story.deliver(agent, "e1")
    story.wait(later_after_s)
    story.publish("e2", agent, "task.created")
    return story


def ended(story: Story, agent: str = "a") -> list[Record]:
    """The later one comes, and all is over."""
    story.deliver(agent, "e2")
    story.converge()
    return reminding(story.records)


def test_what_never_came_again_is_found() -> None:
    """It was given, nobody acknowledged it, and what was published after the limit came without a copy ahead of it."""
    records = ended(assigned())
    assert kinds_of(records) == [Kind.NOT_REMINDED]


def test_a_copy_is_all_that_is_asked_for() -> None:
    """Any of them: the first may have been swept while the agent was away."""
    story = assigned()
    story.seq -= 1
    story.store("e1~r2", "a")
    story.deliver("a", "e1~r2", cursor=f"{story.epoch}-1")
    records = ended(story)
    assert Kind.NOT_REMINDED not in kinds_of(records)


@pytest.mark.parametrize(
    "story",
    [
        assigned(agent="c"),
        assigned(event_type="task.created"),
        assigned(later_after_s=4.0),
        assigned(critical_s=6),
    ],
    ids=["may-have-acknowledged", "no-assignment", "too-early", "may-be-gone"],
)
def test_what_is_in_doubt_is_not_judged(story: Story) -> None:
    """Who may have acknowledged it, what is none, what is not due yet, and what may have expired."""
    agent = "c" if "c.1" in {getattr(one, "conn", "") for one in story.records} else "a"
    assert Kind.NOT_REMINDED not in kinds_of(ended(story, agent))


@pytest.mark.parametrize(("waits_s", "found"), [(0.0, 0), (12.0, 1)])
def test_after_a_fault_the_relay_is_given_time(waits_s: float, found: int) -> None:
    """A leader may have to be found, and a dead connection to be noticed, before anything is dispatched again."""
    story = Story()
    story.phase("safety")
    story.connect("a", "earliest")
    story.publish("e1", "a")
    story.deliver("a", "e1")
    story.fault("f", "asked")
    story.fault("f", "effective")
    story.fault("f", "lifted")
    story.wait(7.0 + waits_s)
    story.publish("e2", "a", "task.created")
    assert kinds_of(ended(story)).count(Kind.NOT_REMINDED) == found


def test_another_epoch_is_another_matter() -> None:
    """What the stream forgot, or read again, has other places."""
    story = assigned()
    story.new_epoch("bbbbbb")
    story.publish("e3", "a", "task.created")
    assert Kind.NOT_REMINDED not in kinds_of(ended(story))


def test_runs_that_say_nothing_of_it_are_not_asked() -> None:
    """Nor are those without a safety phase, such as exports."""
    records = ended(assigned())
    assert kinds_of(reminding(records, None)) == []
    assert kinds_of([one for one in records if getattr(one, "name", "") != "safety"]) == []
