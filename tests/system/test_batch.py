"""What pg-writer decides: nothing is skipped, nothing decided twice, and the watermark never passes a hole."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.batch import (
    CLOCKS_APART_NS,
    Batch,
    Former,
    Incoming,
    columns,
    contiguous,
    decide,
    lineage_break,
    without_stored,
)
from system.cursor import pack
from system.event import CRITICAL_TYPES, Event, RetentionClass, read_event
from tests.system.harness import event


def an_event(event_id: str, **attributes: Any) -> Event:
    """A valid event, read."""
    return read_event(json.dumps(event(event_id, data=0) | attributes).encode(), bytes_max=10_000)


def good(seq: int, event_id: str | None = None, **attributes: Any) -> Incoming:
    """A message with a valid event."""
    read = an_event(event_id or f"e{seq}", **attributes)
    return Incoming(seq, seq * 1_000_000, read, f"mesh.events.{read.subject}.{read.type}")


def bad(seq: int) -> Incoming:
    """A message that is no event."""
    return Incoming(seq, seq * 1_000_000, None, "mesh.events.ann.x", b"\0junk", "expected JSON")


def lost(first: int, last: int) -> Incoming:
    """Sequences that the stream has no longer."""
    return Incoming(first, 0, None, "", lost_until=last)


def decided(taken: list[Incoming], former: Former | None = None) -> Batch:
    """What pg-writer decides with the ordinary classes."""
    return decide(taken, former=former, critical_types=CRITICAL_TYPES)


def last_of(message: Incoming) -> int:
    """The last sequence that a message decides."""
    return max(message.seq, message.lost_until)


def test_what_follows_the_watermark_is_taken_up_to_the_first_hole() -> None:
    """Redeliveries are passed over; what lies behind a hole waits until the hole is decided."""
    taken, hole = contiguous(4, [good(3), good(4), good(5), good(6), good(9), good(10)])
    assert ([one.seq for one in taken], hole) == ([5, 6], (7, 8))


def test_a_lost_range_counts_as_decided_to_its_end() -> None:
    """After a range that the stream lost, the next message follows without a hole; what overlaps it is passed over."""
    taken, hole = contiguous(0, [good(1), lost(2, 7), good(5), good(8)])
    assert ([one.seq for one in taken], hole) == ([1, 2, 8], None)


def test_nothing_new_takes_nothing() -> None:
    """Only redeliveries, or nothing at all, move nothing."""
    assert contiguous(9, []) == ([], None)
    assert contiguous(9, [good(8), good(9)]) == ([], None)
    assert contiguous(9, [good(11)]) == ([], (10, 10))


@given(st.integers(0, 20), st.lists(st.integers(1, 40), max_size=30))
def test_any_arrival_order_is_taken_without_a_hole(watermark: int, arrivals: list[int]) -> None:
    """Whatever arrives in whatever order, what is taken continues the watermark one by one, and a hole lies before the
    first message that can't be taken.
    """
    taken, hole = contiguous(watermark, [good(seq) for seq in arrivals])
    seqs = [one.seq for one in taken]
    assert seqs == list(range(watermark + 1, watermark + 1 + len(seqs)))
    if hole is None:
        assert all(seq <= watermark + len(seqs) for seq in arrivals)
    else:
        assert hole[0] == watermark + len(seqs) + 1
        assert hole[1] + 1 in arrivals
        assert hole[0] <= hole[1]


messages = st.lists(
    st.one_of(
        st.tuples(st.just("good"), st.sampled_from("abcdef"), st.booleans()),
        st.tuples(st.just("bad"), st.just(""), st.just(False)),
        st.tuples(st.just("lost"), st.just(""), st.booleans()),
    ),
    min_size=1,
    max_size=25,
)


def build(plan: list[tuple[str, str, bool]]) -> list[Incoming]:
    """Contiguous messages from sequence 1 on."""
    built: list[Incoming] = []
    seq = 1
    for kind, event_id, variant in plan:
        if kind == "good":
            built.append(good(seq, event_id, data=1 if variant else 2))
        elif kind == "bad":
            built.append(bad(seq))
        else:
            built.append(lost(seq, seq + 3 * variant))
        seq = last_of(built[-1]) + 1
    return built


def decided_by(batch: Batch) -> int:
    """How many messages a batch accounts for."""
    return len(batch.events) + len(batch.dead) + batch.repeats


@given(messages, st.dictionaries(st.sampled_from("abcdef"), st.booleans()))
def test_every_message_is_decided_exactly_once(plan: list[tuple[str, str, bool]], before: dict[str, bool]) -> None:
    """Each message is stored, a dead letter, or a repeat of what says the same; each id is stored at most once, with
    its first content, and an id is never taken away from what is stored already. A message is compared with the first
    of its id in the batch, and that one with what is stored.
    """
    taken = build(plan)
    stored = {key: an_event(key, data=1 if variant else 2).text for key, variant in before.items()}
    batch = decided(taken)
    assert decided_by(batch) == len(taken)
    assert (batch.first_seq, batch.last_seq) == (1, last_of(taken[-1]))
    rest = without_stored(batch, {e.id: stored[e.id] == e.text for _, e in batch.events if e.id in stored})
    assert decided_by(rest) == len(taken)
    assert (rest.first_seq, rest.last_seq, rest.mark_ns) == (batch.first_seq, batch.last_seq, batch.mark_ns)

    earlier: dict[str, str] = {}
    for message in taken:
        seq, read = message.seq, message.event
        dead = [letter for letter in rest.dead if letter.seq == seq]
        if read is None:
            assert [letter.reason for letter in dead] == ["lost_in_stream" if message.lost_until else "invalid"]
            continue
        known = earlier.get(read.id) or stored.get(read.id)
        earlier.setdefault(read.id, read.text)
        if known is None:
            assert (seq, read) in rest.events
            assert not dead
        else:
            assert all(one_seq != seq for one_seq, _ in rest.events)
            assert [letter.reason for letter in dead] == ([] if known == read.text else ["id_reused"])


def test_a_repeat_that_says_the_same_in_other_words_is_no_dead_letter() -> None:
    """A retry is a retry, however it was serialised; other content under the id goes to the dead letters, whole."""
    first = good(1, "a")
    assert first.event is not None
    again = Incoming(2, 2, read_event(json.dumps(json.loads(first.event.text), indent=2).encode(), bytes_max=9_999), "")
    other = good(3, "a", data="other")
    batch = decided([first, again, other])
    assert (len(batch.events), batch.repeats) == (1, 1)
    (letter,) = batch.dead
    assert (letter.seq, letter.reason, json.loads(letter.raw)["data"]) == (3, "id_reused", "other")


@pytest.mark.parametrize(
    ("decided_seq", "standard_s", "critical_s", "stored"),
    [
        (3, 10_000, 10_000, []),  # all decided then, and all may have been swept
        (1, 10_000, 10_000, [2, 3]),  # decided then: the first alone
        (3, 0, 10_000, [1, 3]),  # of the standard ones none is old enough to be unknown
        (3, 10_000, 0, [2]),
    ],
)
def test_what_a_former_epoch_may_have_swept_is_not_stored_again(
    decided_seq: int, standard_s: int, critical_s: int, stored: list[int]
) -> None:
    """Of a stream that is read again, an event is a repeat if it was decided then and is too old for its id to be
    known; what is newer on either count is stored, or told by its id.
    """
    base_ns = CLOCKS_APART_NS  # messages are 1 ms apart from 0 on; this clock is ahead of theirs by as much as it may
    kept = {RetentionClass.STANDARD: standard_s, RetentionClass.CRITICAL: critical_s}
    former = Former(
        decided_ns=decided_seq * 1_000_000,
        kept_since_ns={one: seconds * 10**9 - base_ns for one, seconds in kept.items()},
    )
    taken = [good(1, type="note.made"), good(2, type="task.assigned"), good(3, type="note.made")]
    batch = decided(taken, former)
    assert [seq for seq, _ in batch.events] == stored
    assert (batch.repeats, batch.last_seq) == (3 - len(stored), 3)


def test_the_mark_is_the_time_of_the_last_message() -> None:
    """The time beside the watermark is the last message's own; a range that the stream lost has none."""
    assert decided([good(1), good(2)]).mark_ns == 2_000_000
    assert decided([good(1), bad(2)]).mark_ns == 2_000_000
    assert decided([good(1), lost(2, 5)]).mark_ns is None


