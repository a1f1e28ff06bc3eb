"""The ADR's claims, one by one: confirmed, refuted or not shown, each with what it rests on. Pure.

A claim of quiet days is confirmed by the same days played again, whole; a promise that it stands for, broken under
faults, refutes it all the same. What was not measured, or only in part, is never confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from reports.option_words import answer_of, redundancy_of
from reports.options import ADR_SIZE, CHOSEN, OPTIONS, Crossing
from reports.review.bounds import share
from reports.review.document import Claim, GapRow, Promise, Status
from reports.review.evidence import Evidence, Window
from reports.review.words import counted

ADR_DAYS = 21.0
ADR_EVENTS = 13_228
RUNS_MIN = 3
"""Of each option at each size, before a difference between them counts."""
SIZE_MIN = 500
"""The largest number of agents must be at least this, ten times what the ADR speaks of."""
UPGRADE, REDUNDANT = "jetstream", "redis"
WINDOW = "meshrelay sim window"
COMPARE = "meshrelay compare"


class _Quiet(msgspec.Struct, frozen=True):
    """A claim that quiet days had none of something."""

    name: str
    claim: str
    of: Callable[[Window], int]
    guarantees: tuple[str, ...]
    """What it stands for under faults."""


QUIET = (
    _Quiet("lost", "0 lost events", lambda window: window.lost, ("G1", "G2", "G8")),
    _Quiet("redeliveries", "0 redeliveries", lambda window: window.redelivered, ("G3", "G4")),
    _Quiet("pending", "0 pending", lambda window: window.pending, ("G6",)),
    _Quiet("stale-redispatches", "0 stale redispatches", lambda window: window.redispatched, ()),
)


def claims_of(evidence: Evidence, promises: Sequence[Promise], gaps: Sequence[GapRow]) -> list[Claim]:
    """Every claim in the order in which the ADR makes them, the one that all others serve first."""
    chosen = [one for one in promises if one.transport == CHOSEN]
    return [
        _suffices(chosen),
        _events(evidence.window),
        *(_quiet(one, evidence.window, chosen) for one in QUIET),
        _retention([row for row in gaps if row.transport == CHOSEN], evidence.provenance.bug),
        _fifty(evidence, promises),
        _redundant(evidence, promises),
    ]


def _suffices(chosen: Sequence[Promise]) -> Claim:
    broken = [one for one in chosen if one.verdict in ("violated", "not offered")]
    open_ones = [one.guarantee for one in chosen if one.verdict == "not run"]
    status: Status
    if broken:
        status, lines = "refuted", [f"{one.guarantee} {one.verdict}: {one.why}" for one in broken]
    elif open_ones or not chosen:
        status, lines = "not shown", [f"{', '.join(open_ones) or 'no guarantee'} was not put to the test."]
    else:
        status = "confirmed"
        lines = [f"{', '.join(one.guarantee for one in chosen)} held wherever they were put to the test."]
    lines += [in_words(one) for one in chosen if one.verdict in ("held", "violated")]
    command = broken[0].command if broken else COMPARE
    return Claim(
        name="suffices",
        claim="Cursor and replay on JetStream and Postgres is enough (option C)",
        status=status,
        evidence=lines,
        command=command,
    )


def _events(window: Window | None) -> Claim:
    status, lines = _days(window)
    if window is not None and status == "confirmed":
        status, lines = (
            "played",
            [
                f"The window was played with these, which shows nothing of production: {window.acknowledged:,} events "
                f"were published and acknowledged in {window.days:g} simulated days, {window.deliveries:,} delivered."
            ],
        )
        if window.acknowledged != ADR_EVENTS:
            status, lines = "refuted", [f"expected {ADR_EVENTS:,} events, {window.acknowledged:,} were acknowledged."]
    return Claim(
        name="events",
        claim=f"{ADR_EVENTS:,} events in {ADR_DAYS:g} days",
        status=status,
        evidence=lines,
        command=WINDOW,
    )


def _quiet(claim: _Quiet, window: Window | None, chosen: Sequence[Promise]) -> Claim:
    status, lines = _days(window)
    if window is not None and window.verdict != "could not run":
        count = claim.of(window)
        if count:
            status, lines = "refuted", [f"{count:,} in {window.days:g} days in which nothing failed."]
        elif status == "confirmed":
            lines = [f"0 in {window.days:g} days in which nothing failed, {window.acknowledged:,} events."]
    behind = [one for one in chosen if one.guarantee in claim.guarantees]
    broken = [one for one in behind if one.verdict == "violated"]
    command = WINDOW
    if broken:
        status, command = "refuted", broken[0].command
        lines = [*(f"Under faults {one.guarantee} is violated: {one.why}" for one in broken), *lines]
    lines += [f"Under faults: {in_words(one)}" for one in behind if one.verdict == "held"]
    return Claim(name=claim.name, claim=claim.claim, status=status, evidence=lines, command=command)


def _days(window: Window | None) -> tuple[Status, list[str]]:
    """Whether the quiet window ran whole and well."""
    if window is None:
        return "not shown", ["The quiet window was not played."]
    if window.verdict == "violated":
        return "refuted", [f"The quiet window was violated: {window.reason}"]
    if window.verdict != "held":
        return "not shown", [f"The quiet window came to no end: {window.verdict}: {window.reason}"]
    if window.days < ADR_DAYS:
        played = f"{window.days:g} of {ADR_DAYS:g} days were played ({window.acknowledged:,} events), and held."
        return "not shown", [f"Only {played}"]
    return "confirmed", []


def _retention(rows: Sequence[GapRow], bug: str | None) -> Claim:
    lost, within = sum(row.lost for row in rows), sum(row.within for row in rows)
    agents, events = sum(row.agents for row in rows), sum(row.events for row in rows)
    missing = sum(max(0, row.within - row.delivered) for row in rows)
    status: Status
    if not rows or not within:
        status, lines = "not shown", ["No agent was away near the edges of retention."]
    elif lost or missing:
        status = "refuted"
        lines = [f"{counted(lost, 'event')} lost without a word, {counted(missing, 'event')} gone within retention."]
    else:
        status = "confirmed"
        told = sum(row.told for row in rows)
        lines = [
            f"Who is away for less than the retention misses nothing: all {within:,} events that were within it "
            f"were delivered. Who is away longer is told: {told:,} events were gone, each covered by a notice."
        ]
    lines += (
        [f"{counted(agents, 'absence')}, {counted(events, 'event')}, from minutes to beyond 7 days."] if rows else []
    )
    lines.append(
        "How long agents really are away only a production history tells: meshrelay report --history shows the gaps."
    )
    return Claim(
        name="retention",
        claim="7 d (critical) and 24 h (standard) cover the reconnect gaps",
        status=status,
        evidence=lines,
        command=f"meshrelay sim gaps{'' if bug is None else f' --bug {bug}'}",
    )


def _fifty(evidence: Evidence, promises: Sequence[Promise]) -> Claim:
    crossings = [one for one in evidence.options.crossings if {one.one, one.other} == {CHOSEN, UPGRADE}]
    lines = answer_of(evidence.options.crossings, promises, evidence.options.replay_crossings)
    status: Status = "not shown"
    short = _too_little(evidence, crossings, UPGRADE)
    if short:
        lines = [short, *lines[1:]] if crossings else [short]
    elif _fits(crossings):
        status = "confirmed"
    else:
        status = "refuted"
    return Claim(
        name="fifty-agents",
        claim=f"Per-agent JetStream consumers (A) are a valid upgrade at {ADR_SIZE}+ agents",
        status=status,
        evidence=lines,
        command=f"{COMPARE} --only scale --only replays",
    )


def _fits(crossings: Sequence[Crossing]) -> bool:
    """Whether A becomes cheaper in something somewhere near the ADR's number."""
    return any(
        one.at is not None and one.cheaper_large == UPGRADE and ADR_SIZE / 2 <= one.at <= ADR_SIZE * 2
        for one in crossings
    )


