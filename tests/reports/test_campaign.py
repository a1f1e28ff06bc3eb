"""A campaign's report: the worst run decides, nothing is green that did not take place, each run can be repeated."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from reports.campaign import CampaignReport, RunShown, campaign_of, encode
from reports.render import campaign as of_campaign
from reports.report import Verdict
from reports.verdict import EXIT_CODES

PROMISES = {"G1": "No loss", "G2": "No silence"}
verdicts: st.SearchStrategy[Verdict] = st.sampled_from(["held", "violated", "not converged", "could not run"])


def run(number: int, verdict: Verdict = "held", **changes: Any) -> RunShown:
    """A run with 100 events and three faults."""
    values: dict[str, Any] = {
        "plan": f"chaos-{number}",
        "seed": number,
        "command": f"meshrelay chaos run --swarm --seed {number}",
        "folder": f"runs/chaos-{number}",
        "verdict": verdict,
        "reason": f"reason {number} <&|>",
        "wall_s": 70.0,
        "counts": {"events acknowledged": 100, "deliveries": 120, "agents": 12},
        "faults": {"cut": {"agent-relay": 1}, "kill": {"nats": 2}},
        "guarantees": {"G1": 100, "G2": 3},
    }
    return RunShown(**values | changes)


def campaign(*verdicts: Verdict) -> CampaignReport:
    """A campaign of runs with these verdicts."""
    runs = [run(number, verdict) for number, verdict in enumerate(verdicts, start=1)]
    return campaign_of(runs, started_at="2026-01-31T08:00:00+00:00", wall_s=600.0, versions={"nats-server": "2.15.1"})


@given(st.lists(verdicts, max_size=6))
def test_the_worst_run_decides(given: list[Verdict]) -> None:
    """Held only if there were runs and all held; a breach outweighs what did not converge, that what did not run."""
    found = campaign(*given)
    worst = next((one for one in ("violated", "not converged", "could not run") if one in given), None)
    assert found.verdict == (worst or ("held" if given else "could not run"))
    assert found.exit_code == EXIT_CODES[found.verdict]
    assert [one.verdict for one in found.failed] == [one for one in given if one != "held"]


@given(st.lists(verdicts, max_size=6))
def test_what_failed_can_be_repeated(given: list[Verdict]) -> None:
    """The summary and the page name the command of each run that did not hold, and of no other."""
    found = campaign(*given)
    for text in (of_campaign.markdown(found), of_campaign.html(found, PROMISES)):
        for one in found.runs:
            assert (f"{one.command}\n" in text or f"{one.command}<" in text) == (one.verdict != "held")


def test_an_interrupted_campaign_is_not_green() -> None:
    """The run that was on may be the one that failed; a breach that was seen stays one."""
    for of_runs, verdict in ((["held"], "could not run"), (["held", "violated"], "violated")):
        runs = [run(number, one) for number, one in enumerate(of_runs, start=1)]  # type: ignore[arg-type]
        found = campaign_of(runs, started_at="", wall_s=1.0, versions={}, is_whole=False)
        assert found.verdict == verdict
        assert found.reason.startswith("interrupted in a run that is not in here; ")


def test_what_was_not_played_is_told() -> None:
    """A campaign's notes say of each run what was left out of it."""
    note = "Not played: f (disk_full): no tmpfs here."
    found = campaign_of([run(1, notes=[note])], started_at="", wall_s=1.0, versions={}, notes=["Also."])
    assert found.notes == ["Also.", f"chaos-1: {note}"]
    assert note in of_campaign.markdown(found)
    assert note in of_campaign.html(found, PROMISES)


def test_numbers_are_added_up() -> None:
    """Events, deliveries, trials and faults of all runs, by kind and target; agents are not added to each other."""
    found = campaign("held", "violated")
    assert found.counts == {"events acknowledged": 200, "deliveries": 240}
    assert found.faults == {"cut": {"agent-relay": 2}, "kill": {"nats": 4}}
    assert found.guarantees == {"G1": 200, "G2": 6}
    text = of_campaign.markdown(found)
    assert "| kill |  | 4 | 4 |" in text
    assert "| faults with proof | agent-relay | nats | all |" in text


def test_the_page_escapes_and_links() -> None:
    """A reason can't become markup; each run leads to its own report."""
    page = of_campaign.html(campaign("violated"), PROMISES)
    assert "reason 1 &lt;&amp;|&gt;" in page
    assert 'href="runs/chaos-1/report/report.html"' in page


def test_junit_holds_every_run() -> None:
    """A run's own suite is taken over; a run that did not come to a report is a suite with one error."""
    suite = '<testsuite name="one" tests="8" failures="1" errors="0"><testcase name="G1"/></testsuite>'
    root = ET.fromstring(of_campaign.junit(campaign("violated", "could not run"), {"chaos-1": suite}))
    assert [one.get("name") for one in root] == ["one", "meshrelay chaos-2 seed 2"]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("9", "1", "1")
    error = root.find(".//error")
    assert error is not None
    assert error.text == "meshrelay chaos run --swarm --seed 2"


def test_the_document_is_whole() -> None:
    """What a program reads is what the pages are made of."""
    found = campaign("held", "could not run")
    assert msgspec.json.decode(encode(found), type=CampaignReport) == found