def test_columns_carry_the_batch_into_sql() -> None:
    """Twelve columns of text, events in order, dead letters by position, classes by type, bytes as base64, no NUL."""
    taken = [good(1, "a", type="task.created"), bad(2), good(3, "b", type="note.made", subject="_all"), lost(4, 9)]
    taken[1] = Incoming(2, 1, None, "mesh.events.\0", b"\0\xff", "got a \0")
    found = columns(decided(taken), 3, CRITICAL_TYPES)
    base = pack(3, 0)
    assert len(found) == 12
    assert found[0] == [str(base + 1), str(base + 3)]
    assert found[1:5] == [["ann", "_all"], ["1", "2"], ["a", "b"], ["task.created", "note.made"]]
    assert found[6:9] == [[str(base + 2), str(base + 4)], [str(base + 2), str(base + 9)], ["invalid", "lost_in_stream"]]
    assert [base64.b64decode(text or "") for text in found[11]] == [b"\0\xff", b""]
    assert "6 messages left the stream" in (found[9][1] or "")
    assert not any("\0" in (text or "") for column in found for text in column)


SAME: dict[str, Any] = {
    "known_created": "2026-01-01",
    "watermark_seq": 10,
    "created": "2026-01-01",
    "last_seq": 10,
    "mark_ns": 5_000_000,
    "found_ns": 5_000_000,
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"last_seq": 11}, None),
        ({"last_seq": 9}, "stream_truncated"),
        ({"created": "2026-01-02"}, "stream_recreated"),
        ({"created": "2026-01-02", "last_seq": 99}, "stream_recreated"),
        ({"found_ns": 5_000_999}, None),
        ({"found_ns": 5_002_001}, "stream_rewritten"),
        ({"found_ns": 4_997_999}, "stream_rewritten"),
        ({"found_ns": None}, None),
        ({"mark_ns": None}, None),
        ({"watermark_seq": 0, "last_seq": 0, "mark_ns": None, "found_ns": None}, None),
    ],
)
def test_another_life_of_the_stream_is_noticed(changed: dict[str, Any], reason: str | None) -> None:
    """A stream that was made anew, lost its tail, or wrote it anew is another epoch; one that only grew, or whose
    message at the watermark has left it, is not. Times differ by nats-py's rounding to microseconds.
    """
    assert lineage_break(**(SAME | changed)) == reason
