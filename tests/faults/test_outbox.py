"""An outbox loses nothing: each event leaves it only with an outcome that is known for good."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faults.arrivals import Arrival
from faults.mesh.outbox import Outbox, Settled


def arrival(number: int, *, at_s: float = 0.0, repeated: bool = False) -> Arrival:
    """A small event."""
    return Arrival(
        at_s=at_s,
        id=f"e{number}",
        publisher="p",
        agent="alice",
        type="task.assigned",
        data_bytes=0,
        repeated=repeated,
    )


@given(
    st.lists(st.booleans(), max_size=12),
    st.integers(1, 5),
    st.lists(st.lists(st.sampled_from(Settled), min_size=5, max_size=5), max_size=20),
    st.booleans(),
)
def test_every_event_is_settled(repeats: list[bool], batch_max: int, fates: list[list[Settled]], alone: bool) -> None:
    """Whatever becomes of the attempts, each event is acked or refused in the end, and none that is unknown is dropped.

    An event that is to be repeated is acknowledged twice, every other one once at most.
    """
    outbox = Outbox(arrival(number, repeated=repeated) for number, repeated in enumerate(repeats))
    seen: dict[str, list[Settled]] = {f"e{number}": [] for number in range(len(repeats))}
    for fate in [*fates, *[[Settled.ACKED] * 5] * 40]:
        batch = outbox.take(1.0, batch_max)
        outcomes = [(one.id, outcome) for one, outcome in zip(batch, fate, strict=False)]
        for event_id, outcome in outcomes:
            seen[event_id].append(outcome)
        outbox.settle(outcomes, alone=alone)
    assert outbox.is_empty
    assert outbox.size == 0
    for number, repeated in enumerate(repeats):
        final = [outcome for outcome in seen[f"e{number}"] if outcome is not Settled.UNKNOWN]
        assert len(final) == (2 if repeated and final[0] is Settled.ACKED else 1)
    acked = sum(Settled.ACKED in outcomes for outcomes in seen.values())
    assert outbox.acked == acked


def test_what_flew_when_its_publisher_died_waits_again() -> None:
    """First in line, in its order, and told, so that a history can say that its outcome is unknown."""
    outbox = Outbox(arrival(number) for number in range(4))
    first = outbox.take(1.0, 2)
    assert outbox.interrupted() == first
    assert outbox.interrupted() == []
    assert outbox.size == 4
    assert [one.id for one in outbox.take(1.0, 9)] == ["e0", "e1", "e2", "e3"]


def test_order_is_kept_over_an_unknown_outcome() -> None:
    """What is unknown is published again before what comes after it, in the same order."""
    outbox = Outbox(arrival(number) for number in range(4))
    first = outbox.take(1.0, 3)
    outbox.settle([(first[0].id, Settled.UNKNOWN), (first[1].id, Settled.ACKED), (first[2].id, Settled.UNKNOWN)])
    assert [one.id for one in outbox.take(1.0, 9)] == ["e0", "e2", "e3"]


def test_nothing_is_published_before_its_time() -> None:
    """An event is taken when it is due, and the outbox says how long that is."""
    outbox = Outbox([arrival(0, at_s=1.0), arrival(1, at_s=3.0)])
    assert outbox.due_in_s(0.25) == 0.75
    assert outbox.take(0.25, 9) == []
    assert [one.id for one in outbox.take(1.0, 9)] == ["e0"]
    outbox.settle([("e0", Settled.ACKED)])
    assert outbox.due_in_s(1.0) == 2.0
    assert not outbox.is_empty


def test_events_of_a_refused_batch_go_alone() -> None:
    """After a batch was refused, its events are tried one by one, so that the guilty one is found."""
    outbox = Outbox(arrival(number) for number in range(3))
    outbox.settle([(one.id, Settled.UNKNOWN) for one in outbox.take(1.0, 2)], alone=True)
    assert [one.id for one in outbox.take(1.0, 9)] == ["e0"]
    outbox.settle([("e0", Settled.REFUSED)])
    assert [one.id for one in outbox.take(1.0, 9)] == ["e1"]
    outbox.settle([("e1", Settled.ACKED)])
    assert [one.id for one in outbox.take(1.0, 9)] == ["e2"]
    assert (outbox.refused, outbox.acked) == (1, 1)
