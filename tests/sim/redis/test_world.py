"""Whole worlds under the transport redis: the relay, redis-py and the simulated Redis under faults, from one seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from faults.plan import Plan
from faults.vocabulary import Link, ProcessName
from sim.swarm import redis_plan
from sim.trial import try_plan
from tests.sim.test_regressions import PLANS_FOLDER

pytestmark = pytest.mark.options

SEEDS = (3, 9, 17, 25)
"""With restarts, power losses, a full disk and wrong clocks of Redis, and a link that resets, narrows or half-opens."""
FOUND = {
    6: "the trimmer lowered a floor that the feeder had raised for what expired before it was fed: silence",
    57: "floors rose with nothing fed, and the news of it named nobody: live sessions passed over what was gone",
    60: "a page of what is restored left out the floors beyond it, so that what was gone within it was told too late",
    22: "Redis's watermark moved after Postgres's, and nobody marked the sessions that were not concerned: no end",
}
"""Seeds that found something, and what."""
PROGRAM = """
from tests.sim.redis.test_world import *
print(*(try_plan(redis_plan(seed)).trace_sha256 for seed in SEEDS))
"""


def test_a_feeder_that_takes_over_does_not_take_the_stream_for_cut() -> None:
    """It asked for the stream's end, and then for where Redis stands; in between the old feeder, which was cut off from
    Postgres alone, fed one more: the stream seemed to have lost it, and an epoch began for nothing (seed 490 of 500).
    """
    trial = try_plan(Plan.load(PLANS_FOLDER / "fed-while-taken-over.json"))
    assert trial.verdict == "held", trial.reason


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_promised_holds_under_faults_on_redis(seed: int) -> None:
    """Deaths, full disks and partitions of Redis cost no event, and nobody is left in silence."""
    plan = redis_plan(seed)
    assert {fault.target for fault in plan.faults} & {ProcessName.REDIS, Link.RELAY_REDIS}
    trial = try_plan(plan)
    assert trial.verdict == "held", trial.reason
    assert trial.deliveries > 20


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_stays_found(seed: int) -> None:
    """Each seed's plan holds since its bug is gone."""
    trial = try_plan(redis_plan(seed))
    assert trial.verdict == "held", f"{FOUND[seed]}; {trial.reason}"


def test_a_world_with_redis_leaves_the_same_trace_whatever_python_hashes() -> None:
    """Seeds in two processes with different PYTHONHASHSEEDs: every segment and its moment are equal."""
    traces = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        traces.append(done.stdout.split())
    assert traces[0] == traces[1]
    assert len(set(traces[0])) == len(SEEDS)
    assert all(len(one) == 64 for one in traces[0]), "a world that could not run has no trace"
