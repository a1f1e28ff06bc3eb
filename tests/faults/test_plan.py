"""Plans are plain data: they survive the round trip through their file, and a wrong one is refused with its reason."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.generate import main_plan
from faults.plan import Agent, Awake, Plan, PlanInvalid, Publisher, Retention, Servers, TypeWeight, Workload
from faults.vocabulary import (
    KINDS,
    LINKS,
    PROCESSES,
    Cut,
    Direction,
    DiskFull,
    Fault,
    Kill,
    Latency,
    LeaderChange,
    Link,
    ProcessName,
    QuorumLoss,
    Slicer,
)


def small_plan(**changes: Any) -> Plan:
    """A sound plan of a minute with one agent, one publisher and no faults."""
    plan = Plan(
        name="small",
        seed=1,
        duration_s=60.0,
        converge_within_s=10.0,
        retention=Retention(critical_s=30.0, standard_s=10.0),
        slack_s=2.0,
        workload=Workload(
            events=10,
            shape=(1,),
            publishers=(Publisher(name="p", via="http"),),
            types=(TypeWeight(type="task.assigned", weight=1),),
        ),
        agents=(Agent(name="alice"),),
        faults=(),
    )
    return msgspec.structs.replace(plan, **changes)


def latency(**changes: Any) -> Latency:
    """A latency on the agents' link from 10 s to 15 s."""
    fault = Latency(id="slow", link=Link.AGENT_RELAY, at_s=10.0, for_s=5.0, latency_ms=100)
    return msgspec.structs.replace(fault, **changes)


times = st.integers(0, 20_000).map(lambda ms: ms / 1000)
lengths = st.integers(1, 20_000).map(lambda ms: ms / 1000)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Sound plans with faults of several kinds, one after the other on each target."""
    faults: list[Fault] = []
    ends = dict.fromkeys([*LINKS, *PROCESSES], 0.0)
    for number in range(draw(st.integers(0, 6))):
        target = draw(st.sampled_from(sorted(ends)))
        at_s = ends[target] + draw(times)
        for_s = draw(lengths)
        name = f"f{number}"
        if isinstance(target, ProcessName):
            fault: Fault = Kill(id=name, process=target, at_s=at_s, down_s=for_s)
        else:
            direction = draw(st.sampled_from(Direction))
            fault = Cut(id=name, link=Link(target), at_s=at_s, for_s=for_s, direction=direction)
        ends[target] = fault.until_s
        faults.append(fault)
    return small_plan(
        seed=draw(st.integers(0, 2**63 - 1)),
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)),
        duration_s=max([60.0, *ends.values()]),
        faults=tuple(faults),
    )


@given(plans())
def test_round_trip(plan: Plan) -> None:
    """Every sound plan is read back from its text as it was, and gives the same text again."""
    text = plan.encode()
    assert Plan.decode(text) == plan
    assert Plan.decode(text).encode() == text


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    """What is dumped into a file is loaded from it, in JSON that any program reads."""
    plan = main_plan(7)
    plan.dump(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert msgspec.json.decode((tmp_path / "plan.json").read_bytes())["seed"] == 7


def test_readable_text() -> None:
    """A plan's text has one agent, publisher, pinned event or fault a line, so that two plans can be compared."""
    plan = small_plan(agents=(Agent(name="alice"), Agent(name="bob")), faults=(latency(),))
    lines = plan.encode().decode().splitlines()
    assert [line.strip()[:15] for line in lines if '"name":"' in line] == [
        '{"name":"p","vi',
        '{"name":"alice"',
        '{"name":"bob","',
    ]
    assert sum('"kind"' in line for line in lines) == 1


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("typo",), 1, "Object contains unknown field `typo`; `meshrelay"),
        (("faults", 0, "typo"), 1, "at $.faults[0]: Object contains unknown field `typo`; `meshrelay"),
        (("retension",), 1, "at $: Object contains unknown field `retension`; did you mean `retention`?"),
        (("faults", 0, "jiter_ms"), 1, "unknown field `jiter_ms`; did you mean `jitter_ms`?"),
        (("workload", "publishers", 0, "vai"), 1, "unknown field `vai`; did you mean `via`?"),
        (("workload", "publishers", 0, "via"), "ftp", 'expected one of http, nats, got "ftp"'),
        (("transport",), "kafka", 'at $.transport: expected one of cursor, jetstream, redis, got "kafka"'),
        (("version",), 99, "at $.version: expected one of 1, got 99"),
        (("servers", "nats_replicas"), 2, "expected one of 1, 3, got 2"),
        (("faults", 0, "kind"), "lag", f"at $.faults[0].kind: expected one of {', '.join(KINDS)}, got \"lag\""),
        (("faults", 0, "link"), "moon", f'expected one of {", ".join(Link)}, got "moon"'),
        (("faults", 0, "direction"), "up", 'expected one of both, upstream, downstream, got "up"'),
        (("faults", 0, "latency_ms"), 5, "at $.faults[0].latency_ms: Expected `int` >= 20, got 5"),
        (("faults", 0, "for_s"), 0, "at $.faults[0].for_s: Expected `float` > 0.0, got 0"),
        (("faults", 0, "at_s"), "now", "at $.faults[0].at_s: Expected `float`, got `str`, got \"now\""),
        (("seed",), -1, "at $.seed: Expected `int` >= 0, got -1"),
        (("workload", "shape"), [], "at $.workload.shape: Expected `array` of length >= 1, got []"),
    ],
)  # fmt: skip
def test_wrong_shape_is_refused(path: tuple[str | int, ...], value: object, says: str) -> None:
    """An unknown field or kind, or a value out of range, is refused with its place, what was expected, what came."""
    raw = msgspec.json.decode(small_plan(faults=(latency(),)).encode())
    place = raw
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(PlanInvalid) as caught:
        Plan.decode(msgspec.json.encode(raw))
    assert says in str(caught.value)
    assert "`meshrelay chaos plan --seed 1` prints" in str(caught.value)


