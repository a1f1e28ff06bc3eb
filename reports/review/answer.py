"""The first screen: is the decision still right, how sure are we, what would change our mind; nothing is typed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from reports.options import CHOSEN, OPTIONS
from reports.review.bounds import share
from reports.review.document import Answer, Claim, EnvelopeRow, GapRow, Power, Promise
from reports.review.evidence import Evidence
from reports.review.words import duration, listed

WORDS = {
    "nats": "NATS",
    "postgres": "Postgres",
    "redis": "Redis",
    "relay": "every replica of the relay",
    "leader": "the leading replica",
    "agent": "an agent",
}


def answer_of(
    evidence: Evidence,
    promises: Sequence[Promise],
    claims: Sequence[Claim],
    gaps: Sequence[GapRow],
    envelope: Sequence[EnvelopeRow],
    power: Sequence[Power],
) -> Answer:
    """The three answers, drawn from the tables that stand below them."""
    chosen = [one for one in promises if one.transport == CHOSEN]
    return Answer(
        right=[*_right(chosen, promises), *_claims(claims)],
        sure=_sure(evidence, chosen, gaps, power),
        changes=_changes(evidence, claims, [row for row in envelope if row.transport == CHOSEN], power),
    )


def _right(chosen: Sequence[Promise], promises: Sequence[Promise]) -> list[str]:
    name = OPTIONS[CHOSEN]
    broken = [one for one in chosen if one.verdict in ("violated", "not offered")]
    held = [one.guarantee for one in chosen if one.verdict == "held"]
    untried = [one.guarantee for one in chosen if one.verdict == "not run"]
    if broken:
        return [f"No: {name} broke {listed([one.guarantee for one in broken], 8)}. {broken[0].why}"]
    if not held:
        return [f"Nothing can be said of the decision for {name}: none of its promises was put to the test."]
    more = [
        f"{one.guarantee} ({OPTIONS[one.transport]})"
        for one in promises
        if one.transport != CHOSEN and one.verdict == "held" and one.guarantee in untried
    ]
    if untried:
        tail = f"; others kept {listed(more)} of these" if more else ""
        return [f"As far as was tried, yes: {name} kept {listed(held, 8)}; {listed(untried)} not tried{tail}."]
    others = {one.transport for one in promises if one.transport != CHOSEN and one.verdict != "not run"}
    less = sorted({OPTIONS[one.transport] for one in promises if one.verdict in ("violated", "not offered")})
    beside = "no option that was tried beside it keeps more" if others else "no other option was tried beside it"
    gives_less = f", and {listed(less)} gives less" if less else ""
    return [f"Yes: {name} kept all of {held[0]} to {held[-1]} wherever they were tried; {beside}{gives_less}."]


def _claims(claims: Sequence[Claim]) -> list[str]:
    count = {status: [one for one in claims if one.status == status] for status in ("confirmed", "refuted")}
    lines = [
        f"Of the ADR's {len(claims)} claims {len(count['confirmed'])} are confirmed, {len(count['refuted'])} refuted, "
        f"{len(claims) - sum(map(len, count.values()))} not shown."
    ]
    return lines + [f"Refuted: {one.claim}. {one.evidence[0]}" for one in count["refuted"]]


def _sure(evidence: Evidence, chosen: Sequence[Promise], gaps: Sequence[GapRow], power: Sequence[Power]) -> list[str]:
    tried = [one for one in chosen if one.simulated.upper_limit is not None]
    lines = [_seeds(tried)] if tried else []
    runs = max((one.real.trials for one in chosen), default=0)
    broken = sum(one.real.failures for one in chosen)
    lines.append(
        f"{runs:,} runs on the real stack, {broken:,} of which broke a promise."
        if runs
        else "No run on the real stack."
    )
    return [*lines, *_gaps(gaps), *_power(power), *_worlds(evidence), *_reached(evidence)]


def _seeds(tried: Sequence[Promise]) -> str:
    """How often plans broke something, and how sure that makes one of the promise that was tried least."""
    most = max(one.simulated.trials for one in tried)
    failures = sum(one.simulated.failures for one in tried)
    if failures:
        return f"{failures:,} breaches of promises in {most:,} simulated plans."
    least = min(tried, key=lambda one: one.simulated.trials)
    others = [one for one in tried if one.simulated.trials > least.simulated.trials]
    limit = share(least.simulated.upper_limit or 0)
    said = f"None of {most:,} simulated plans broke a promise: with 95 % confidence fewer than "
    if not others:
        return f"{said}{limit} of plans drawn alike break any one of them."
    usual = share(max(one.simulated.upper_limit or 0 for one in others))
    return (
        f"{said}{usual} of plans drawn alike break any one of {len(others)} of them; for {least.guarantee}, the least "
        f"tried ({least.simulated.trials:,} plans), {limit}."
    )


def _gaps(gaps: Sequence[GapRow]) -> list[str]:
    ours = [row for row in gaps if row.transport == CHOSEN]
    if not ours:
        return []
    agents, lost = sum(row.agents for row in ours), sum(row.lost for row in ours)
    return [f"{agents:,} absences of {_span(ours)}, most near an edge of retention: {lost:,} events lost in silence."]


def _span(rows: Sequence[GapRow]) -> str:
    lengths = [row.gap_s for row in rows]
    return f"{duration(min(lengths))} to {duration(max(lengths))}"


def _power(power: Sequence[Power]) -> list[str]:
    done = [one for one in power if one.caught or one.unfinished < one.starts]
    if not done:
        return ["No planted bug was hunted: nothing is known of what would have been found."]
    caught = [one for one in done if one.caught and one.caught + one.unfinished == one.starts]
    medians = [one.seeds.median for one in caught if one.seeds is not None]
    after = f", each after {statistics.median(medians):g} seeds in the median" if medians else ""
    given_up = len(power) - len(done)
    unfinished = f"; {given_up} hunts were given up for want of time" if given_up else ""
    return [f"The judge found {len(caught)} of {len(done)} bugs planted into the relay{after}{unfinished}."]


def _worlds(evidence: Evidence) -> list[str]:
    compared = [one for one in evidence.plans if one.outcome != "not compared"]
    if not compared:
        return ["No plan was played in both worlds."]
    same = sum(one.outcome == "same" for one in compared)
    return [f"Simulation and real stack came to the same verdict in {same} of {len(compared)} plans."]


def _reached(evidence: Evidence) -> list[str]:
    lines = []
    for marks in evidence.marks:
        if marks.transport == CHOSEN:
            hit = sum(bool(marks.hit.get(name)) for name in marks.meaning)
            lines.append(f"{hit} of {len(marks.meaning)} states that runs are to reach were reached.")
    kinds = {(one.kind, one.target) for one in evidence.covered}
    if kinds:
        lines.append(f"{len(kinds)} kinds of faults by link and process were played, {len(evidence.never)} never.")
    return lines


def _changes(
    evidence: Evidence, claims: Sequence[Claim], envelope: Sequence[EnvelopeRow], power: Sequence[Power]
) -> list[str]:
    lines = []
    for row in envelope:
        who = WORDS.get(row.what, row.what)
        if row.broken_s is not None:
            lines.append(f"{who} away for {duration(row.broken_s)}: {listed(row.broken)} broken ({row.command}).")
        elif row.told_s is not None:
            safe = f"; nothing is gone up to {duration(row.nothing_gone_s)}" if row.nothing_gone_s else ""
            lines.append(f"{who} away for {duration(row.told_s)}: agents are told that events are gone{safe}.")
        else:
            lines.append(f"{who} away for longer than {duration(row.longest_s)}, the longest that was tried.")
    lines += [
        f"Not shown: {one.claim}. {one.evidence[0]} Try {one.command}." for one in claims if one.status == "not shown"
    ]
    largest = max((one.sizes[-1] for one in evidence.options.crossings), default=0)
    if largest:
        lines.append(f"More than {largest:,} agents: no costs were compared beyond.")
    escaped = [one.bug for one in power if one.caught + one.unfinished < one.starts]
    if escaped:
        lines.append(f"A bug like {listed(escaped)}, which the judge did not find.")
    if evidence.not_modelled:
        lines.append(f"What the simulation leaves out on purpose ({len(evidence.not_modelled)} things, listed below).")
    return lines
