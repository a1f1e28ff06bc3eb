"""From evidence to the review: pure, so that equal evidence gives equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from reports.option_words import sentence_of
from reports.options import CHOSEN
from reports.review.answer import answer_of
from reports.review.bounds import CONFIDENCE
from reports.review.claims import claims_of
from reports.review.document import Claim, GapRow, Promise, Review
from reports.review.evidence import Evidence
from reports.review.tables import (
    counts_of,
    envelope_rows,
    fault_totals,
    gap_rows,
    gap_totals,
    kept_of,
    power_of,
    promises_of,
    real_runs,
)

HELD, VIOLATED, NOT_SHOWN = 0, 1, 4


def review_of(evidence: Evidence, promises: Mapping[str, str], commands: Mapping[str, str]) -> Review:
    """The review of some evidence; `promises` are the guarantees' texts, `commands` say by part what finds it again."""
    kept = promises_of(evidence.options.cells, evidence.real, promises, evidence.outages)
    gaps, power = gap_rows(evidence.gaps), power_of(evidence.hunts)
    envelope = envelope_rows(evidence.outages)
    claims = claims_of(evidence, kept, gaps)
    faults = fault_totals(evidence.covered)
    verdict = _verdict(kept, claims, gaps)
    return Review(
        verdict=verdict,
        exit_code={"held": HELD, "violated": VIOLATED, "not shown": NOT_SHOWN}[verdict],
        confidence=CONFIDENCE,
        answer=answer_of(evidence, kept, claims, gaps, envelope, power),
        promises=kept,
        claims=claims,
        window=evidence.window,
        gaps=gaps,
        envelope=envelope,
        outages=evidence.outages,
        covered=evidence.covered,
        never=evidence.never,
        marks=evidence.marks,
        power=power,
        real=real_runs(evidence.real),
        plans=evidence.plans,
        options=evidence.options,
        comparisons=[sentence_of(one) for one in (*evidence.options.crossings, *evidence.options.replay_crossings)],
        not_modelled=evidence.not_modelled,
        commands=dict(commands),
        missing=_missing(evidence),
        origins={
            part: f"{one.started_at[:10] or 'day unknown'}, commit {one.commit or 'unknown'}"
            for part, one in evidence.origins.items()
        },
        kept=kept_of(evidence.origins),
        provenance=evidence.provenance,
        gap_totals=gap_totals(gaps),
        fault_totals=faults,
        counts=counts_of(evidence, faults),
    )


def _verdict(
    promises: Sequence[Promise], claims: Sequence[Claim], gaps: Sequence[GapRow]
) -> Literal["held", "violated", "not shown"]:
    """Of what was chosen: a promise, or a claim that a promise stands behind, is broken by a single run."""
    ours = [one for one in promises if one.transport == CHOSEN]
    behind = {"suffices", "events", "lost", "redeliveries", "pending", "stale-redispatches", "retention"}
    if any(one.verdict == "violated" for one in ours) or any(
        one.name in behind and one.status == "refuted" for one in claims
    ):
        return "violated"
    if any(row.lost for row in gaps if row.transport == CHOSEN):
        return "violated"
    return "held" if any(one.verdict == "held" for one in ours) else "not shown"


def _missing(evidence: Evidence) -> list[str]:
    """What nothing is known of; never silently."""
    parts = {
        "the quiet window": evidence.window,
        "reconnect gaps near the edges of retention": evidence.gaps,
        "outages": evidence.outages,
        "planted bugs": evidence.hunts,
        "runs on the real stack": evidence.real or any(cell.real_runs for cell in evidence.options.cells),
        "plans played in both worlds": evidence.plans,
        "marks": evidence.marks,
        "the coverage of faults": evidence.covered,
    }
    return [name for name, part in parts.items() if not part] + evidence.left_out + evidence.options.missing
