"""Plans under which the simulator once found the relay guilty; each tells its story, and holds now."""

from __future__ import annotations

import msgspec
import pytest

from faults.plan import RelayLimits
from faults.vocabulary import Fault, Kill, Pause, PowerLoss, ProcessName
from sim.trial import try_plan
from system.cursor import Position
from system.places import Places
from system.session import Page
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim

STORIES: dict[str, tuple[Fault, ...]] = {
    # NATS loses its power, comes back and is killed again while the relays are frozen. A relay that goes on finds a
    # connection that was reset with bytes unsent: nats-py's closing fails, its read loop ends with that exception, and
    # nobody is called back. The relay heard of it only by two missed probes.
    "a read loop that ends without a word": (
        PowerLoss(id="p", process=ProcessName.NATS, at_s=6.0, down_s=2.4),
        Kill(id="k", process=ProcessName.NATS, at_s=8.6, down_s=1.7),
        Pause(id="z", process=ProcessName.RELAY, at_s=8.3, for_s=2.4),
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
