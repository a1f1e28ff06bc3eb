"""The generator's main plan: what must be in it is there for every seed."""

from __future__ import annotations

import collections
import itertools
import statistics
import subprocess
import sys

from hypothesis import example, given
from hypothesis import strategies as st

from faults.arrivals import arrivals
from faults.gaps import GapKind, planned_gaps
from faults.generate import hour_of_week, main_plan
from faults.plan import Plan
from faults.playable import TOXICS, not_playable, toxic_of
from faults.vocabulary import LINKS, Direction, Kill, Link, LinkFaultBase, ProcessName
from system.event import ALL_AGENTS, RetentionClass, class_of, read_event

seeds = st.integers(0, 2**63 - 1)


@given(seeds)
def test_sound_and_wholly_playable(seed: int) -> None:
    """Every generated plan is read back as it was, and the real stack plays all of its faults."""
    plan = main_plan(seed)
    assert Plan.decode(plan.encode()) == plan
    assert not_playable(plan) == ()


@given(seeds)
def test_faults(seed: int) -> None:
    """All four links have faults, all eight toxics occur, one-way and two-way, and the relay is killed twice."""
    faults = main_plan(seed).faults
    on_links = [fault for fault in faults if isinstance(fault, LinkFaultBase)]
    assert {fault.link for fault in on_links} == set(LINKS)
    toxics = [toxic_of(fault) for fault in on_links if fault.kind != "cut"]
    assert {toxic.type for toxic in toxics if toxic is not None} == set(TOXICS)
    one_way = {fault.direction for fault in on_links if fault.kind != "down"}
    assert one_way == set(Direction)
    kills = [fault for fault in faults if isinstance(fault, Kill)]
    assert [kill.process for kill in kills] == [ProcessName.RELAY] * 2


@given(seeds)
def test_one_trouble_of_the_writer_at_a_time(seed: int) -> None:
    """Kills of the relay and faults between it and its servers never overlap, so lateness stays within bounds."""
    targets = {Link.RELAY_NATS.value, Link.RELAY_POSTGRES.value, ProcessName.RELAY.value}
    plan = main_plan(seed)
    troubles = sorted((fault.at_s, fault.until_s) for fault in plan.faults if fault.target in targets)
    pauses = [after[0] - before[1] for before, after in itertools.pairwise(troubles)]
    assert min(pauses) >= 1.5
    assert max(until - at for at, until in troubles) <= plan.late_s / 2


@given(seeds)
@example(9008289484)  # a gap as long as its kind may be, to which floats added a little
def test_gaps(seed: int) -> None:
    """At least three agents have a gap of each kind, no gap is unclear, and each has an event of each class to lose."""
    plan = main_plan(seed)
    gaps = planned_gaps(plan)
    agents = {kind: {gap.agent for gap in gaps if gap.kind is kind} for kind in GapKind}
    assert all(len(agents[kind]) >= 3 for kind in (GapKind.FULL, GapKind.PARTIAL, GapKind.GONE))
    assert not agents[GapKind.UNCLEAR]
    for gap in gaps:
        early = [pin for pin in plan.workload.pinned if pin.agent == gap.agent and 0 < pin.at_s - gap.from_s < 1]
        assert {class_of(pin.type) for pin in early} == set(RetentionClass)


@given(seeds)
def test_long_sleepers_wake_in_quiet(seed: int) -> None:
    """No fault on the agents' way or behind it falls within 0.2 s of the end of a long sleep."""
    plan = main_plan(seed)
    behind = [fault for fault in plan.faults if fault.target != Link.PUBLISHER_NATS.value]
    wakes = [gap.until_s for gap in planned_gaps(plan) if gap.kind in (GapKind.PARTIAL, GapKind.GONE)]
    assert not [
        (wake, fault.id) for wake in wakes for fault in behind if fault.at_s - 0.2 <= wake <= fault.until_s + 0.2
    ]


@given(seeds)
def test_some_long_sleepers_come_back_to_the_same_relay(seed: int) -> None:
    """Gaps with and without a SIGKILL within: what a relay remembers of an agent can be wrong only if it lives on."""
    plan = main_plan(seed)
    kills = [fault.at_s for fault in plan.faults if isinstance(fault, Kill)]
    long = [gap for gap in planned_gaps(plan) if gap.kind is not GapKind.FULL]
    crossed = [any(gap.from_s - 1.0 <= kill <= gap.until_s for kill in kills) for gap in long]
    assert True in crossed
    assert False in crossed


def test_workload() -> None:
    """At least 5,000 events, 20 agents, both classes, broadcasts, and both ways of publishing."""
    for seed in range(5):
        plan = main_plan(seed)
        events = arrivals(plan)
        assert len(events) >= 5_000
        assert len({event.id for event in events}) == len(events)
        assert len(plan.agents) >= 20
        assert {event.agent for event in events} == {agent.name for agent in plan.agents} | {ALL_AGENTS}
        assert {class_of(event.type) for event in events} == set(RetentionClass)
        ways = {publisher.name: publisher.via for publisher in plan.workload.publishers}
        shares = collections.Counter(ways[event.publisher] for event in events)
        assert min(shares["http"], shares["nats"]) > 1_000
        assert 50 < sum(event.repeated for event in events) < 300
        assert all(0 <= event.at_s < plan.duration_s for event in events)
        assert [event.at_s for event in events] == sorted(event.at_s for event in events)


def test_events_are_valid() -> None:
    """Every event that is drawn is one that the relay accepts, with the id, type and addressee of its arrival."""
    for arrival in arrivals(main_plan(3)):
        event = read_event(arrival.event(), bytes_max=2_000)
        assert (event.id, event.type, event.subject) == (arrival.id, arrival.type, arrival.agent)


def test_arrivals_have_the_shape_of_the_week() -> None:
    """Events per squeezed hour follow the measured hours: correlation above 0.9, quiet hours quiet."""
    plan, counts = main_plan(11), hour_of_week()
    slice_s = plan.duration_s / len(counts)
    drawn = collections.Counter(min(167, int(event.at_s / slice_s)) for event in arrivals(plan))
    assert len(counts) == 168
    assert sum(counts) == 101_935
    assert statistics.correlation([drawn[hour] for hour in range(168)], counts) > 0.9


def test_equal_seeds_give_equal_bytes_in_every_process() -> None:
    """The same seed gives the same plan and events under another hash seed in another process."""
    program = (
        "import hashlib; from faults.generate import main_plan; from faults.arrivals import arrivals;"
        "plan = main_plan(5);"
        "print(hashlib.sha256(plan.encode() + repr(arrivals(plan)).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert main_plan(5).encode() != main_plan(6).encode()
