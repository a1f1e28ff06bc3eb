"""Plans under which the simulator once found the relay guilty; each tells its story, and holds now."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from faults.plan import Plan, RelayLimits
from faults.vocabulary import ClockSkew, Fault, HalfOpen, Kill, Link, Pause, PowerLoss, ProcessName
from sim.swarm import PLANS
from sim.trial import simulate, try_plan
from sim.world import World
from system.cursor import Position
from system.places import Places
from system.session import Page
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim
PLANS_FOLDER = Path(__file__).parent / "plans"
"""As they were drawn when they found something: what a seed means changes with the swarm."""

STORIES: dict[str, tuple[Fault, ...]] = {
    # NATS loses its power, comes back and is killed again while the relays are frozen. A relay that goes on finds a
    # connection that was reset with bytes unsent: nats-py's closing fails, its read loop ends with that exception, and
    # nobody is called back. The relay heard of it only by two missed probes.
    "a read loop that ends without a word": (
        PowerLoss(id="p", process=ProcessName.NATS, at_s=6.0, down_s=2.4),
        Kill(id="k", process=ProcessName.NATS, at_s=8.6, down_s=1.7),
        Pause(id="z", process=ProcessName.RELAY, at_s=8.3, for_s=2.4),
    ),
    # Postgres's clock is put back by three hours while no relay runs. The dead leader's lease lies three hours ahead,
    # and whoever came back waited for that: nobody led, nothing was stored.
    "a lease from before the clock was put back": (
        ClockSkew(id="c", process=ProcessName.POSTGRES, at_s=0.0, for_s=8.0, skew_ms=3 * 3_600_000),
        *(Kill(id=name, process=ProcessName.RELAY, only=name, at_s=7.0, down_s=2.0) for name in ("relay-1", "relay-2")),
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_it_holds_now(story: str) -> None:
    """No finding, no relay that ended by itself, no exception that nobody took."""
    trial = try_plan(plan_with(*STORIES[story], seed=0))
    assert trial.verdict == "held", trial.reason


def test_the_first_page_keeps_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug of pages got away from 25 seeds: the first page took no notice of `page_rows`, so that nobody's
    replay ever had a second one, and an operator who made pages small had made them smaller from the second on.
    """
    asked: list[int] = []
    read_page = Places.read_page

    async def watched(self: Places, agent: str, after: Position, rows_max: int) -> Page:
        asked.append(rows_max)
        return await read_page(self, agent, after, rows_max)

    monkeypatch.setattr(Places, "read_page", watched)
    plan = msgspec.structs.replace(plan_with(), limits=RelayLimits(page_rows=3))
    trial = try_plan(plan)
    assert trial.verdict == "held", trial.reason
    assert max(asked) == 3


@pytest.mark.parametrize("seed", range(40, 50))
def test_a_week_is_a_week_by_every_clock(seed: int) -> None:
    """Clocks drifted for a week as if no time server corrected them, by half a minute, and the judge, whose slack was
    two seconds, accused a relay of an event that was gone five seconds early.
    """
    plan = PLANS["weeks"](seed)
    world = World(plan, lambda _: Mock())
    drifts_ppm = [abs(host.clock.drift_ppm) for host in world.network.hosts.values()]
    assert max(drifts_ppm) > 0
    assert max(drifts_ppm) * 1e-6 * plan.retention.critical_s < plan.slack_s


@pytest.mark.parametrize(
    ("fault", "mark"),
    [
        (Kill(id="k", process=ProcessName.RELAY, only="relay-2", at_s=6.0, down_s=2.0), "closed.reset"),
        (HalfOpen(id="h", link=Link.AGENT_RELAY, at_s=6.0, for_s=1.0), "closed.silent"),
    ],
)
def test_how_a_stream_ended_is_marked(fault: Fault, mark: str, tmp_path: Path) -> None:
    """Marks looked for the bare word in histories that tell the particulars too, and were never hit again."""
    plan = plan_with(fault)
    plan = msgspec.structs.replace(plan, relay=msgspec.structs.replace(plan.relay, heartbeat_s=1.0))
    _, outcome = simulate(plan, tmp_path)
    assert mark in outcome.marks


def test_who_stands_in_a_former_epoch_is_not_caught_up() -> None:
    """NATS lost its tail, and the run was over as soon as everybody's sequence was beyond the new, shorter stream's
    end: an agent that had that of the former stream had not even been told.
    """
    trial = try_plan(Plan.load(PLANS_FOLDER / "former-epoch.json"))
    assert trial.verdict == "held", trial.reason


def test_what_is_stored_before_its_first_ack_has_its_place() -> None:
    """The first attempt was stored and its answer lost; the third came to the stream when it had forgotten the id, and
    its ack named a second place. The judge asked when it was sent, not when it was answered (seed 592 of 2,000).
    """
    trial = try_plan(Plan.load(PLANS_FOLDER / "stored-twice-before-the-first-ack.json"))
    assert trial.verdict == "held", trial.reason


def test_a_start_does_not_wait_for_an_answer_that_is_lost() -> None:
    """A relay started with nothing to migrate, and Postgres lost its power after it had heard the COMMIT of that: no
    answer came, nothing of ours was left to be sent again, and the limit was the five minutes of a migration's own
    text. The replica served replays all the while, and nobody live.
    """
    trial = try_plan(Plan.load(PLANS_FOLDER / "lost-answer-to-commit.json"))
    assert trial.verdict == "held", trial.reason


def test_a_page_that_was_read_past_its_token_is_not_given() -> None:
    """Over consumers a page takes the better part of a second. One was asked for just before its token ended, and gave
    what was published after that (G5): a stream has a timer for it, pages had nothing.
    """
    trial = try_plan(Plan.load(PLANS_FOLDER / "page-past-its-token.json"))
    assert trial.verdict == "held", trial.reason
