"""The first screen: is the decision still right, how sure are we, what would change our mind; nothing is typed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from reports.options import CHOSEN, OPTIONS
from reports.review.bounds import share, upper_limit
from reports.review.document import Answer, Claim, EnvelopeRow, GapRow, Power, Promise
from reports.review.evidence import Evidence
from reports.review.tables import kept_of
from reports.review.words import PARTS, counted, duration, listed

STATUSES = ("confirmed", "played", "refuted", "not shown")
WEAK = 0.1
"""Few trials are called so if, with the usual confidence, a larger share of all might fail."""


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
    beside = "no option that was tried beside it keeps more" if others else "no other option was tried beside it"
    less = "".join(f"; {one}" for one in _less(promises))
    return [f"Yes: {name} kept all of {held[0]} to {held[-1]} wherever they were tried; {beside}{less}."]


def _less(promises: Sequence[Promise]) -> list[str]:
    """Which promises the others did not keep, and in which outages they broke."""
    said = []
    for option in OPTIONS:
        less = [one for one in promises if one.transport == option and one.verdict in ("violated", "not offered")]
        if option != CHOSEN and less:
            away = list(dict.fromkeys(words for one in less for words in one.away))
            where = f" ({listed(away)})" if away else ""
            said.append(f"{OPTIONS[option]} gives less: {listed([one.guarantee for one in less], 8)}{where}")
    return said


def _claims(claims: Sequence[Claim]) -> list[str]:
    """How the ADR's claims stand, each group by name; and why one is refuted."""
    grouped = {status: [one for one in claims if one.status == status] for status in STATUSES}
    count = ", ".join(f"{len(found)} {status}" for status, found in grouped.items())
    lines = [f"Of the ADR's {counted(len(claims), 'claim')}: {count}."]
    lines += [f"Refuted: {one.claim}. {one.evidence[0]}" for one in grouped["refuted"]]
    lines += [f"Played, as planned and no finding: {one.claim}." for one in grouped["played"]]
    if grouped["confirmed"]:
        lines.append(f"Confirmed: {'; '.join(one.claim for one in grouped['confirmed'])}.")
    return lines


def _sure(evidence: Evidence, chosen: Sequence[Promise], gaps: Sequence[GapRow], power: Sequence[Power]) -> list[str]:
    tried = [one for one in chosen if one.simulated.upper_limit is not None]
    lines = [_seeds(tried)] if tried else []
    runs = max((one.real.trials for one in chosen), default=0)
    broken = sum(one.real.failures for one in chosen)
    lines.append(_real(runs, broken))
    seen = [*_outages(evidence), *_gaps(gaps), *_power(power), *_worlds(evidence), *_reached(evidence)]
    return [*lines, *seen, *_kept(evidence)]


def _seeds(tried: Sequence[Promise]) -> str:
    """How often plans broke something, and how sure that makes one of the promise that was tried least."""
    most = max(one.simulated.trials for one in tried)
    failures = sum(one.simulated.failures for one in tried)
    if failures:
        breaches = counted(failures, "breach", "breaches")
        return f"{breaches} of a promise in {counted(most, 'simulated plan')}."
    least = min(tried, key=lambda one: one.simulated.trials)
    others = [one for one in tried if one.simulated.trials > least.simulated.trials]
    said = f"None of {counted(most, 'simulated plan')} broke a promise: with 95 % confidence fewer than "
    if not others:
        return said + f"{share(least.simulated.upper_limit or 0)} of plans drawn alike break any one of them."
    usual = min(others, key=lambda one: one.simulated.trials)
    rare = f"({least.simulated.trials:,} plans), {share(least.simulated.upper_limit or 0)}"
    return said + (
        f"{share(usual.simulated.upper_limit or 0)} of plans drawn alike break any one of {len(others)} of them; "
        f"for {least.guarantee}, the least tried {rare}."
    )


def _real(runs: int, broken: int) -> str:
    if not runs:
        return "No run on the real stack."
    weak = "" if broken else _weak(0, runs, "runs alike may break one")
    return f"{counted(runs, 'run')} on the real stack: {counted(broken, 'breach', 'breaches')} of a promise{weak}."


def _weak(failures: int, trials: int, what: str) -> str:
    """What few trials leave open; empty if they were many."""
    limit = upper_limit(failures, trials)
    if limit is None or limit < WEAK:
        return ""
    return f" (weak, n = {trials}: up to {share(limit)} of {what})"


def _outages(evidence: Evidence) -> list[str]:
    """How many outages broke something, by option."""
    counts = {option: [one for one in evidence.outages if one.transport == option] for option in OPTIONS}
    found = [
        f"{OPTIONS[option]} in {sum(bool(one.violated) for one in ours)} of {len(ours)}"
        for option, ours in counts.items()
        if ours
    ]
    if not found:
        return []
    lengths = [one.length_s for one in evidence.outages]
    span = f"{duration(min(lengths))} to {duration(max(lengths))}"
    return [f"Outages of one part, {span}, broke a promise of {', of '.join(found)}."]


