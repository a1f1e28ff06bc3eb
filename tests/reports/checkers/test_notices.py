"""G2: told beyond retention, exactly."""

from __future__ import annotations

import msgspec
import pytest

from reports.checkers.findings import Kind
from reports.history import Floors, Gap
from tests.reports.story import STANDARD, Story


def expired() -> Story:
    """Two critical and two standard events, all past retention, and one that is young."""
    story = Story(critical_s=100, standard_s=10)
    story.publish("c0", "a")
    story.publish("s1", "a", STANDARD)
    story.publish("c2", "a")
    story.wait(150)
    story.publish("c3", "a")
    return story


def test_told_of_a_loss() -> None:
    """A 410, then a resync from the same cursor without another word, is right."""
    story = expired()
    story.connect("a", "c0", status=410, reason="expired")
    story.gone("a", critical="c2", standard="s1", via="status")
    story.disconnect("a")
    story.connect("a", "c0")
    story.deliver("a", "c3")
    story.converge()
    assert story.kinds() == []


def test_told_again_on_resync() -> None:
    """The resync stream may repeat the notice."""
    story = expired()
    for via in ("status", "event"):
        story.connect("a", "c0", status=410 if via == "status" else 200)
        story.gone("a", critical="c2", standard="s1", via=via)
        if via == "status":
            story.disconnect("a")
    story.deliver("a", "c3")
    story.converge()
    assert story.kinds() == []


def test_silent_gap() -> None:
    """Gone beyond retention, and not a word: one finding for each event."""
    story = expired()
    story.connect("a", "c0")
    story.deliver("a", "c3")
    assert sorted(story.kinds()) == [Kind.SILENT_GAP, Kind.SILENT_GAP]


def test_silent_gap_at_the_end_of_a_converged_run() -> None:
    """Nothing came after what is gone, but the run says that the agent has everything: it was never told."""
    story = Story(critical_s=100)
    story.publish("c0", "a")
    story.publish("c1", "a")
    story.wait(200)
    story.connect("a", "c0")
    story.converge()
    assert story.kinds() == [Kind.SILENT_GAP]


def test_a_notice_covers_only_up_to_its_floor() -> None:
    """What a second sweep took during a running replay needs a notice of its own."""
    story = Story(critical_s=100)
    for name in ("c0", "c1", "c2", "c3"):
        story.publish(name, "a")
    story.wait(200)
    story.publish("c4", "a")
    story.connect("a", "c0")
    story.gone("a", critical="c1")
    story.deliver("a", "c2", "c4")
    assert story.kinds() == [Kind.SILENT_GAP]


def test_a_gap_told_in_mid_stream_is_right() -> None:
    """A sweep that overtakes a running replay is told where it happens."""
    story = Story(critical_s=1000, standard_s=10)
    for name in ("s0", "s1", "s2"):
        story.publish(name, "a", STANDARD)
    story.connect("a", "earliest")
    story.deliver("a", "s0")
    story.wait(50)
    story.publish("c3", "a")
    story.gap("a", standard="s2")
    story.deliver("a", "c3")
    story.converge()
    assert story.kinds() == []


def test_a_gap_that_names_the_presented_cursor_speaks_of_what_is_still_ahead() -> None:
    """A notice in mid-stream may name the cursor that was presented: what came since is not gone."""
    story = Story(critical_s=1000, standard_s=10)
    for name in ("s0", "s1", "s2"):
        story.publish(name, "a", STANDARD)
    story.connect("a", "s0")
    story.deliver("a", "s1")
    story.gap("a", standard="s1")
    story.records[-1] = msgspec.structs.replace(story.records[-1], cursor=story.cursor("s0"))
    story.deliver("a", "s2")
    story.converge()
    assert story.kinds() == [Kind.FALSE_GAP]


def test_wrong_notice_class() -> None:
    """A gap where a critical event is gone is the wrong notice."""
    story = expired()
    story.connect("a", "c0")
    story.gap("a", critical="c2", standard="s1")
    story.deliver("a", "c3")
    assert story.kinds() == [Kind.WRONG_NOTICE_CLASS]


def test_wrong_notice_class_although_nothing_standard_is_gone() -> None:
    """It is one finding, not a false gap besides."""
    story = Story(critical_s=100)
    story.publish("c0", "a")
    story.publish("c1", "a")
    story.wait(200)
    story.publish("c2", "a")
    story.connect("a", "c0")
    story.gap("a", critical="c1")
    story.deliver("a", "c2")
    assert story.kinds() == [Kind.WRONG_NOTICE_CLASS]


