"""What applications are done with, judged in the simulated world: a client that saves too soon, or skips."""

from __future__ import annotations

from typing import Any

import pytest

from reports.checkers.findings import Kind
from sim.programs import PowerProofStore
from sim.trial import try_plan
from system.client import AgentClient, Delivery
from tests.sim.test_world import plan_with

pytestmark = pytest.mark.sim


async def _saved_first(client: Any, delivery: Delivery) -> Any:
    done = await client._save(delivery.place, of_event=True)
    await client._handler.on_event(delivery)
    return done


async def _notes_skipped(client: Any, delivery: Delivery) -> Any:
    if delivery.type != "note.added":
        await client._handler.on_event(delivery)
    return await client._save(delivery.place, of_event=True)


def test_a_client_whose_store_keeps_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, but after each crash it is given again what it had handled."""

    async def nowhere(store: Any, cursor: str) -> None:
        return

    monkeypatch.setattr(PowerProofStore, "save", nowhere)
    trial = try_plan(plan_with())
    assert trial.violated == ("G4",)
    assert trial.kinds == (Kind.SAVED_FORGOTTEN.value,)


@pytest.mark.parametrize("handle", [_saved_first, _notes_skipped])
def test_a_client_that_saves_what_is_not_handled_is_found_out(handle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event arrives, in order and once, and yet its application was not done with it, or never had it."""
    assert try_plan(plan_with()).verdict == "held"
    monkeypatch.setattr(AgentClient, "_handle", handle)
    trial = try_plan(plan_with())
    assert trial.violated == ("G1",)
    assert trial.kinds == (Kind.SAVED_UNHANDLED.value,)
