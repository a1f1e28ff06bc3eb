"""What a relay's own count and sum of a connection prove, and what they don't."""

from __future__ import annotations

import pytest

from reports.checkers.findings import Finding, Kind
from reports.history import HistoryInvalid, Sent
from reports.index import Index
from tests.reports.story import CRITICAL, STANDARD, Story

EVENTS = tuple(f"e{number}" for number in range(1, 7))


def story(*, of_type: str = CRITICAL) -> Story:
    """Six events to an agent that connects at the first."""
    made = Story(critical_s=1_000, standard_s=100, world="production")
    for name in EVENTS:
        made.publish(name, "a", of_type)
    made.connect("a", "e1")
    return made


def found(made: Story) -> list[tuple[str, str | None]]:
    """Kinds and events of all findings."""
    return [(one.kind.value, one.event_id) for one in made.findings()]


def only(made: Story) -> Finding:
    """The one finding."""
    [one] = made.findings()
    return one


class TestTooFew:
    """A count below what is stored is a loss."""

    def test_all_sent_is_no_finding(self) -> None:
        """Everything behind the start, once, with the sum that it has."""
        made = story()
        made.sent("a", *EVENTS[1:])
        assert found(made) == []

    @pytest.mark.parametrize(
        ("sent", "lost", "kind"),
        [
            (("e3", "e4", "e5", "e6"), "e2", Kind.LOST_PREFIX),
            (("e2", "e3", "e5", "e6"), "e4", Kind.LOST_MIDDLE),
            (("e2", "e3", "e4", "e5"), "e6", Kind.LOST_TAIL),
            ((), "e2", Kind.LOST_TAIL),
        ],
    )
    def test_one_is_named(self, sent: tuple[str, ...], lost: str, kind: Kind) -> None:
        """The lowest and highest cursor, and the sum, say which one was not sent; so does nothing sent at all."""
        made = story()
        made.sent("a", *sent, reached=None if sent else "e2")
        one = only(made)
        assert (one.kind, one.event_id) == (kind, lost)
        assert made.records[one.evidence[-1]].__class__ is Sent

    def test_several_between_are_counted(self) -> None:
        """Two of the middle are two findings, and no name that the sum can't tell."""
        made = story()
        made.sent("a", "e2", "e5", "e6")
        assert found(made) == [(Kind.LOST_MIDDLE, None)] * 2
        assert "which of them, its count does not say" in made.findings()[0].detail

    def test_one_sent_in_anothers_place(self) -> None:
        """The count is right and the sum is not: something of the range was not sent."""
        made = story()
        made.sent("a", "e2", "e3", "e3", "e5", "e6")
        assert found(made) == [(Kind.LOST_MIDDLE, None)]

    def test_what_lies_beyond_the_place_reached_is_not_owed(self) -> None:
        """A connection that ended before the rest owes nothing of it."""
        made = story()
        made.sent("a", "e2", "e3", reached="e3")
        assert found(made) == []

    def test_types_are_left_out(self) -> None:
        """What the agent did not ask for need not be sent; what it asked for must."""
        made = story()
        made.publish("s7", "a", STANDARD)
        made.publish("s8", "a", STANDARD)
        made.sent("a", "s8", types=(STANDARD,))
        assert found(made) == [(Kind.LOST_PREFIX, "s7")]

    def test_a_broadcast_is_owed_too(self) -> None:
        """An event for all is among those of the range."""
        made = story()
        made.publish("all", "_all")
        made.sent("a", *EVENTS[1:])
        assert found(made) == [(Kind.LOST_TAIL, "all")]

    def test_others_events_are_not(self) -> None:
        """Another agent's event within the range is none of its business."""
        made = story()
        made.publish("x", "b")
        made.sent("a", *EVENTS[1:])
        assert found(made) == []

    def test_deliveries_say_more_than_the_count(self) -> None:
        """Where deliveries are in the history, the loss is found once, by them."""
        made = story()
        made.deliver("a", "e2", "e4", "e5", "e6")
        made.sent("a", "e2", "e4", "e5", "e6")
        assert found(made) == [(Kind.LOST_MIDDLE, "e3")]