def test_false_410_where_only_standard_events_are_gone() -> None:
    """A 410 needs a missing critical event."""
    story = Story(critical_s=1000, standard_s=10)
    story.publish("c0", "a")
    story.publish("s1", "a", STANDARD)
    story.wait(50)
    story.connect("a", "c0", status=410)
    story.gone("a", standard="s1", via="status")
    assert story.kinds() == [Kind.FALSE_410]


def test_false_410_for_another_agents_loss() -> None:
    """A floor that is another agent's event is no reason to tell this one."""
    story = Story(critical_s=100)
    story.publish("c0", "a")
    story.publish("c1", "b")
    story.wait(200)
    story.connect("a", "c0", status=410)
    story.gone("a", critical="c1", via="status")
    assert story.kinds() == [Kind.FALSE_410]


def test_false_410_when_the_event_comes_after_all() -> None:
    """Told gone, delivered later: it was not gone."""
    story = expired()
    story.connect("a", "c0", status=410)
    story.gone("a", critical="c2", standard="s1", via="status")
    story.disconnect("a")
    story.connect("a", "c0")
    story.deliver("a", "c2", "c3")
    assert story.kinds() == [Kind.FALSE_410]


def test_false_410_behind_the_floor() -> None:
    """A cursor at the floor has lost nothing."""
    story = expired()
    story.connect("a", "c2", status=410)
    story.gone("a", critical="c2", standard="s1", via="status")
    assert story.kinds() == [Kind.FALSE_410]


def test_false_gap() -> None:
    """A gap needs a missing standard event."""
    story = Story(standard_s=10)
    story.publish("s0", "a", STANDARD)
    story.publish("s1", "a", STANDARD)
    story.wait(5)
    story.connect("a", "s0")
    story.gap("a", standard="s1")
    story.deliver("a", "s1")
    assert story.kinds() == [Kind.FALSE_GAP]


def test_a_notice_without_floors_is_believed_if_something_is_old_enough() -> None:
    """Without floors a notice speaks of whatever was old enough, and is false if nothing was."""
    for wait_s, kinds in ((150, []), (20, [Kind.FALSE_410])):
        story = Story(critical_s=100)
        story.publish("c0", "a")
        story.publish("c1", "a")
        story.wait(wait_s)
        story.connect("a", "c0", status=410)
        story.gone("a", via="status")
        assert story.kinds() == kinds, wait_s


def test_an_unknown_outcome_may_be_what_is_gone() -> None:
    """A publish without an answer may have been stored and expired: the notice is believed if it is old enough."""
    for wait_s, kinds in ((150, []), (20, [Kind.FALSE_410])):
        story = Story(critical_s=100)
        story.publish("c0", "a")
        story.send("u1", "a")
        story.fail("u1", "unknown")
        story.store("hidden", "a")
        story.wait(wait_s)
        story.connect("a", "c0", status=410)
        story.gone("a", critical="hidden", via="status")
        assert story.kinds() == kinds, wait_s


@pytest.mark.parametrize(("waited_s", "is_false"), [(12.0, False), (1.0, True)])
def test_a_repeat_past_retention_may_have_had_another_place(waited_s: float, *, is_false: bool) -> None:
    """Nobody heard where an event was stored first, and swept; the repeat that was acknowledged has a place behind."""
    story = Story(critical_s=100, standard_s=10)
    story.publish("c0", "a")
    story.send("s1", "a", STANDARD)
    story.fail("s1", "unknown")
    story.wait(waited_s)
    story.publish("s1", "a", STANDARD, seq=3)
    story.store("x", "a", STANDARD)
    story.connect("a", "c0")
    story.wait(12.0)
    story.records.append(
        Gap(
            t_ns=story.now_ns,
            agent="a",
            conn=story.conn("a"),
            cursor=story.cursor("c0"),
            floors=Floors(critical=None, standard="aaaaaa-2"),
        )
    )
    story.deliver("a", "s1")
    story.converge()
    assert (Kind.FALSE_GAP in story.kinds()) == is_false, story.kinds()


def test_a_stale_redispatch_may_be_what_is_gone() -> None:
    """The relay's own copies are in no publisher's record; an old assignment makes one possible."""
    story = Story(critical_s=100)
    story.publish("c0", "a")
    story.connect("a", "earliest")
    story.deliver("a", "c0")
    story.disconnect("a")
    story.store("c0~r1", "a")
    story.wait(150)
    story.connect("a", "c0", status=410)
    story.gone("a", critical="c0~r1", via="status")
    assert story.kinds() == []
