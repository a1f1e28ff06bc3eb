"""Findings: every class has its history, and a flood of them is bounded."""

from __future__ import annotations

from pathlib import Path

from reports.checkers.findings import GUARANTEE_OF, KEPT_PER_KIND_MAX, Kind
from tests.reports.story import Story


def test_every_kind_is_hit_by_a_test_here() -> None:
    """No class of findings is without a history that hits it."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [kind.name for kind in Kind if f"Kind.{kind.name}" not in text] == []
    assert set(GUARANTEE_OF) == set(Kind)


def test_a_flood_of_findings_is_counted_and_bounded() -> None:
    """All findings are counted, and no more than the limit of a kind is kept."""
    story = Story(critical_s=10_000)
    story.connect("a", "earliest")
    for number in range(KEPT_PER_KIND_MAX + 50):
        story.publish(f"e{number}", "a")
    story.deliver("a", f"e{KEPT_PER_KIND_MAX + 49}")
    loss = story.judged()[0]
    assert loss.counts == {Kind.LOST_PREFIX: KEPT_PER_KIND_MAX + 49}
    assert len(loss.kept) == KEPT_PER_KIND_MAX
