"""The numbers of a report are those of the history."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.statistics import SLICES_MAX
from tests.reports.stories import good, idle, report_of
from tests.reports.story import Story


class TestStatistics:
    """The numbers."""

    def test_counts(self, tmp_path: Path) -> None:
        """The first screen's numbers are those of the history."""
        counts = report_of(good(), tmp_path).counts
        assert counts["events acknowledged"] == 4
        assert counts["deliveries"] == 3
        assert counts["replays"] == 1
        assert (counts["gaps told"], counts["410s told"]) == (1, 0)
        assert counts["relay kills"] == 1
        assert counts["faults with proof"] == 1

    def test_a_reconnect_and_what_it_brought(self, tmp_path: Path) -> None:
        """A reconnect is as long as the agent was away, and its outcome is the worst that it was told."""
        (reconnect,) = report_of(good(), tmp_path).gaps
        assert reconnect.agent == "a"
        assert 50 < reconnect.away_s < 52
        assert reconnect.outcome == "gap"

    def test_latency_is_of_live_events_only(self, tmp_path: Path) -> None:
        """An event that was published while its agent was away does not count as latency."""
        latency = report_of(good(), tmp_path).latency
        assert latency is not None
        assert latency.count == 2
        assert latency.max_ms == pytest.approx(200)
        assert sum(latency.counts) == latency.count

    def test_the_timeline_is_bounded_and_whole(self, tmp_path: Path) -> None:
        """Three weeks fit into a bounded number of slices, and every publish and delivery is in one."""
        story = Story(critical_s=3_000_000, standard_s=3_000_000)
        story.connect("a", "earliest")
        for number in range(20):
            story.publish(f"e{number}", "a")
            story.deliver("a", f"e{number}")
            story.wait(86_400)
        story.converge()
        report = report_of(story, tmp_path)
        assert len(report.timeline) <= SLICES_MAX
        assert report.slice_s > 1
        assert sum(one.published for one in report.timeline) == 20
        assert sum(one.delivered for one in report.timeline) == 20
        assert report.timeline[-1].at_s <= report.duration_s < report.timeline[-1].at_s + report.slice_s

    def test_faults_with_and_without_proof(self, tmp_path: Path) -> None:
        """Every fault that was asked for is listed, with whether it took effect."""
        shown = {fault.id: fault.effective for fault in report_of(idle(), tmp_path).faults}
        assert shown == {"f1": True, "f2": False}
