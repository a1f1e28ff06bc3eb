"""The ADR's evidence: a section of it that is written from a review, between two marks, and nothing else of it."""

from __future__ import annotations

from reports.options import CHOSEN, OPTIONS
from reports.render import costs, envelope, kept
from reports.review.bounds import share
from reports.review.document import Promise, Review

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
        *_promises(review),
        "",
        *_against(review),
        "What would change the decision:",
        "",
        *(f"- {one}" for one in review.answer.changes),
        "",
    ]
    if review.envelope:
        lines += ["How long each part may be away, over each option that was tried:", ""]
        lines += envelope.markdown(review.envelope)
    table = costs.markdown(review.options)
    if table:
        lines += ["Cost by the number of agents:", "", *table]
    return "\n".join([*lines, *kept.markdown(review.kept), ""])


def _promises(review: Review) -> list[str]:
    """The promises of what was chosen with their trials, and beside them how the other options fared."""
    others = [name for name in OPTIONS if name != CHOSEN and any(one.transport == name for one in review.promises)]
    found = {(one.guarantee, one.transport): one for one in review.promises}
    limit = f"broken by fewer than ({share(review.confidence)} confidence)"
    heads = ["", "promise", OPTIONS[CHOSEN], "trials", limit, *(OPTIONS[name] for name in others)]
    lines = ["| " + " | ".join(heads).lstrip() + " |", "|---" * len(heads) + "|"]
    for one in review.promises:
        if one.transport == CHOSEN:
            beside = [_beside(found.get((one.guarantee, name))) for name in others]
            lines.append("| " + " | ".join([*_promise(one), *beside]) + " |")
    return lines


def _promise(one: Promise) -> list[str]:
    limit = "—" if one.simulated.upper_limit is None else share(one.simulated.upper_limit)
    trials = f"{one.simulated.trials:,} seeds, {one.real.trials:,} real runs"
    return [one.guarantee, one.promise.partition(":")[0], _verdict(one), trials, limit]


def _beside(one: Promise | None) -> str:
    if one is None:
        return "not run"
    return f"{_verdict(one)} ({one.simulated.failures:,} of {one.simulated.trials:,} seeds)"


def _verdict(one: Promise) -> str:
    away = f" with {'; '.join(one.away)}" if one.away else ""
    return one.verdict if one.verdict == "held" else f"**{one.verdict}**{away}"


def _against(review: Review) -> list[str]:
    """What the evidence has against the options that were not chosen: the promises that they broke, and how."""
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    for one in review.promises:
        if one.transport != CHOSEN and one.verdict in ("violated", "not offered"):
            grouped.setdefault((one.transport, one.verdict, one.why, one.command), []).append(one.guarantee)
    if not grouped:
        return []
    lines = ["Against the other options, beside what they cost:", ""]
    for (option, verdict, why, command), names in grouped.items():
        again = f" (`{command}`)" if command else ""
        lines.append(f"- {OPTIONS[option]}: {', '.join(names)} {verdict}. {why}{again}")
    return [*lines, ""]