class TestTooMany:
    """A count above what is stored is a surplus, where nothing was deleted."""

    def test_one_twice_is_named(self) -> None:
        """The sum says which."""
        made = story()
        made.sent("a", "e2", "e3", "e3", "e4", "e5", "e6")
        assert found(made) == [(Kind.DUPLICATE, "e3")]

    def test_somebody_elses_is_a_surplus(self) -> None:
        """One more that is none of the range's has no name."""
        made = story()
        made.publish("x", "b")
        made.publish("e8", "a")
        made.sent("a", *EVENTS[1:], "x", "e8")
        assert found(made) == [(Kind.SURPLUS, None)]

    def test_a_deleted_event_excuses_it(self) -> None:
        """What was sent and deleted since is in no table: more than is stored proves nothing then."""
        made = story()
        made.store("gone", "a", STANDARD)
        made.sent("a", *EVENTS[1:], "gone")
        made.wait(200)
        made.swept("a", standard="gone")
        assert found(made) == []


class TestSilence:
    """A deleted event that was neither sent nor told."""

    def test_untold_is_a_silent_gap(self) -> None:
        """Count and sum are those of the events still stored, so the deleted one was passed over."""
        made = story()
        made.store("gone", "a", STANDARD)
        made.sent("a", *EVENTS[1:])
        made.wait(200)
        made.swept("a", standard="gone")
        one = only(made)
        assert (one.kind, one.cursor) == (Kind.SILENT_GAP, made.cursor("gone"))

    @pytest.mark.parametrize("of_class", ["standard", "critical"])
    def test_told_is_none(self, of_class: str) -> None:
        """A notice of its class up to it is enough."""
        made = story()
        made.store("gone", "a", STANDARD if of_class == "standard" else CRITICAL)
        made.wait(2_000)
        (made.gap if of_class == "standard" else made.gone)("a", **{of_class: "gone"})
        made.sent("a", *EVENTS[1:])
        made.swept("a", **{of_class: "gone"})
        assert found(made) == []

    def test_a_gap_does_not_tell_of_a_critical_one(self) -> None:
        """It speaks of standard events."""
        made = story()
        made.store("gone", "a", CRITICAL)
        made.wait(2_000)
        made.gap("a", critical="gone")
        made.sent("a", *EVENTS[1:])
        made.swept("a", critical="gone")
        assert (Kind.SILENT_GAP, None) in found(made)

    def test_who_asks_for_what_there_is_need_not_be_told(self) -> None:
        """From `earliest`, what is gone was never promised."""
        made = Story(critical_s=1_000, standard_s=100, world="production")
        made.store("gone", "a", STANDARD)
        made.publish("e1", "a")
        made.connect("a", "earliest")
        made.sent("a", "e1")
        made.wait(200)
        made.swept("a", standard="gone")
        assert found(made) == []


class TestSwept:
    """What the floors of an export say by themselves."""

    def test_deleted_early(self) -> None:
        """A floor above something younger than its retention was raised too soon."""
        made = story()
        made.store("gone", "a", STANDARD)
        made.wait(50)
        made.swept("a", standard="gone")
        one = only(made)
        assert (one.kind, one.cursor) == (Kind.LOST_EARLY, made.cursor("gone"))

    def test_a_notice_up_to_the_floor_is_believed(self) -> None:
        """Of what was deleted before the export nobody can say that it was not there."""
        made = story()
        made.store("gone", "a", STANDARD)
        made.wait(200)
        made.gap("a", standard="gone")
        made.swept("a", standard="gone")
        assert found(made) == []

    def test_a_notice_beyond_it_is_false(self) -> None:
        """Floors never fall: nothing had been deleted there."""
        made = story()
        made.store("gone", "a", STANDARD)
        made.store("more", "a", STANDARD)
        made.wait(200)
        made.gap("a", standard="more")
        made.swept("a", standard="gone")
        assert found(made) == [(Kind.FALSE_GAP, None)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": -1}, "expected a count from 0"),
        ({"sum": 1 << 48}, "and a sum from 0 to 2\\^48 - 1"),
        ({"first": None}, "if and only if its count is above 0"),
        ({"reached": "nonsense"}, "expected a cursor such as"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], said: str) -> None:
    """Such a record names itself and what was expected."""
    right: dict[str, object] = {"count": 1, "sum": 5, "first": "aaaaaa-5", "last": "aaaaaa-5", "reached": "aaaaaa-9"}
    record = Sent(t_ns=0, agent="a", conn="1", **(right | wrong))  # type: ignore[arg-type]
    with pytest.raises(HistoryInvalid, match=said):
        Index.of([story().records[0], record])
