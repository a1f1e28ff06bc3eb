"""Two reviews side by side: what changed, and what of it ends a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

import reports
from reports.options import OptionsReport
from reports.review.adr import BEGIN, END, AdrInvalid, filled
from reports.review.against import against
from reports.review.document import Review, decode, encode
from reports.review.evidence import Hunt
from reports.schema import report_schema
from tests.reports.review.test_claims import GAP, WINDOW, measured, options, outage, review


def seeds(count: int) -> OptionsReport:
    """Every promise held in so many seeds."""
    some = options()
    return msgspec.structs.replace(some, cells=[msgspec.structs.replace(one, seeds=count) for one in some.cells])


def hunt(found: int) -> Hunt:
    """A hunt of 300 seeds."""
    return Hunt(bug="a", what="", transport="cursor", start=1, seeds=found, seeds_max=found or 300)


def worse(now: Review, before: Review) -> list[str]:
    """What got worse."""
    return [one.what for one in against(now, before).changed if one.is_worse]


def test_equal_reviews_differ_in_nothing() -> None:
    """And the exit code is the review's own."""
    found = against(review(), review())
    assert found.changed == []
    assert found.exit_code == 0
    assert found.against == "commit abc, 2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "parts",
    [
        {"window": msgspec.structs.replace(WINDOW, days=3.0)},
        {"window": msgspec.structs.replace(WINDOW, lost=1)},
        {"gaps": [msgspec.structs.replace(GAP, lost=1, delivered=3)]},
        {"options": options(G4="twice")},
        {"hunts": [hunt(0)]},
        {"outages": [outage(60.0, verdict="violated", violated=("G1",))]},
    ],
    ids=["shown no more", "refuted", "lost in silence", "broken", "got away", "envelope"],
)
def test_what_got_worse_ends_with_exit_code_1(parts: dict[str, Any]) -> None:
    """A claim, a promise, a bug that gets away, an outage that breaks something sooner; and back it is no worse."""
    good = review(hunts=[hunt(3)], outages=[outage(60.0)])
    now = review(**({"hunts": [hunt(3)], "outages": [outage(60.0)]} | parts))
    assert worse(now, good)
    assert against(now, good).exit_code == 1
    assert not worse(good, now)
    assert against(good, now).changed


def test_more_seeds_are_a_change_and_no_worse() -> None:
    """The limits before and after are said."""
    found = against(review(options=seeds(2_000)), review(options=seeds(100)))
    assert found.exit_code == 0
    change = next(one for one in found.changed if one.what == "G1, C: cursor: limit")
    assert (change.before, change.now) == ("2.96 % (100 seeds)", "0.15 % (2,000 seeds)")


def test_another_option_that_breaks_is_no_worse_for_what_was_chosen() -> None:
    """It is said, and speaks for the decision."""
    good = measured(20.0, "redis")
    cells = [
        msgspec.structs.replace(one, verdict="violated", violated_in=1) if one.transport == "redis" else one
        for one in good.cells
    ]
    found = against(review(options=msgspec.structs.replace(good, cells=cells)), review(options=good))
    assert [one.is_worse for one in found.changed if one.what == "G1, B: Redis Streams"] == [False]


def test_a_claim_that_is_no_longer_made_got_worse() -> None:
    """Leaving one out is no way to pass."""
    now = review()
    assert worse(msgspec.structs.replace(now, claims=now.claims[1:]), now) == [f"claim: {now.claims[0].claim}"]


def test_a_review_survives_its_file() -> None:
    """What is written is what is read."""
    found = review(hunts=[hunt(3)], outages=[outage(60.0)], options=measured(5.0, "jetstream"))
    assert decode(encode(found)) == found


def test_a_review_has_the_published_shape() -> None:
    """Whoever reads report.json by its schema finds what it promises; another document is refused."""
    validator = Draft202012Validator(report_schema())
    found = review(hunts=[hunt(3)], outages=[outage(60.0)], options=measured(5.0, "jetstream"))
    assert list(validator.iter_errors(msgspec.json.decode(encode(found)))) == []
    assert not validator.is_valid({"schema": "meshrelay-report-1"})


ADR = f"# Decision\n\nBecause.\n\n{BEGIN}\nwhat was there\n{END}\n\nMore.\n"


def test_only_the_evidence_of_an_adr_is_written() -> None:
    """What people wrote stays, to the byte; writing twice changes nothing."""
    once = filled(ADR, review())
    head, rest = once.split(BEGIN)
    assert (head, rest.split(END)[1]) == ("# Decision\n\nBecause.\n\n", "\n\nMore.\n")
    assert "what was there" not in once
    assert "| 0 lost events | **confirmed** |" in once
    assert "| G1 | No loss | held | 100 seeds, 0 real runs | 2.96 % |" in once
    assert filled(once, review()) == once


@pytest.mark.parametrize("text", ["none", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}{END}{BEGIN}{END}"])
def test_an_adr_without_a_place_for_evidence_is_refused(text: str) -> None:
    """With what to put into it."""
    with pytest.raises(AdrInvalid, match="once each, in this order; put them where it belongs"):
        filled(text, review())


def test_the_kept_adr_has_its_evidence_from_the_report_beside_it() -> None:
    """`meshrelay adr` wrote it, and nobody else; what stands there can be compared with by --against."""
    path = Path(reports.__file__).parent / "adr" / "0001-cursor-and-replay.md"
    text, kept = path.read_text(encoding="utf-8"), decode(path.with_suffix(".json").read_bytes())
    assert filled(text, kept) == text
    assert kept.claims[0].status == "confirmed"
