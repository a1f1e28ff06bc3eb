"""Judging a history and writing its report: the two calls that commands and tests use."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from reports import statistics
from reports.campaign import NOT_PLAYED, CampaignReport
from reports.campaign import encode as encode_campaign
from reports.checkers import CHECKERS
from reports.checkers.findings import Finding, Guarantee, Judged
from reports.checkers.follow import chains_of
from reports.history import HistoryInvalid, HistoryReader, Watch, unwatched
from reports.index import Index
from reports.options import OptionsReport
from reports.options import encode as encode_options
from reports.render import campaign as of_campaign
from reports.render import html, junit, markdown
from reports.render import options as of_options
from reports.render import review as of_review
from reports.render import what_if as of_what_if
from reports.report import FindingShown, GuaranteeResult, Report, encode
from reports.review.document import Review
from reports.review.document import encode as encode_review
from reports.verdict import NOTHING_ELSE, Witnessed, decide
from reports.what_if import WhatIf
from reports.what_if import encode as encode_what_if

FINDINGS_SHOWN_MAX = 200
"""More don't help a reader; the counts are whole."""
SECOND_NS = 1_000_000_000

PROMISES: dict[Guarantee, str] = {
    Guarantee.G1: "No loss: every acknowledged event reaches its agent while each reconnect gap is within retention.",
    Guarantee.G2: "No silence: beyond retention the agent is told, exactly, and never without cause.",
    Guarantee.G3: "Order: what an agent receives rises strictly by cursor.",
    Guarantee.G4: "Once: a retried publish is stored and delivered once; a cursor brings nothing back.",
    Guarantee.G5: "Its own: an agent receives only what is addressed to it.",
    Guarantee.G6: "Progress: once faults heal, everybody is caught up within the bound.",
    Guarantee.G8: "Survival: whatever process ends, however roughly, G1 to G5 hold.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The files of a report."""

    html: Path
    markdown: Path
    json: Path
    junit: Path


def judge(history: Path, witnessed: Witnessed = NOTHING_ELSE, watch: Watch = unwatched) -> Report:
    """Judge a history, with what the run saw beside it; `watch` is told how far it was read.

    Raises HistoryInvalid with the line at fault, OSError.
    """
    reader = HistoryReader(history, watch)
    index = _indexed(reader, history)
    return judge_index(index, history.name, witnessed, torn_bytes=len(reader.torn or b""))


def judge_index(index: Index, history: str, witnessed: Witnessed = NOTHING_ELSE, *, torn_bytes: int = 0) -> Report:
    """Judge an indexed history; `history` is its file's name. Raises HistoryInvalid."""
    run = index.run
    chains = chains_of(index)
    judged = [check(index, chains) for check in CHECKERS]
    faults = statistics.faults(index)
    decision = decide(index, judged, faults, witnessed)
    reconnects = statistics.reconnects(index)
    findings = sorted((found for one in judged for found in one), key=lambda found: (found.t_ns, found.kind))
    healed_ns, converged_ns = index.phase_ns("healed"), index.phase_ns("converged")
    notes = [f"{NOT_PLAYED}{one}." for one in index.witness.left_out]
    notes += index.witness.notes
    notes += [f"The history ends in a torn line of {torn_bytes} bytes, left out."] if torn_bytes else []
    return Report(
        verdict=decision.verdict,
        reason=decision.reason,
        exit_code=decision.exit_code,
        plan=run.plan,
        seed=run.seed,
        world=run.world,
        command=shlex.join(run.command) or f"meshrelay report --history {history}",
        started_at=run.started_at,
        duration_s=round(index.counts.last_ns / SECOND_NS, 3),
        retention_critical_s=run.retention_ns.critical / SECOND_NS,
        retention_standard_s=run.retention_ns.standard / SECOND_NS,
        counts=statistics.counts(index, reconnects),
        guarantees=_results(judged, index),
        findings=[_shown(found) for found in findings[:FINDINGS_SHOWN_MAX]],
        findings_omitted=sum(one.counts.total() for one in judged) - min(len(findings), FINDINGS_SHOWN_MAX),
        faults=faults,
        kills_s=statistics.kills_s(index),
        healed_s=None if healed_ns is None else round(healed_ns / SECOND_NS, 3),
        converged_s=None if converged_ns is None else round(converged_ns / SECOND_NS, 3),
        timeline=statistics.timeline(index),
        slice_s=statistics.slice_s(index),
        gaps=[one.shown() for one in reconnects],
        latency=statistics.latency(index),
        versions=run.versions,
        notes=[*notes, *_limits(index)],
        history=history,
    )


def _indexed(reader: HistoryReader, history: Path) -> Index:
    """The history's index. Raises HistoryInvalid: every line is a record, so the line read last is the one at fault."""
    try:
        return Index.of(reader)
    except HistoryInvalid as error:
        text, place = str(error), f"{history}:"
        raise HistoryInvalid(text if text.startswith(place) else f"{place}{reader.line}: {text}") from None


def write_report(report: Report, out: Path) -> Written:
    """Write a report's renderings into a folder, made if need be. Raises OSError."""
    return _written(
        out, page=html.render(report), text=markdown.render(report), document=encode(report), cases=junit.render(report)
    )


def _written(out: Path, *, page: str, text: str, document: bytes, cases: str) -> Written:
    """Four renderings of one value, in a folder that is made if need be. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    written = Written(
        html=out / "report.html", markdown=out / "report.md", json=out / "report.json", junit=out / "junit.xml"
    )
    written.html.write_text(page, encoding="utf-8")
    written.markdown.write_text(text, encoding="utf-8")
    written.json.write_bytes(document)
    written.junit.write_text(cases, encoding="utf-8")
    return written


def write_campaign(campaign: CampaignReport, suites: Mapping[str, str], out: Path) -> None:
    """Write a campaign's renderings into a folder, made if need be; `suites` are the runs' JUnit, by plan.

    Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.html").write_text(
        of_campaign.html(campaign, {one.value: text for one, text in PROMISES.items()}), encoding="utf-8"
    )
    (out / "summary.md").write_text(of_campaign.markdown(campaign), encoding="utf-8")
    (out / "campaign.json").write_bytes(encode_campaign(campaign))
    (out / "junit.xml").write_text(of_campaign.junit(campaign, suites), encoding="utf-8")


