"""The review for people: a page whose first screen has the answer, Markdown for a pull request, JUnit for CI."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from markupsafe import Markup

from reports.options import CHOSEN, METRICS, OPTIONS, REPLAY_WORDS
from reports.render import costs as of_costs
from reports.render import envelope, kept
from reports.render.markdown import MARKS
from reports.render.numbers import spread
from reports.render.pages import rendered
from reports.review.bounds import share
from reports.review.document import Promise, Review
from reports.review.words import PARTS, duration

STATUS = {"confirmed": "✅", "played": "▶️", "refuted": "❌", "not shown": "⚠️"}


def html(review: Review) -> str:
    """One self-contained page; equal reviews give equal pages."""
    return rendered(
        "review.html.j2",
        r=review,
        chosen=CHOSEN,
        names=OPTIONS,
        options=shown_options(review),
        promises=by_guarantee(review),
        trials=trials,
        retentions=_retentions(review),
        duration=duration,
        share=share,
        whom=PARTS,
        envelope=[(row, envelope.cells(row)) for row in review.envelope],
        envelope_heads=envelope.HEADS,
        kept_version=kept.version,
        cost_tables=of_costs.tables(review.options),
        cost_count=len(METRICS),
        spread=spread,
        pictures=_pictures(review),
        costs=_costs(review),
        crossings=review.comparisons,
    )


def shown_options(review: Review) -> list[str]:
    """The options that anything is known of, in their order."""
    found = {one.transport for one in review.promises}
    return [name for name in OPTIONS if name in found]


def by_guarantee(review: Review) -> list[tuple[str, str, list[Promise]]]:
    """The table's lines: each guarantee, its promise in a word, its cells in the options' order."""
    names = list(dict.fromkeys(one.guarantee for one in review.promises))
    found = {(one.guarantee, one.transport): one for one in review.promises}
    options = shown_options(review)
    lines = []
    for name in names:
        cells = [found[name, option] for option in options if (name, option) in found]
        lines.append((name, cells[0].promise.partition(":")[0], cells))
    return lines


def trials(promise: Promise) -> str:
    """What one verdict rests on: never a bare word."""
    seen, real = promise.simulated, promise.real
    parts = []
    if seen.trials and seen.upper_limit is not None:
        parts.append(f"{seen.failures:,} of {seen.trials:,} seeds broke it, limit {share(seen.upper_limit)}")
    if real.trials:
        parts.append(f"{real.failures:,} of {real.trials:,} real runs")
    if promise.away:
        parts.append(f"broken with {'; '.join(promise.away)}")
    return "; ".join(parts) or "no trial"


def markdown(review: Review) -> str:
    """The answer first, then claims and promises, then the tables that a reviewer asks for."""
    run = review.provenance
    broken = f" The relay was broken on purpose: `{run.bug}`." if run.bug else ""
    lines = [f"## {MARKS.get(review.verdict, '⚠️')} {review.answer.right[0]}", ""]
    lines += [f"{run.started_at}, commit `{run.commit or 'unknown'}`.{broken}", ""]
    for title, answers in (
        ("Is it still right?", review.answer.right[1:]),
        ("How sure are we?", review.answer.sure),
        ("What would change our mind?", review.answer.changes),
    ):
        lines += [f"**{title}**", "", *(f"- {one}" for one in answers), ""]
    if review.changed:
        lines += [f"### What changed since {review.against}", "", "| | before | now |", "|---|---|---|"]
        lines += [f"| {'❌ ' if one.is_worse else ''}{one.what} | {one.before} | {one.now} |" for one in review.changed]
        lines.append("")
    lines += ["### The ADR's claims", "", "| claim | | rests on |", "|---|---|---|"]
    lines += [
        f"| {one.claim} | {STATUS[one.status]} {one.status} | {one.evidence[0]} `{one.command}` |"
        for one in review.claims
    ]
    lines += ["", "### What each option keeps", ""]
    options = shown_options(review)
    lines += ["| | " + " | ".join(OPTIONS[one] for one in options) + " |", "|---" * (len(options) + 1) + "|"]
    for name, promise, cells in by_guarantee(review):
        shown = [f"{MARKS.get(one.verdict, '⚠️')} {one.verdict} ({trials(one)})" for one in cells]
        lines.append(f"| **{name}** {promise} | " + " | ".join(shown) + " |")
    lines.append("")
    for one in review.promises:
        if one.verdict in ("violated", "not offered"):
            lines += [f"**{one.guarantee}, {OPTIONS[one.transport]}: {one.verdict}**: {one.why}", ""]
            lines += ["```", one.command, "```", ""]
    return "\n".join([*lines, *_tables(review)]).rstrip() + "\n"


def _tables(review: Review) -> list[str]:
    lines: list[str] = []
    if review.envelope:
        lines += ["### How long may each part be away?", ""]
        lines += envelope.markdown(review.envelope)
    table = of_costs.markdown(review.options)
    if table:
        lines += ["### What each option costs by the number of agents", "", *table]
        lines += [*(f"- {one}" for one in review.comparisons if OPTIONS[CHOSEN] in one), ""]
    lines += [f"> not measured: {what}\n" for what in review.missing]
    lines += kept.markdown(review.kept)
    return [*lines, *(f"`{command}`: {what}\n" for what, command in review.commands.items())]


def junit(review: Review) -> str:
    """One case for each claim and each promise of what was chosen, so that a CI service shows what failed."""
    ours = [one for one in review.promises if one.transport == CHOSEN]
    suite = ET.Element("testsuite", name="meshrelay report", timestamp=review.provenance.started_at)
    failures = errors = 0
    for promise in ours:
        name = f"{promise.guarantee}: {promise.promise}"
        case = ET.SubElement(suite, "testcase", classname="meshrelay.promises", name=name)
        if promise.verdict == "violated":
            failures += 1
            ET.SubElement(case, "failure", message=promise.why, type="violated").text = promise.command
        elif promise.verdict != "held":
            errors += 1
            ET.SubElement(case, "error", message=promise.verdict, type=promise.verdict).text = promise.command
    for claim in review.claims:
        case = ET.SubElement(suite, "testcase", classname="meshrelay.claims", name=claim.claim)
        if claim.status == "refuted":
            failures += 1
            ET.SubElement(case, "failure", message=claim.evidence[0], type="refuted").text = claim.command
        elif claim.status == "not shown":
            ET.SubElement(case, "skipped", message=claim.evidence[0])
    suite.set("tests", str(len(ours) + len(review.claims)))
    suite.set("failures", str(failures))
    suite.set("errors", str(errors))
    ET.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _retentions(review: Review) -> str:
    kept = sorted({(one.retention_class, one.retention_s) for one in review.gaps})
    return ", ".join(f"{name} {duration(seconds)}" for name, seconds in kept)


def _pictures(review: Review) -> dict[str, Markup]:
    # the plotting library is slow to load, and every command would wait for it
    from reports.render import review_charts as charts

    found = {
        "gaps": charts.gaps(review.gaps, review.gap_totals) if review.gaps else "",
        "envelope": charts.envelope(review.envelope) if review.envelope else "",
        "covered": charts.covered(review.fault_totals, review.counts) if review.fault_totals else "",
    }
    return {name: Markup(picture) for name, picture in found.items()}


def _costs(review: Review) -> list[tuple[str, Markup]]:
    from reports.render import curves

    rows = review.options.rows
    found = [
        (what, Markup(curves.costs(metric, what, [row for row in rows if row.metric == metric])))
        for metric, what in METRICS.items()
        if any(row.metric == metric for row in rows)
    ]
    if review.options.replays:
        over = f"{REPLAY_WORDS}; by the number of events missed, not of agents, so none of the {len(METRICS)} costs"
        found.append((over, Markup(curves.replays(review.options.replays))))
    if review.options.simulated_replays:
        found.append(("simulated replay of a gap, ms", Markup(curves.counted(review.options.simulated_replays))))
    return found
