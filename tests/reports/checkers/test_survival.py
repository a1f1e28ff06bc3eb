"""G8: losses of a power failure are laid to a server that acknowledged before it synced, and to nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.checkers.findings import Guarantee, Judged, Kind
from tests.reports.stories import good, report_of
from tests.reports.story import Story


def _lossy(what: str = "power_loss", **proof: Any) -> Story:
    """Three events are acknowledged, a process ends, two more; the agent gets the first and the last only."""
    story = Story()
    for number in range(3):
        story.publish(f"e{number}", "a")
    story.fault("dark", "effective", what, **proof)
    for number in (3, 4):
        story.publish(f"e{number}", "a")
    story.connect("a", "earliest")
    story.deliver("a", "e0")
    story.deliver("a", "e4")
    return story


def _survival(story: Story) -> Judged:
    (judged,) = [one for one in story.judged() if one.guarantee is Guarantee.G8]
    return judged


def test_a_loss_before_the_power_failure_is_laid_to_the_setting() -> None:
    """e1 and e2 were acknowledged before the power failed; e3, which came after it, is not laid to it."""
    judged = _survival(_lossy(nats_sync="interval", messages_lost=2))
    assert judged.counts == {Kind.LOST_UNSYNCED: 1}
    (found,) = judged
    assert "got 2 events lost: NATS ran with sync_interval 2m, not always" in found.detail
    assert found.detail.endswith("it lost 2 messages")


@pytest.mark.parametrize("proof", [{"nats_sync": "always", "messages_lost": 0}, {}])
def test_a_synced_server_is_not_blamed(proof: dict[str, Any]) -> None:
    """Where the server synced, or nothing is known of it, the loss is somebody else's."""
    judged = _survival(_lossy(**proof))
    assert judged.counts == {}
    assert judged.trials == {"ends of processes": 1}


def test_the_reason_names_the_setting(tmp_path: Path) -> None:
    """The verdict's one sentence is followed by the one that says which setting it was."""
    report = report_of(_lossy(nats_sync="interval"), tmp_path)
    assert "G8 (1 lost-unsynced). expected" in report.reason
    assert "sync_interval 2m, not always" in report.reason
    assert {one.guarantee for one in report.guarantees if one.verdict == "violated"} == {"G1", "G8"}


def test_survival_is_only_claimed_where_something_ended(tmp_path: Path) -> None:
    """A run without an end of a process says nothing of G8; one with a kill says that it held."""
    assert [one.guarantee for one in report_of(good(), tmp_path).guarantees] == ["G1", "G2", "G3", "G4", "G5", "G6"]
    story = good()
    story.fault("kill", "effective", "kill")
    assert [(one.guarantee, one.verdict) for one in report_of(story, tmp_path).guarantees][-1] == ("G8", "held")
