"""The ADR's evidence: a section of it that is written from a review, between two marks, and nothing else of it."""

from __future__ import annotations

from reports.options import CHOSEN, OPTIONS
from reports.review.bounds import share
from reports.review.document import Promise, Review
from reports.review.words import duration

BEGIN = "<!-- evidence: written by `meshrelay adr`; what is between the marks is overwritten -->"
END = "<!-- /evidence -->"


class AdrInvalid(ValueError):
    """A file has no place for evidence."""


def filled(adr: str, review: Review) -> str:
    """The ADR with its evidence from a review. Raises AdrInvalid if it has not both marks once, in their order."""
    if adr.count(BEGIN) != 1 or adr.count(END) != 1 or adr.index(BEGIN) > adr.index(END):
        raise AdrInvalid(
            f"expected the lines {BEGIN!r} and {END!r} once each, in this order; put them where it belongs"
        )
    before, rest = adr.split(BEGIN)
    return f"{before}{BEGIN}\n{evidence(review)}{END}{rest.split(END)[1]}"


def evidence(review: Review) -> str:
    """The section's text; equal reviews give equal text."""
    run = review.provenance
    lines = [
        "",
        f"From the report of {run.started_at[:10]}, commit `{run.commit or 'unknown'}`"
        + (f", with the planted bug `{run.bug}`." if run.bug else "."),
        "",
        f"**{review.answer.right[0]}**",
        "",
        *(f"- {one}" for one in (*review.answer.right[1:], *review.answer.sure)),
        "",
        "| claim | status | rests on | again |",
        "|---|---|---|---|",
        *(f"| {one.claim} | **{one.status}** | {one.evidence[0]} | `{one.command}` |" for one in review.claims),
        "",
        f"| | promise | {OPTIONS[CHOSEN]} | trials | broken by fewer than ({share(review.confidence)} confidence) |",
        "|---|---|---|---|---|",
        *(_promise(one) for one in review.promises if one.transport == CHOSEN),
        "",
        "What would change the decision:",
        "",
        *(f"- {one}" for one in review.answer.changes),
        "",
    ]
    rows = [row for row in review.envelope if row.transport == CHOSEN]
    if rows:
        lines += ["| away | nothing gone up to | told gone from | broken from |", "|---|---|---|---|"]
        for row in rows:
            told, broken = ("never" if one is None else duration(one) for one in (row.told_s, row.broken_s))
            safe = "—" if row.nothing_gone_s is None else duration(row.nothing_gone_s)
            lines.append(f"| {row.what} | {safe} | {told} | {broken} |")
        lines.append("")
    return "\n".join([*lines, ""])


def _promise(one: Promise) -> str:
    limit = "—" if one.simulated.upper_limit is None else share(one.simulated.upper_limit)
    trials = f"{one.simulated.trials:,} seeds, {one.real.trials:,} real runs"
    return f"| {one.guarantee} | {one.promise.partition(':')[0]} | {one.verdict} | {trials} | {limit} |"
