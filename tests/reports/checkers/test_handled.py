"""G1 and G5 of what applications were given: nothing is saved before it is handled, and nothing changes on its way."""

from __future__ import annotations

import msgspec
import pytest

from reports.checkers.findings import Kind
from reports.history import Handled, Publish, Record
from tests.reports.story import Story, kinds_of, telling


def story_of(*steps: str) -> list[Record]:
    """An agent is delivered two events; then what the steps say: `h1` handles the first, `s2` saves the second."""
    story = Story()
    cursors = [story.publish(name, "a") for name in ("e1", "e2")]
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2")
    for step in steps:
        number = int(step[1:])
        if step.startswith("h"):
            story.handled("a", f"e{number}")
        else:
            story.saved("a", cursors[number - 1])
    story.converge()
    return telling(story.records)


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        (("h1", "s1", "h2", "s2"), 0),
        (("h1", "h2", "s2"), 0),
        (("h1", "s1"), 0),
        (("s1", "h1", "h2", "s2"), 1),
        (("h2", "s2"), 1),
        (("s2",), 2),
        (("h1", "s1", "s2", "s2"), 1),
    ],
)
def test_saved_before_it_was_handled(steps: tuple[str, ...], found: int) -> None:
    """A cursor covers only what the application is done with, each event counted once."""
    assert kinds_of(story_of(*steps)) == [Kind.SAVED_UNHANDLED] * found


@pytest.mark.parametrize(
    ("presented", "found"),
    [
        ("e2", []),
        ("e3", []),
        ("acked", []),
        ("e1", [Kind.SAVED_FORGOTTEN]),
        ("earliest", [Kind.SAVED_FORGOTTEN]),
        ("bbbbbb-1", []),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_a_client_goes_on_behind_what_it_has_saved(presented: str, found: list[Kind], told: bool) -> None:
    """Unless it was told that its cursor leads nowhere, or has lost it; what comes again it need not hand on again."""
    story = Story()
    cursors = {name: story.publish(name, "a") for name in ("e1", "e2", "e3")}
    story.connect("a", "earliest")
    story.deliver("a", "e1", "e2")
    for name in ("e1", "e2"):
        story.handled("a", name)
        story.saved("a", cursors[name])
    if told:
        story.connect("a", cursors["e2"], status=410)
        story.gone("a", reason="ahead")
    story.connect("a", presented)
    kinds = kinds_of(telling(story.records))
    assert [one for one in kinds if one == Kind.SAVED_FORGOTTEN] == ([] if told else found)


def test_what_was_read_before_a_crash_is_owed_anew() -> None:
    """It comes again, or the agent is told that it is gone: others judge that."""
    story = Story()
    start = story.publish("e0", "a")
    story.publish("e1", "a", "note.added")
    cursor = story.publish("e2", "a")
    story.connect("a", start)
    story.deliver("a", "e1")
    story.wait(20)
    story.connect("a", start)
    story.gap("a", standard="e1")
    story.deliver("a", "e2")
    story.handled("a", "e2")
    story.saved("a", cursor)
    story.converge()
    assert kinds_of(telling(story.records)) == []


def test_without_telling_nothing_is_asked() -> None:
    """Histories of others, and older ones, say nothing of applications."""
    story = Story()
    cursor = story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.saved("a", cursor)
    story.converge()
    assert story.kinds() == []


@pytest.mark.parametrize("event_id", ["e1", "e1~r1"])
@pytest.mark.parametrize(("digest", "kinds"), [("as sent", []), ("other", [Kind.CHANGED])])
def test_what_is_handed_on_is_what_was_published(event_id: str, digest: str, kinds: list[Kind]) -> None:
    """Whatever its headers say; a stale redispatch says what its original said."""
    story = Story()
    story.publish("e1", "a")
    story.store(event_id, "a")
    story.connect("a", "earliest")
    story.deliver("a", *dict.fromkeys(("e1", event_id)))
    story.handled("a", event_id, digest)
    story.converge()
    records = [
        msgspec.structs.replace(one, digest="as sent") if isinstance(one, Publish) else one for one in story.records
    ]
    assert kinds_of(telling(records)) == kinds
    assert any(isinstance(one, Handled) for one in records)


def test_who_lost_its_cursor_handles_again_what_comes_again() -> None:
    """It comes back by its ack: nobody may take it for granted that it has handled what it has saved before."""
    story = Story()
    cursors = [story.publish(name, "a") for name in ("e1", "e2")]
    story.connect("a", "acked")
    story.deliver("a", "e1", "e2")
    for name, cursor in zip(("e1", "e2"), cursors, strict=True):
        story.handled("a", name)
        story.saved("a", cursor)
    story.acknowledge("a", "e1")
    story.connect("a", "acked")
    story.deliver("a", "e2")
    story.saved("a", cursors[1])
    story.converge()
    assert kinds_of(telling(story.records)) == [Kind.SAVED_UNHANDLED]
