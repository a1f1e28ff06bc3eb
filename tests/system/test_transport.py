"""The pure parts of the transports: what has come and was not given, and what a page of the stream is read against."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from system.cursor import Position
from system.session import Floors, PageRow
from system.settings import Settings
from system.transport.arrivals import Arrival, Arrivals
from system.transport.consumer import consumer_name, consumer_request
from system.transport.ground import Ground, doubtful
from system.transport.offers import LIMITS, NOT_OFFERED, sentences

CRITICAL = frozenset({"task.assigned"})

GUARANTEES = {f"G{number}" for number in range(1, 9)}


def arrival(seq: int, pending: int = 0, *, is_event: bool = True, size: int = 10) -> Arrival:
    """One message of a consumer."""
    return Arrival(seq, pending, PageRow(Position(seq), "note", "{}") if is_event else None, size)


def test_what_came_is_given_once_in_order() -> None:
    """A page takes what is asked for, ends at its last message, and says whether there is more; a message that was no
    event moves the page's end all the same.
    """
    arrivals = Arrivals(4)
    arrivals.opened(pending=3, end_seq=9)
    arrivals.add([arrival(5, 2), arrival(7, 1, is_event=False), arrival(8)])
    first = arrivals.cut(2)
    assert ([row.pos for row in first.rows], first.reached_seq, first.has_more) == ([5], 7, True)
    assert arrivals.cut(2) == first, "nothing is taken before it is given"
    arrivals.give(first)
    second = arrivals.cut(2)
    assert ([row.pos for row in second.rows], second.reached_seq, second.has_more) == ([8], 8, False)
    arrivals.give(second)
    assert (len(arrivals), arrivals.bytes, arrivals.given_seq) == (0, 0, 8)
    assert (arrivals.cut(2).reached_seq, arrivals.cut(2).has_more) == (8, False)


def test_an_empty_consumer_reaches_the_end_that_was_known_before_it() -> None:
    """With nothing pending, all up to the stream's end of before is covered; with anything pending, nothing is."""
    empty, busy = Arrivals(4), Arrivals(4)
    empty.opened(pending=0, end_seq=9)
    busy.opened(pending=1, end_seq=9)
    assert (empty.cut(5).reached_seq, empty.is_whole) == (9, True)
    assert (busy.cut(5).reached_seq, busy.is_whole, busy.cut(5).has_more) == (4, False, True)


def test_without_a_consumer_nothing_is_whole() -> None:
    """A consumer that is gone says nothing any more: what has come stays, and is no longer all that there is."""
    arrivals = Arrivals(0)
    arrivals.emptied()
    assert not arrivals.is_whole
    arrivals.opened(pending=0, end_seq=0)
    arrivals.add([arrival(1)])
    arrivals.closed()
    assert (len(arrivals), arrivals.is_whole, arrivals.cut(9).has_more) == (1, False, True)
    arrivals.emptied()
    assert not arrivals.is_whole


@given(st.lists(st.lists(st.integers(1, 40), max_size=6), max_size=6), st.integers(1, 4))
def test_no_page_goes_back_or_beyond(batches: list[list[int]], rows_max: int) -> None:
    """Whatever comes, and however often it comes again: pages rise strictly, and none ends beyond what has come."""
    arrivals = Arrivals(3)
    arrivals.opened(pending=1, end_seq=3)
    given_rows: list[int] = []
    for batch in batches:
        arrivals.add([arrival(seq, 1) for seq in batch])
        cut = arrivals.cut(rows_max)
        arrivals.give(cut)
        given_rows += [row.pos for row in cut.rows]
        assert cut.reached_seq <= max([3, *(seq for one in batches for seq in one)])
        assert cut.reached_seq >= max([3, *given_rows])
    assert given_rows == sorted(set(given_rows))
    assert all(seq > 3 for seq in given_rows)


def ground(*, epoch: int = 1, created: str = "then", ago_s: float | None = 1.0) -> Ground:
    """A snapshot."""
    floors = Floors(Position(0), Position(0))
    return Ground(epoch=epoch, created=created, watermark=Position(9), last_seq=0, floors=floors, swept_ago_s=ago_s)


def test_a_page_needs_the_same_stream_and_a_recent_sweep() -> None:
    """Another epoch, another stream, no sweep, an old one, or one that lies ahead of the clock: nothing can be told."""
    assert ground().problem(ground(), swept_within_s=1.0) is None
    assert "epoch" in str(ground(epoch=2).problem(ground(), swept_within_s=1.0))
    assert "epoch" in str(ground(created="now").problem(ground(), swept_within_s=1.0))
    for ago_s in (None, 1.1, -1.1):
        assert "sweep" in str(ground(ago_s=ago_s).problem(ground(), swept_within_s=1.0))


def test_only_what_lies_below_its_own_class_s_floor_is_doubtful() -> None:
    """The floor itself is, what lies above it is not, and each class has its own."""
    rows = [PageRow(Position(pos), kind, "{}") for pos, kind in ((1, "note"), (2, "task.assigned"), (3, "note"))]
    assert doubtful(rows, Floors(Position(0), Position(0)), CRITICAL) == []
    assert doubtful(rows, Floors(Position(1), Position(1)), CRITICAL) == [1]
    assert doubtful(rows, Floors(Position(2), Position(1)), CRITICAL) == [1, 2]
    assert doubtful(rows, Floors(Position(1), Position(9)), CRITICAL) == [1, 3]
    assert doubtful([], Floors(Position(9), Position(9)), CRITICAL) == []


def test_a_consumer_is_what_thousands_can_be() -> None:
    """In memory, without acks, of one server, forgotten when nobody pulls; its name tells whose it is."""
    name = consumer_name("ann", "0123456789abcdef0123")
    assert name == "relay-ann-0123456789abcdef"
    config = consumer_request("S", "ann", name, after_seq=7, inactive_s=1.5)["config"]
    assert (config["opt_start_seq"], config["inactive_threshold"], config["ack_policy"]) == (8, 1_500_000_000, "none")
    assert (config["mem_storage"], config["num_replicas"]) == (True, 1)
    assert config["filter_subjects"] == ["mesh.events.ann.>", "mesh.events._all.>"]


def test_every_transport_says_what_it_cannot_give() -> None:
    """Whoever chooses one, and a report that compares them, finds its limits in sentences."""
    names = Settings.model_fields["transport"].annotation
    assert set(LIMITS) <= set(getattr(names, "__args__", ()))
    assert set(LIMITS) == set(NOT_OFFERED) == {"cursor", "jetstream", "redis"}
    assert all(len(text) > 30 for name in LIMITS for text in sentences(name))
    assert all(guarantee in GUARANTEES for limits in LIMITS.values() for guarantee in limits)