def _gaps(gaps: Sequence[GapRow]) -> list[str]:
    ours = [row for row in gaps if row.transport == CHOSEN]
    if not ours:
        return []
    agents, lost = sum(row.agents for row in ours), sum(row.lost for row in ours)
    away = counted(agents, "absence")
    return [f"{away} of {_span(ours)}, most near an edge of retention: {counted(lost, 'event')} lost in silence."]


def _span(rows: Sequence[GapRow]) -> str:
    lengths = [row.gap_s for row in rows]
    return f"{duration(min(lengths))} to {duration(max(lengths))}"


def _power(power: Sequence[Power]) -> list[str]:
    done = [one for one in power if one.caught or one.unfinished < one.starts]
    if not done:
        return ["No planted bug was hunted: nothing is known of what would have been found."]
    caught = [one for one in done if one.caught and one.caught + one.unfinished == one.starts]
    medians = [one.seeds.median for one in caught if one.seeds is not None]
    after = f", after a median of {statistics.median(medians):g} seeds" if medians else ""
    given_up = len(power) - len(done)
    unfinished = f"; given up for want of time: {given_up}" if given_up else ""
    planted = counted(len(done), "bug")
    return [f"The judge found {len(caught)} of {planted} planted into the relay{after}{unfinished}."]


def _worlds(evidence: Evidence) -> list[str]:
    compared = [one for one in evidence.plans if one.outcome != "not compared"]
    if not compared:
        return ["No plan was played in both worlds."]
    same = sum(one.outcome == "same" for one in compared)
    weak = _weak(len(compared) - same, len(compared), "plans drawn alike may differ")
    return [f"Simulation and real stack came to the same verdict in {same} of {counted(len(compared), 'plan')}{weak}."]


def _reached(evidence: Evidence) -> list[str]:
    lines = []
    for marks in evidence.marks:
        if marks.transport == CHOSEN:
            hit = sum(bool(marks.hit.get(name)) for name in marks.meaning)
            lines.append(f"Rare states that runs are to reach: {hit} of {len(marks.meaning)} were reached.")
    kinds = {(one.kind, one.target) for one in evidence.covered}
    if kinds:
        lines.append(
            f"Faults by kind and by link or process: {len(kinds)} took effect, {len(evidence.never)} were never played."
        )
    return lines


def _kept(evidence: Evidence) -> list[str]:
    """Whether what is not of this run is at least of this relay."""
    kept = kept_of(evidence.origins)
    if not kept:
        return []
    said = f"Kept from earlier runs: {counted(sum(len(one.parts) for one in kept), 'part')} of the evidence"
    same = [part for one in kept if one.is_same for part in one.parts]
    others = [one for one in kept if not one.is_same]
    if not others:
        return [f"{said}, all of the relay of this checkout."]
    versions = counted(len(others), "other version")
    if not same:
        return [f"{said}, none of the relay of this checkout, but of {versions} of it (listed at the end)."]
    rest = sum(len(one.parts) for one in others)
    return [
        f"{said}; of the relay of this checkout: {listed(same, 20)}; {rest} of {versions} of it (listed at the end)."
    ]


def _changes(
    evidence: Evidence, claims: Sequence[Claim], envelope: Sequence[EnvelopeRow], power: Sequence[Power]
) -> list[str]:
    lines = [*_ends(envelope), *_not_shown(claims)]
    largest = max((one.sizes[-1] for one in evidence.options.crossings), default=0)
    if largest:
        lines.append(f"More than {largest:,} agents: no costs were compared beyond.")
    escaped = [one.bug for one in power if one.caught + one.unfinished < one.starts]
    if escaped:
        lines.append(f"A bug like {listed(escaped)}, which the judge did not find.")
    if evidence.not_modelled:
        lines.append(
            f"What the simulation leaves out on purpose ({len(evidence.not_modelled)} things, listed in the report)."
        )
    return lines


def _ends(envelope: Sequence[EnvelopeRow]) -> list[str]:
    """How long parts may be away, those that end alike in one sentence."""
    who: dict[str, list[str]] = {}
    for row in envelope:
        longest = f"{duration(row.longest_s)}, the longest that was tried"
        if row.broken_s is not None:
            end = f"away for {duration(row.broken_s)}: {listed(row.broken)} broken ({row.command})."
        elif row.told_s is not None:
            safe = f"nothing is gone up to {duration(row.nothing_gone_s)}, " if row.nothing_gone_s else ""
            between = "nothing was tried between; " if safe else ""
            end = (
                f"away for {duration(row.told_s)}: agents are told that events are gone ({safe}{between}no promise is "
                f"broken up to {longest})."
            )
        else:
            end = f"away for longer than {longest}."
        who.setdefault(end, []).append(PARTS.get(row.what, row.what))
    found = [f"{listed(names, len(PARTS))} {end}" for end, names in who.items()]
    return [one[0].upper() + one[1:] for one in found]


def _not_shown(claims: Sequence[Claim]) -> list[str]:
    """What is not shown yet, and the command that may; claims that wait for the same in one sentence."""
    waiting: dict[tuple[str, str], list[str]] = {}
    for one in claims:
        if one.status == "not shown":
            waiting.setdefault((one.evidence[0], one.command), []).append(one.claim)
    return [f"Not shown: {'; '.join(names)}. {why} Try {command}." for (why, command), names in waiting.items()]