def _redundant(evidence: Evidence, promises: Sequence[Promise]) -> Claim:
    crossings = [one for one in evidence.options.crossings if {one.one, one.other} == {CHOSEN, REDUNDANT}]
    lines = redundancy_of(evidence.options.crossings, promises, evidence.options.replay_crossings)
    judged = [one for one in promises if one.transport == REDUNDANT and one.verdict != "not run"]
    short = _too_little(evidence, crossings, REDUNDANT)
    status: Status
    if short or not judged:
        status, lines = "not shown", [short or f"No promise of {OPTIONS[REDUNDANT]} was put to the test."]
    else:
        status = "refuted" if lines[0].startswith(f"{OPTIONS[REDUNDANT]} is not") else "confirmed"
    return Claim(
        name="redis-redundant", claim="Redis Streams (B) are redundant", status=status, evidence=lines, command=COMPARE
    )


def _too_little(evidence: Evidence, crossings: Sequence[Crossing], option: str) -> str:
    """What is wanting before costs can be compared; empty if nothing is."""
    name = OPTIONS[option]
    if not crossings:
        return f"The costs of {name} and {OPTIONS[CHOSEN]} were not measured beside each other."
    largest = max(one.sizes[-1] for one in crossings)
    if largest < SIZE_MIN:
        return f"Measured up to {largest:,} agents; expected at least {SIZE_MIN:,}."
    runs = min(
        (row.spread.runs for row in evidence.options.rows if row.transport in (CHOSEN, option)),
        default=0,
    )
    if runs < RUNS_MIN:
        return f"Measured in {runs} runs of each; expected at least {RUNS_MIN}."
    return ""


def in_words(promise: Promise) -> str:
    """The trials of one promise, and how sure they make one."""
    seen = promise.simulated
    away = f" Broken with {'; '.join(promise.away)}." if promise.away else ""
    if not seen.trials:
        return f"{promise.guarantee}: {promise.real.trials:,} real runs.{away}"
    real = f" and {promise.real.trials:,} real runs" if promise.real.trials else ""
    limit = "" if seen.upper_limit is None else f"; with 95 % confidence fewer than {share(seen.upper_limit)} break it"
    return f"{promise.guarantee}: {seen.failures:,} of {seen.trials:,} seeds{real} broke it{limit}.{away}"
