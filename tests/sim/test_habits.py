"""What people do in a few seeds only: drawn apart from everything else, and judged as everybody is."""

from __future__ import annotations

import msgspec
import pytest

from faults.arrivals import arrivals
from faults.check import problems_of
from faults.plan import Agent, Plan
from faults.planted import PLANTED
from reports.checkers.follow import chains_of
from reports.checkers.reminders import overdue
from sim import swarm
from sim.hunt import hunt
from sim.swarm import short_plan
from sim.trial import play, try_plan
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim
UNANSWERED_SEED = 1_008
CHOOSY_SEED = 3_000
FORGETFUL_SEED = 1_018
"""With these habits, and in which their bugs show: a hunt begins there."""
PAGING_SEEDS = {
    "page-led-to-the-watermark": 3_000,
    "page-silent-about-losses": 2_000,
    "ahead-taken-for-the-end": 3_000,
}


def forgetful_plan(seed: int = 1) -> Plan:
    """Everybody loses its cursor twice in the middle of the work, slowly acknowledged."""
    plan = plan_with(seed=seed)
    agents = tuple(
        Agent(name=one.name, start_from="acked", ack_interval_s=2.0, crashes_s=(5.1, 9.7), forgets=True)
        for one in plan.agents
    )
    return msgspec.structs.replace(plan, agents=agents)


def test_an_agent_that_lost_its_cursor_comes_back_by_its_ack() -> None:
    """It sees again what it had not acknowledged, loses nothing, and the run waits until it has caught up."""
    trial = try_plan(forgetful_plan())
    assert trial.verdict == "held", trial.reason
    assert {"reconnect.by_ack", "agent.got_again"} <= set(trial.marks)


def test_who_forgets_comes_back_by_its_ack_or_is_refused() -> None:
    """A plan in which it begins elsewhere would be judged as if its client had asked again for what it has saved."""
    plan = forgetful_plan()
    assert problems_of(plan) == []
    agents = tuple(msgspec.structs.replace(one, start_from="earliest") for one in plan.agents)
    wrong = problems_of(msgspec.structs.replace(plan, agents=agents))
    assert len(wrong) == len(agents)
    assert "agent 'ann': expected start_from 'acked' or none of one that forgets, got 'earliest'" in wrong[0]


def test_a_few_seeds_have_a_habit_and_the_others_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a seed draws beside its habits is what it drew before there were any, and every plan is sound."""
    plans = [short_plan(seed) for seed in range(200)]
    monkeypatch.setattr(swarm, "with_habits", lambda plan: plan)
    without = [short_plan(seed) for seed in range(200)]
    changed = [plan for plan, before in zip(plans, without, strict=True) if plan != before]
    assert 40 <= len(changed) <= 100
    assert sum(any(agent.forgets for agent in plan.agents) for plan in changed) >= 15
    assert sum(any(agent.pages_every_s for agent in plan.agents) for plan in changed) >= 12
    assert sum(plan.workload.extended_share > 0 for plan in changed) >= 10
    for plan in changed:
        assert Plan.decode(plan.encode()) == plan
        assert sum(agent.forgets for agent in plan.agents) <= 1


def test_an_agent_that_acknowledges_nothing_is_reminded_of_everything() -> None:
    """Some of its assignments are overdue for certain, and each has come again."""
    played = play(short_plan(UNANSWERED_SEED))
    due = list(overdue(played.index, chains_of(played.index)))
    assert played.report.verdict == "held"
    assert due
    assert all(one.is_reminded for one in due)


def test_assignments_that_never_come_again_are_found_out() -> None:
    """A relay that dispatches nothing again is found by what its agents never got."""
    found = hunt("redispatch-never", UNANSWERED_SEED, 40)
    assert found.kinds == ("not-reminded",)


def test_agents_that_ask_for_some_types_are_given_those() -> None:
    """No other, all of them, and all the same they get to the stream's end."""
    plan = plan_with()
    types = ("task.assigned", "note.added")
    agents = tuple(msgspec.structs.replace(agent, types=types) for agent in plan.agents)
    played = play(msgspec.structs.replace(plan, agents=agents))
    assert played.report.verdict == "held", played.report.reason
    events = played.index.events
    given = {played.index.types[events.type[row]] for row, came in enumerate(events.delivered) if came}
    assert given == set(types)


@pytest.mark.parametrize("name", ["mixed-release-passed-over", "types-unheeded"])
def test_types_that_are_asked_for_and_not_heeded_are_found_out(name: str) -> None:
    """What is left out with others that were not wanted, and what nobody wanted."""
    found = hunt(name, CHOOSY_SEED, 40)
    assert found.seeds, found
    assert PLANTED[name].guarantees & set(found.violated)


def test_a_place_that_nobody_acknowledged_is_found_out() -> None:
    """An agent that comes back by its ack, and is begun with behind what it was sent, misses what it never handled."""
    found = hunt("begins-behind-what-was-sent", FORGETFUL_SEED, 40)
    assert found.seeds, found
    assert PLANTED["begins-behind-what-was-sent"].guarantees & set(found.violated)


def paging_plan() -> Plan:
    """Nobody has a stream."""
    plan = plan_with()
    agents = tuple(
        msgspec.structs.replace(one, pages_every_s=0.3, ack_interval_s=None, start_from=None) for one in plan.agents
    )
    return msgspec.structs.replace(plan, agents=agents)


def test_agents_that_read_pages_are_owed_what_others_are() -> None:
    """They come to the end by pages alone, are judged by each, and what they make up is refused by its name."""
    played = play(paging_plan())
    assert played.report.verdict == "held", played.report.reason
    assert "closed.page" in played.outcome.marks
    answers = {(record.status, record.reason) for _, record in played.index.invented}
    assert answers == {(400, None), (200, "wrong_epoch"), (200, "ahead")}


def test_who_reads_pages_acknowledges_nothing() -> None:
    """A plan in which it would is refused, for its history would show acks that nobody sent."""
    plan = paging_plan()
    assert problems_of(plan) == []
    agents = tuple(msgspec.structs.replace(one, ack_interval_s=1.0, start_from="now") for one in plan.agents)
    wrong = problems_of(msgspec.structs.replace(plan, agents=agents))
    assert len(wrong) == len(agents)
    assert "expected no ack_interval_s, and start_from 'earliest' or none, of one that reads pages" in wrong[0]


@pytest.mark.parametrize("name", PAGING_SEEDS)
def test_pages_that_lead_astray_are_found_out(name: str) -> None:
    """What a page leads past, what it hushes up, and made-up cursors that it takes for good."""
    found = hunt(name, PAGING_SEEDS[name], 40)
    assert found.seeds, found
    assert PLANTED[name].guarantees & set(found.violated)


def test_events_with_every_attribute_arrive_as_they_were_written() -> None:
    """Extensions, a time to the nanosecond, lines and spaces: what an application is given says what was published."""
    plan = plan_with()
    plan = msgspec.structs.replace(plan, workload=msgspec.structs.replace(plan.workload, extended_share=0.5))
    assert 0.3 < sum(one.extended for one in arrivals(plan)) / len(arrivals(plan)) < 0.7
    trial = try_plan(plan)
    assert trial.verdict == "held", trial.reason