def test_missing_field_is_refused() -> None:
    """A fault without its length is refused, and the missing field named."""
    text = small_plan(faults=(latency(),)).encode().replace(b'"for_s":5.0,', b"")
    with pytest.raises(PlanInvalid, match=r"at \$.faults\[0\]: Object missing required field `for_s`"):
        Plan.decode(text)


def test_a_refusal_comes_whole_out_of_a_worker() -> None:
    """An error that can't be unpickled breaks a pool of processes, which then says nothing of the plan.

    That is how a campaign ended whose swarm had drawn a fault of negative length.
    """
    refused = PlanInvalid("p.json", ["at $.seed: expected a number", "at $.name: expected a name"])
    again = pickle.loads(pickle.dumps(refused))
    assert (str(again), again.problems) == (str(refused), refused.problems)
    assert "p.json: at $.name: expected a name" in str(again)


@pytest.mark.parametrize("text", [b"", b"hello", b"[]", b'"\xff"', b'{"seed": 1'])
def test_not_a_plan_is_refused(text: bytes) -> None:
    """Text that is no JSON object at all is refused as such."""
    with pytest.raises(PlanInvalid, match="xpected"):
        Plan.decode(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"faults": (latency(), latency(id="other", at_s=14.0))}, "'other': expected a beginning after 'slow'"),
        ({"faults": (latency(), latency(at_s=20.0))}, "expected every fault id once, got 'slow' again"),
        ({"faults": (latency(at_s=58.0),)}, "expected an end by duration_s = 60 s, got 63 s"),
        ({"faults": (latency(jitter_ms=60),)}, "expected jitter_ms at most half of latency_ms = 100, got 60"),
        (
            {"faults": (Slicer(id="s", link=Link.RELAY_NATS, at_s=1.0, for_s=5.0, average_size_bytes=10,
                               size_variation_bytes=10, delay_us=1000),)},
            "expected size_variation_bytes below average_size_bytes = 10, got 10",
        ),
        ({"retention": Retention(critical_s=5.0, standard_s=10.0)}, "expected standard_s at most critical_s"),
        ({"agents": (Agent(name="a"), Agent(name="a"))}, "expected every agent name once, got 'a' again"),
        ({"agents": (Agent(name="_all"),)}, "agent '_all': expected 1 to 64"),
        ({"agents": (Agent(name="a", awake=(Awake(from_s=5.0, until_s=4.0),)),)}, "expected until_s after from_s"),
        ({"agents": (Agent(name="a", awake=(Awake(from_s=0.0), Awake(from_s=9.0))),)}, "with sleep between them"),
        (
            {"agents": (Agent(name="a", awake=(Awake(from_s=9.0, until_s=12.0), Awake(from_s=0.0, until_s=3.0))),)},
            "expected its times awake in order",
        ),
        (
            {"agents": (Agent(name="a", awake=(Awake(from_s=0.0, until_s=3.0),), crashes_s=(4.0,)),)},
            "expected crashes while it is awake, got one at 4 s",
        ),
        ({"agents": ()}, "agents: expected at least one, got none"),
        (
            {"faults": (LeaderChange(id="vote", process=ProcessName.NATS, at_s=1.0, down_s=1.0),)},
            "fault 'vote' (leader_change): expected servers.nats_replicas = 3, got 1",
        ),
        (
            {"faults": (QuorumLoss(id="few", process=ProcessName.RELAY, at_s=1.0, for_s=1.0),),
             "servers": Servers(nats_replicas=3)},
            "fault 'few' (quorum_loss): expected process 'nats', got 'relay'",
        ),
        (
            {"faults": (DiskFull(id="full", process=ProcessName.RELAY, at_s=1.0, for_s=1.0),)},
            "fault 'full' (disk_full): expected process 'nats', 'postgres' or 'redis', got 'relay'",
        ),
        (
            {"faults": (Kill(id="end", process=ProcessName.REDIS, at_s=1.0, down_s=1.0),)},
            "fault 'end' (kill): expected transport 'redis' for a fault on redis, got 'cursor'",
        ),
        (
            {"faults": (latency(link=Link.RELAY_REDIS),)},
            "(latency): expected transport 'redis' for a fault on relay-redis, got 'cursor'",
        ),
        ({"servers": Servers(redis_sync="no")}, "servers.redis_sync: expected it left out, for the transport is"),
        (
            {"faults": (Kill(id="end", process=ProcessName.REDIS, only="a", at_s=1.0, down_s=1.0),),
             "transport": "redis"},
            "fault end: expected only to be left out, for there is one redis",
        ),
    ],
)  # fmt: skip
def test_inconsistent_plan_is_refused(changes: dict[str, Any], says: str) -> None:
    """A plan whose parts contradict each other is refused, and the message says which and what to do."""
    with pytest.raises(PlanInvalid) as caught:
        Plan.decode(small_plan(**changes).encode())
    assert says in str(caught.value)


