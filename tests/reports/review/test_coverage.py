"""What agents were doing when a fault took effect, on hand-written histories."""

from __future__ import annotations

from collections import Counter

import pytest

from reports.review.coverage import covered, keyed, never_met, unkeyed
from tests.reports.story import Story


def at_work() -> Story:
    """An agent with a stream, that has all there is."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.wait(5)
    return story


def phases(story: Story) -> list[str]:
    """The phases of the faults that took effect."""
    return sorted(phase for _, _, phase in covered(story.index()).elements())


def hit(story: Story, name: str = "f", what: str = "cut") -> None:
    """A fault, asked for and proved."""
    story.fault(name, "asked", what)
    story.fault(name, "effective", what)


def test_nobody_is_there() -> None:
    """Before the first stream and after the last one; a connection without an answer is none, nor is a refusal."""
    story = Story()
    hit(story, "early")
    story.publish("e1", "a")
    story.connect("a", "earliest", status=503)
    hit(story, "refused")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.disconnect("a")
    hit(story, "late")
    assert covered(story.index()) == Counter({("cut", "relay-nats", "nobody"): 3})


def test_everybody_is_caught_up() -> None:
    """With all that was acknowledged delivered, or passed by a bookmark; also if it is for another agent."""
    story = at_work()
    hit(story, "one")
    story.publish("e2", "b")
    story.publish("e3", "a")
    story.bookmark("a")
    story.wait(5)
    hit(story, "two", "kill")
    assert covered(story.index()) == Counter({("cut", "relay-nats", "live"): 1, ("kill", "relay-nats", "live"): 1})


def test_somebody_is_in_his_replay() -> None:
    """One who has not got what was there before he came, however new it is."""
    story = at_work()
    story.disconnect("a")
    story.publish("e2", "a")
    story.publish("e3", "a")
    story.connect("a", "e1")
    hit(story, "at its start")
    story.deliver("a", "e2")
    hit(story, "half-way")
    story.deliver("a", "e3")
    hit(story, "done")
    assert phases(story) == ["live", "replay", "replay"]


def test_one_who_is_behind_is_enough() -> None:
    """The others may be live; who has left no longer counts."""
    story = at_work()
    story.publish("e2", "b")
    story.connect("b", "earliest")
    hit(story, "b replays")
    story.connect("c", "earliest")
    hit(story, "c, who comes after b in the history, has nothing to get")
    story.disconnect("b")
    hit(story, "b has left")
    assert phases(story) == ["live", "replay", "replay"]


def test_what_is_new_may_still_be_on_its_way() -> None:
    """An event of the last second makes nobody late; an older one does, also without a reconnect."""
    story = at_work()
    story.publish("e2", "a")
    hit(story, "at once")
    story.wait(2)
    hit(story, "later")
    assert phases(story) == ["live", "replay"]


@pytest.mark.parametrize(("presented", "phase"), [("now", "live"), ("earliest", "replay"), (None, "replay")])
def test_where_a_connection_begins(presented: str | None, phase: str) -> None:
    """Who wants no past has none to catch up with; who begins at an unknown place has, until something comes."""
    story = Story()
    story.publish("e1", "a")
    story.wait(5)
    story.connect("a", presented)
    story.wait(5)
    hit(story)
    assert phases(story) == [phase]


def test_asked_is_when_it_hits() -> None:
    """By the time a cut is proved everybody has lost his stream; what they did before is what was hit."""
    story = at_work()
    story.fault("f", "asked", "down")
    story.disconnect("a")
    story.fault("f", "effective", "down")
    assert phases(story) == ["live"]


def test_only_what_took_effect_counts() -> None:
    """A fault that was asked for and left no proof covers nothing."""
    story = at_work()
    story.fault("f", "asked")
    story.fault("f", "ineffective")
    assert covered(story.index()) == Counter()


def test_it_travels_flat() -> None:
    """Keys are strings, sorted; what was made flat comes back, and a foreign key is refused."""
    met = Counter({("kill", "relay", "live"): 2, ("cut", "relay-nats", "replay"): 1})
    flat = keyed(met)
    assert list(flat.items()) == [("cut|relay-nats|replay", 1), ("kill|relay|live", 2)]
    assert unkeyed(flat) == met
    with pytest.raises(ValueError, match="unpack"):
        unkeyed({"cut|relay-nats": 1})


def test_what_never_ran() -> None:
    """Of the pairs that can be, those that took effect in no phase."""
    pairs = [("cut", "relay-nats"), ("kill", "relay"), ("kill", "nats")]
    assert never_met([("kill", "relay", "live"), ("kill", "relay", "nobody")], pairs) == [pairs[0], pairs[2]]
