"""G5: its own, and only what was published."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from faults.run_record import note_run
from faults.vocabulary import ClockSkew, Fault, Pause, ProcessName
from reports.checkers.findings import Kind
from reports.history import Connected, Deliver, Run
from tests.reports.story import Story, kinds_of
from tests.sim.test_world import plan_with


def test_foreign() -> None:
    """Another agent's event is foreign; the order of what is the agent's own does not suffer."""
    story = Story()
    story.publish("e1", "b")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    story.converge()
    assert story.kinds() == [Kind.FOREIGN]


def test_foreign_in_disguise() -> None:
    """What the publisher addressed to another agent is foreign, whatever the delivery says."""
    story = Story()
    story.publish("e1", "b")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    *rest, deliver = story.records
    assert isinstance(deliver, Deliver)
    disguised = Deliver(
        t_ns=deliver.t_ns, agent="a", conn=deliver.conn, cursor=deliver.cursor, id="e1", type="x", addressee="a"
    )
    assert kinds_of([*rest, disguised]) == [Kind.FOREIGN]


def test_a_broadcast_is_everybodys() -> None:
    """An event for all is delivered to all, and owed to all."""
    story = Story()
    story.publish("e1", "_all")
    story.publish("e2", "a")
    for agent in ("a", "b"):
        story.connect(agent, "earliest")
    story.deliver("a", "e1", "e2")
    story.converge()
    assert story.kinds() == [Kind.LOST_TAIL]
    assert story.findings()[0].agent == "b"


@pytest.mark.parametrize(
    ("ends_s", "slack_s", "found"),
    [(5.0, 1.0, [Kind.PAST_TOKEN]), (14.0, 1.0, []), (5.0, 10.0, []), (5.0, None, []), (None, 1.0, [])],
)
def test_a_stream_ends_with_its_token(ends_s: float | None, slack_s: float | None, found: list[Kind]) -> None:
    """What is published later is not delivered on it; what was on its way may come, and slack is given."""
    story = Story()
    story.publish("e1", "a")
    story.connect("a", "earliest")
    story.wait(10.0)
    story.deliver("a", "e1")
    story.publish("e2", "a")
    story.deliver("a", "e2")
    story.connect("a", "e2")
    story.publish("e3", "a")
    story.deliver("a", "e3")
    story.converge()
    told = [
        msgspec.structs.replace(one, token_ends_ns=None if ends_s is None else round(ends_s * 1e9))
        if isinstance(one, Connected) and one.conn == "a.1"
        else msgspec.structs.replace(one, token_slack_ns=None if slack_s is None else round(slack_s * 1e9))
        if isinstance(one, Run)
        else one
        for one in story.records
    ]
    assert kinds_of(told) == found


@pytest.mark.parametrize(
    ("fault", "more_s"),
    [
        (ClockSkew(id="f", process=ProcessName.RELAY, at_s=5.0, for_s=6.0, skew_ms=-90_000), 90.0),
        (ClockSkew(id="f", process=ProcessName.RELAY, at_s=5.0, for_s=6.0, skew_ms=90_000), 0.0),
        (ClockSkew(id="f", process=ProcessName.POSTGRES, at_s=5.0, for_s=6.0, skew_ms=-90_000), 0.0),
        (Pause(id="f", process=ProcessName.RELAY, at_s=5.0, for_s=6.0), 6.0),
    ],
)
def test_a_relay_may_be_late_by_its_clock_and_its_sleep(fault: Fault, more_s: float) -> None:
    """What the plan does to a relay's sense of time is given to it, and no more."""
    records: list[Run] = []
    plan = plan_with(fault)

    class Kept:
        def record(self, kind: type[Run], **fields: Any) -> None:
            records.append(kind(t_ns=0, **fields))

    note_run(Kept(), plan, world="sim", started_at="", command=())  # type: ignore[arg-type]
    assert records[0].token_slack_ns == round((plan.slack_s + more_s) * 1e9)


def test_phantom() -> None:
    """An event that nobody published is a phantom."""
    story = Story()
    story.store("ghost", "a")
    story.connect("a", "earliest")
    story.deliver("a", "ghost")
    assert story.kinds() == [Kind.PHANTOM]


def test_refused_yet_delivered() -> None:
    """Refused at every attempt means not published: delivered, it is a phantom."""
    story = Story()
    story.send("e1", "a")
    story.fail("e1", "refused", 422)
    story.store("e1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1")
    assert story.kinds() == [Kind.PHANTOM]


@pytest.mark.parametrize(("event_id", "kinds"), [("e1~r1", []), ("e1~r12", []), ("e9~r1", [Kind.PHANTOM])])
def test_redispatch(event_id: str, kinds: list[Kind]) -> None:
    """A stale redispatch of a published event is legitimate, of any other a phantom."""
    story = Story()
    story.publish("e1", "a")
    story.store(event_id, "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1", event_id)
    story.converge()
    assert story.kinds() == kinds


def test_a_redispatch_is_for_whom_the_assignment_was() -> None:
    """A copy that went to another agent is foreign to it, however it is addressed; once the judge took it for one."""
    story = Story()
    story.publish("e1", "b")
    story.store("e1~r1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e1~r1")
    assert story.kinds() == [Kind.FOREIGN]


@pytest.mark.parametrize("delivered", [True, False])
@pytest.mark.parametrize("answered", [True, False])
def test_unknown_outcome_may_appear_or_not(delivered: bool, answered: bool) -> None:
    """A publish without a clear answer is neither a phantom when delivered nor lost when not."""
    story = Story()
    story.send("u1", "a")
    if answered:
        story.fail("u1", "unknown", 503)
    story.store("u1", "a")
    story.publish("e2", "a")
    story.connect("a", "earliest")
    story.deliver("a", *(["u1"] if delivered else []), "e2")
    story.converge()
    assert story.kinds() == []
    assert story.index().events.is_unknown(0)


def test_an_unknown_outcome_is_not_delivered_twice() -> None:
    """If it appears, it appears once: under two cursors it was stored twice."""
    story = Story()
    story.send("u1", "a")
    story.fail("u1", "unknown")
    story.store("u1", "a")
    story.connect("a", "earliest")
    story.deliver("a", "u1")
    story.deliver("a", "u1", cursor="aaaaaa-4")
    assert story.kinds() == [Kind.DUPLICATE_STORAGE]
