"""The judge on the real stack: a relay with one line broken on purpose is found guilty of what that line protects."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from faults.chaos import run_plan
from faults.plan import Agent, Awake, Plan, Publisher, RelayTimes, Retention, TypeWeight, Workload
from faults.planted import PLANTED
from faults.vocabulary import REPLICAS, Kill, ProcessName
from reports.api import judge

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

LIVE = (
    "ack-before-commit",
    "cursor-inclusive",
    "floors-not-read-with-page",
    "live-before-replay-ended",
    "max-seq-for-watermark",
    "page-led-to-the-watermark",
    "sweeper-without-floors",
)
"""Those that a run of half a minute on the real stack is sure to meet; the simulated world hunts for all of them."""

PLAN = Plan(
    name="planted",
    seed=1,
    duration_s=20.0,
    converge_within_s=8.0,
    retention=Retention(critical_s=6.0, standard_s=3.0),
    slack_s=1.5,
    relay=RelayTimes(sweep_interval_s=0.3, redispatch_after_s=60.0),
    workload=Workload(
        events=2_000,
        shape=(1,),
        publishers=(Publisher(name="http", via="http"), Publisher(name="nats", via="nats")),
        types=(TypeWeight(type="task.assigned", weight=1), TypeWeight(type="note.posted", weight=1)),
        broadcast_share=0.1,
    ),
    agents=(
        Agent(name="steady"),
        Agent(name="pages", pages_every_s=0.8, ack_interval_s=None),
        # back within retention, often: replays
        *(
            Agent(
                name=f"naps-{n}",
                awake=tuple(Awake(from_s=at + n / 3, until_s=at + n / 3 + 1.2) for at in range(0, 18, 2)),
            )
            for n in range(3)
        ),
        # back when standard events are gone, and when critical ones are; before any restart forgets what was cached
        # many, for each comes back to another replica as often as not, and only the one that it left remembers it
        *(Agent(name=f"away-{n}", awake=(Awake(from_s=0.0, until_s=2.0), Awake(from_s=8.0))) for n in range(10)),
        *(Agent(name=f"long-away-{n}", awake=(Awake(from_s=0.0, until_s=1.0), Awake(from_s=10.0))) for n in range(10)),
    ),
    # one replica after the other, so that each is hit while it leads
    faults=tuple(
        Kill(
            id=f"kill-{number}",
            process=ProcessName.RELAY,
            only=REPLICAS[number % 2],
            at_s=11.0 + number * 2.2,
            down_s=0.3,
        )
        for number in range(4)
    ),
)


@pytest.mark.parametrize("name", LIVE)
async def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    """A run with the bug is *violated*, in one of the guarantees that the broken line protects."""
    command = (sys.executable, "-m", "faults.planted", name, "serve")
    result = await run_plan(PLAN, tmp_path / "run", relay_command=command)
    report = judge(result.history)
    broken = {one.guarantee for one in report.guarantees if one.verdict == "violated"}
    assert report.verdict == "violated", report.reason
    assert broken & PLANTED[name].guarantees, report.reason
