"""Swarm plans for the real stack: sound, wholly playable, each with its own mix of faults, equal for equal seeds."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.arrivals import arrivals
from faults.plan import Plan
from faults.playable import not_playable, toxic_of
from faults.swarm import FAULTS, PLAYED, PROCESS_KINDS, KindsInvalid, chaos_name, chaos_plan, chaos_plan_over, kinds_of
from faults.transports import TransportName
from faults.vocabulary import LINKS, PROCESSES, Link, LinkFaultBase, ProcessName

seeds = st.integers(0, 2**31)


@given(seeds, st.sets(st.sampled_from(PLAYED), min_size=1))
def test_sound_and_wholly_playable(seed: int, kinds: set[str]) -> None:
    """Every plan is read back as it was, has faults of the kinds asked for alone, and the real stack plays them all."""
    plan = chaos_plan(seed, kinds_of(",".join(kinds)))
    assert Plan.decode(plan.encode()) == plan
    assert not_playable(plan) == ()
    assert {fault.kind for fault in plan.faults} <= kinds
    assert plan.faults


@given(seeds)
def test_targets_rest_between_faults(seed: int) -> None:
    """Between two faults on one target there is a second to see that the first is over."""
    by_target: dict[str, list[tuple[float, float]]] = {}
    for fault in chaos_plan(seed).faults:
        by_target.setdefault(fault.target, []).append((fault.at_s, fault.until_s))
    assert all(after[0] - before[1] >= 1.0 for spans in by_target.values() for before, after in pairwise(sorted(spans)))


def test_a_few_seeds_have_everything() -> None:
    """Forty seeds play every kind on every target it can be played on, all of Toxiproxy's toxics among them."""
    plans = [chaos_plan(seed) for seed in range(40)]
    found = Counter((fault.kind, fault.target) for plan in plans for fault in plan.faults)
    toxics = {
        toxic.type
        for plan in plans
        for fault in plan.faults
        if isinstance(fault, LinkFaultBase) and (toxic := toxic_of(fault)) is not None
    }
    processes = [process.value for process in PROCESSES if process is not ProcessName.PUBLISHER]
    for kind in PLAYED:
        targets = processes if kind in PROCESS_KINDS else [link.value for link in LINKS]
        targets = ["nats", "postgres"] if kind == "disk_full" else targets
        missing = [target for target in targets if not found[kind, target]]
        assert not missing, (kind, missing)
    assert toxics == {"latency", "down", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"}


def test_kinds_are_off_in_some_seeds_and_dominant_in_others() -> None:
    """A fault that is always there hides what only its absence shows."""
    mixes = [Counter(fault.kind for fault in chaos_plan(seed).faults) for seed in range(120)]
    for kind in PLAYED:
        assert any(not mix[kind] for mix in mixes), kind
        assert any(mix[kind] >= 0.3 * mix.total() for mix in mixes), kind
    assert all(FAULTS[0] * 0.6 <= mix.total() <= FAULTS[1] for mix in mixes)


def test_half_an_hour_is_worth_fifty_thousand_events() -> None:
    """Twenty-five plans, which is what half an hour has room for, publish at least 50,000 events under 200 faults."""
    plans = [chaos_plan(seed) for seed in range(25)]
    assert sum(len(arrivals(plan)) for plan in plans) >= 50_000
    assert sum(len(plan.faults) for plan in plans) >= 200


def test_kinds_are_named_or_refused() -> None:
    """`--kinds` names kinds in any order; what is none is refused with those that there are."""
    assert kinds_of(None) == PLAYED
    assert kinds_of("kill, cut") == ("cut", "kill")
    assert chaos_name(3, kinds_of("kill,cut")) == "chaos-cut-kill-3"
    for wrong in ("", "kill,gremlin", "half_open"):
        with pytest.raises(KindsInvalid, match=r"expected some of cut,down,.*restart"):
            kinds_of(wrong)


def test_equal_seeds_give_equal_plans() -> None:
    """The seed alone decides, and the kinds change only the faults."""
    assert chaos_plan(5).encode() == chaos_plan(5).encode()
    assert chaos_plan(5) != chaos_plan(6)
    assert chaos_plan(5).agents == chaos_plan(5, ("kill",)).agents


@given(seeds, st.sets(st.sampled_from(PLAYED), min_size=1))
def test_over_redis_there_are_faults_on_redis_beside_the_others(seed: int, kinds: set[str]) -> None:
    """They are of the kinds asked for, wholly playable, and the other faults are those of the seed without Redis."""
    asked = kinds_of(",".join(kinds))
    plan = chaos_plan_over(seed, TransportName.REDIS, asked)
    on_redis = [fault for fault in plan.faults if fault.target in (Link.RELAY_REDIS, ProcessName.REDIS)]
    assert on_redis
    assert not_playable(plan) == ()
    assert {fault.kind for fault in on_redis} <= kinds
    assert tuple(fault for fault in plan.faults if fault not in on_redis) == chaos_plan(seed, asked).faults
    assert Plan.decode(plan.encode()) == plan


def test_a_few_seeds_have_everything_that_happens_to_redis() -> None:
    """Thirty seeds play every kind on Redis or the way to it."""
    plans = [chaos_plan_over(seed, TransportName.REDIS) for seed in range(30)]
    found = {fault.kind for plan in plans for fault in plan.faults if "redis" in fault.target}
    assert found == set(PLAYED)


@pytest.mark.parametrize("transport", [None, TransportName.CURSOR, TransportName.JETSTREAM])
def test_over_the_others_there_are_none(transport: TransportName | None) -> None:
    """A seed's faults are the same over every transport that has no Redis."""
    assert chaos_plan_over(5, transport).faults == chaos_plan(5).faults