ALL_PROMISES = {one.value: text for one, text in PROMISES.items()} | {
    "G7": "Bounded: everything has a limit; over it the answer is an honest 503 or 429."
}
"""Also the one that a history can't show."""


def write_options(report: OptionsReport, out: Path) -> None:
    """Write the options' comparison into a folder, made if need be. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.html").write_text(of_options.html(report, ALL_PROMISES), encoding="utf-8")
    (out / "compare.md").write_text(of_options.markdown(report), encoding="utf-8")
    (out / "compare.json").write_bytes(encode_options(report))


def write_review(review: Review, out: Path) -> Written:
    """Write a review's renderings into a folder, made if need be. Raises OSError."""
    return _written(
        out,
        page=of_review.html(review),
        text=of_review.markdown(review),
        document=encode_review(review),
        cases=of_review.junit(review),
    )


def write_what_if(found: WhatIf, out: Path) -> None:
    """Write a comparison of a window's variants into a folder, made if need be. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    promises = {one.value: text.partition(":")[0] for one, text in PROMISES.items()}
    (out / "index.html").write_text(of_what_if.html(found, promises), encoding="utf-8")
    (out / "what-if.md").write_text(of_what_if.markdown(found), encoding="utf-8")
    (out / "what-if.json").write_bytes(encode_what_if(found))


def _results(judged: Sequence[Judged], index: Index) -> list[GuaranteeResult]:
    """One a guarantee; survival only if something ended, and then it has held only if all the others have."""
    results = [_result(one, index) for one in judged]
    is_broken = any(one.verdict == "violated" for one in results)
    return [
        msgspec.structs.replace(one, verdict="violated" if is_broken else "held")
        if one.guarantee == Guarantee.G8
        else one
        for one in results
        if one.guarantee != Guarantee.G8 or one.trials
    ]


def _result(judged: Judged, index: Index) -> GuaranteeResult:
    trials = list(judged.trials.items())
    lead = next((place for place, (_, count) in enumerate(trials) if count), 0)
    (name, count), *rest = trials[lead], *trials[:lead], *trials[lead + 1 :]
    verdict: Literal["held", "violated", "not converged", "not tried"]
    if judged.counts.total():
        verdict = "not converged" if judged.guarantee is Guarantee.G6 else "violated"
    elif not judged.is_tried or (judged.guarantee is Guarantee.G6 and index.phase_ns("converged") is None):
        verdict = "not tried"
    else:
        verdict = "held"
    return GuaranteeResult(
        guarantee=judged.guarantee.value,
        promise=PROMISES[judged.guarantee],
        verdict=verdict,
        trials=count,
        trial="; ".join([name, *(f"{count:,} {name}" for name, count in rest)]),
        findings=judged.counts.total(),
    )


def _shown(found: Finding) -> FindingShown:
    return FindingShown(
        guarantee=found.guarantee.value,
        kind=found.kind.value,
        agent=found.agent,
        event=found.event_id,
        cursor=found.cursor,
        at_s=round(found.t_ns / SECOND_NS, 3),
        detail=found.detail,
        evidence=list(found.evidence),
    )


def _limits(index: Index) -> list[str]:
    kills = len(statistics.kills_s(index))
    slack_s = index.run.slack_ns / SECOND_NS
    return [
        f"G8 (survival) is G1 to G5 of this run, which had {kills} SIGKILLs of the relay. "
        "G7 (limits) is not in a history.",
        f"An event's age is known to {slack_s:g} s: within that of its retention, an expiry is neither early nor late.",
    ]
