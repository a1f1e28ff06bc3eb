"""Marks by transport: each option has its own, and a campaign over one is not held to another's."""

from __future__ import annotations

import pytest

from faults.transports import TransportName
from sim.campaign import Tally
from sim.campaign_cli import JUDGED_SEEDS, shortcomings
from sim.marks import COMMON, HEARD, OVER, LogEar, marks_over
from sim.swarm import swarm_plan, swarm_plan_over
from sim.trial import try_plan
from system import sweeper
from system.event import RetentionClass

pytestmark = pytest.mark.sim
SWEPT_SEED = 12
"""Its agents are told of lost events of both classes."""


def test_each_option_has_marks_of_its_own() -> None:
    """What only one comes to is expected of no other, and is heard in the logs."""
    for transport in TransportName:
        expected = marks_over(transport)
        assert set(OVER[transport]) <= set(expected)
        others = {name for other in TransportName if other is not transport for name in OVER[other]}
        assert not others & set(expected)
    assert set(marks_over(TransportName.CURSOR)) == {*COMMON, "session.fell_behind"}
    ear = LogEar()
    for name in ("feeder.began", "session.consumer_over", "something.else"):
        ear.hear({"event": name})
    assert ear.heard == {"feeder.began", "session.consumer_over"} <= HEARD


def test_a_campaign_says_which_of_its_options_marks_it_missed() -> None:
    """And says nothing of those of the others."""
    tally = Tally(swarms=JUDGED_SEEDS)
    tally.marks.update(dict.fromkeys(set(marks_over(TransportName.REDIS)) - {"feeder.restored"}, 1))
    missed = [one for one in shortcomings(tally, TransportName.REDIS) if "mark" in one]
    assert missed == ["mark never hit: feeder.restored (Redis was filled from Postgres)"]


@pytest.mark.parametrize("transport", [TransportName.JETSTREAM, TransportName.REDIS])
def test_a_few_seeds_hit_marks_of_the_option(transport: TransportName) -> None:
    """They come from real runs over it."""
    hit = {mark for seed in range(4) for mark in try_plan(swarm_plan_over(seed, transport)).marks}
    assert len(hit & set(OVER[transport])) >= 2, hit


@pytest.mark.parametrize(
    ("kept", "missed"), [(RetentionClass.STANDARD, "gap.told"), (RetentionClass.CRITICAL, "gone.told")]
)
def test_a_class_that_is_never_swept_leaves_its_mark_unhit(
    kept: RetentionClass, missed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To keep events for longer breaks no promise, so no run is red for it; a campaign misses what it hides."""
    assert missed in try_plan(swarm_plan(SWEPT_SEED)).marks
    monkeypatch.setattr(sweeper, "RetentionClass", [one for one in RetentionClass if one is not kept])
    trial = try_plan(swarm_plan(SWEPT_SEED))
    assert trial.verdict == "held"
    assert missed not in trial.marks