def test_a_one_way_down_is_refused() -> None:
    """A closed link has no direction; the message names the kind that has."""
    text = (
        small_plan(faults=(latency(),))
        .encode()
        .replace(b'"latency"', b'"down"')
        .replace(b',"latency_ms":100,"jitter_ms":0', b"")
    )
    assert Plan.decode(text).faults[0].kind == "down"
    with pytest.raises(PlanInvalid, match="a one-way partition is a `cut`"):
        Plan.decode(text.replace(b'"both"', b'"upstream"'))


def test_all_problems_are_told_at_once() -> None:
    """A plan with two mistakes is refused with both."""
    with pytest.raises(PlanInvalid) as caught:
        Plan.decode(small_plan(faults=(latency(at_s=58.0),), agents=(Agent(name="?"),)).encode())
    assert len(caught.value.problems) == 2


def test_neighbours_may_touch() -> None:
    """A fault may begin at the instant at which another on the same link ends, and at any time on another link."""
    faults = (latency(), latency(id="next", at_s=15.0), latency(id="else", link=Link.RELAY_NATS, at_s=12.0))
    assert len(Plan.decode(small_plan(faults=faults).encode()).faults) == 3


def test_two_replicas_may_be_away_at_once() -> None:
    """Faults on one kind of process can be told apart if each names another one; else they are refused."""

    def killed(*replicas: str | None) -> bytes:
        faults = tuple(
            Kill(id=f"kill-{number}", process=ProcessName.RELAY, only=only, at_s=1.0 + number, down_s=9.0)
            for number, only in enumerate(replicas)
        )
        return small_plan(faults=faults).encode()

    assert len(Plan.decode(killed("relay-1", "relay-2")).faults) == 2
    for replicas in (("relay-1", "relay-1"), ("relay-1", None), (None, "relay-2"), ("relay-1", "relay-2", "relay-1")):
        with pytest.raises(PlanInvalid, match="overlapping faults can't be told apart"):
            Plan.decode(killed(*replicas))
    both = tuple(latency(id=name, only=name) for name in ("relay-1", "relay-2"))
    with pytest.raises(PlanInvalid, match="overlapping faults can't be told apart"):
        Plan.decode(small_plan(faults=both).encode())
