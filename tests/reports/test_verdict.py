"""The verdict and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports import api
from reports.history import HistoryInvalid, Run
from reports.verdict import Witnessed
from tests.reports.stories import good, idle, lossy, report_of, silent, stuck, written
from tests.reports.story import Story


class TestVerdict:
    """The verdict and its exit code."""

    def test_held(self, tmp_path: Path) -> None:
        """A run that took place as asked and broke nothing is held, with exit code 0."""
        report = report_of(good(), tmp_path)
        assert (report.verdict, report.exit_code, report.findings) == ("held", 0, [])
        assert [one.verdict for one in report.guarantees] == ["held"] * 6

    def test_violated(self, tmp_path: Path) -> None:
        """One lost event is a violation of G1 and of nothing else, with exit code 1."""
        report = report_of(lossy(), tmp_path)
        assert (report.verdict, report.exit_code) == ("violated", 1)
        assert {one.guarantee: one.verdict for one in report.guarantees if one.verdict != "held"} == {"G1": "violated"}
        assert [(found.kind, found.event) for found in report.findings] == [("lost-middle", "e3")]
        assert "G1 (1 lost-middle)" in report.reason

    def test_a_fault_without_effect_is_not_held(self, tmp_path: Path) -> None:
        """A run that did not suffer what was asked could not run as asked: exit code 4, the fault named."""
        report = report_of(idle(), tmp_path)
        assert (report.verdict, report.exit_code) == ("could not run", 4)
        assert "f2 (latency on relay-nats)" in report.reason

    def test_a_violation_outweighs_a_fault_without_effect(self, tmp_path: Path) -> None:
        """What was broken is broken, whatever else did not take place."""
        story = lossy()
        story.fault("f2", "asked")
        assert report_of(story, tmp_path).verdict == "violated"

    def test_not_converged(self, tmp_path: Path) -> None:
        """A run that breaks nothing but G6 has not converged: exit code 3."""
        report = report_of(stuck(), tmp_path)
        assert (report.verdict, report.exit_code) == ("not converged", 3)
        assert {one.guarantee for one in report.guarantees if one.findings} == {"G6"}

    def test_a_relay_that_delivers_nothing_has_not_converged(self, tmp_path: Path) -> None:
        """Nothing else was put to the test, but that agents wait for what was acknowledged is a fact: no idle run."""
        report = report_of(silent(), tmp_path)
        assert (report.verdict, report.exit_code) == ("not converged", 3)
        assert "1 not-caught-up" in report.reason

    def test_the_runs_word_alone_is_not_enough(self, tmp_path: Path) -> None:
        """A run that says converged while pg-writer still had work has not converged."""
        story = good()
        story.writer(pending=5)
        report = report_of(story, tmp_path)
        assert (report.verdict, report.exit_code) == ("not converged", 3)
        assert "1 writer-pending" in report.reason

    @pytest.mark.parametrize(
        ("witnessed", "verdict"),
        [
            (Witnessed(broken=("the relay ended by itself",)), "violated"),
            (Witnessed(useless=("a step was taken 9 s late",)), "could not run"),
        ],
    )
    def test_what_the_run_saw_beside_its_history(self, tmp_path: Path, witnessed: Witnessed, verdict: str) -> None:
        """What only the run itself can know turns a good history's verdict, in its words."""
        report = api.judge(written(good(), tmp_path), witnessed)
        assert report.verdict == verdict
        assert (witnessed.broken + witnessed.useless)[0] in report.reason

    def test_a_run_that_was_cut_off_is_not_held(self, tmp_path: Path) -> None:
        """A history that ends before its convergence proves none."""
        story = good()
        story.records = [r for r in story.records if type(r).__name__ != "Phase"]
        report = report_of(story, tmp_path)
        assert report.exit_code in (3, 4)

    @pytest.mark.parametrize("what", ["nothing", "no deliveries"])
    def test_an_empty_run_is_not_held(self, tmp_path: Path, what: str) -> None:
        """Without events or without deliveries nothing was put to the test."""
        story = Story()
        if what == "no deliveries":
            story.publish("e1", "a")
        story.converge()
        assert report_of(story, tmp_path).verdict == "could not run"

    def test_a_history_without_its_run_is_refused(self, tmp_path: Path) -> None:
        """What was promised is unknown, so nothing is judged."""
        story = good()
        story.records = [r for r in story.records if not isinstance(r, Run)]
        with pytest.raises(HistoryInvalid, match="expected a 'run' record"):
            report_of(story, tmp_path)

    def test_a_torn_end_is_told(self, tmp_path: Path) -> None:
        """A torn last line is left out, and the reader of the report is told."""
        path = written(good(), tmp_path)
        path.write_bytes(path.read_bytes() + b'{"kind":"sav')
        assert any("torn line" in note for note in api.judge(path).notes)
