"""From the evidence to the tables of a review: promises with bounds, gaps, the envelope, the judge's power. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from reports.options import CHOSEN, OPTIONS, Cell, spread_of
from reports.report import Report
from reports.review.bounds import upper_limit
from reports.review.document import (
    EnvelopeRow,
    FaultTotal,
    GapRow,
    GapTotal,
    Kept,
    Power,
    Promise,
    PromiseVerdict,
    RealRun,
    Trials,
)
from reports.review.evidence import Covered, Evidence, GapTrial, Hunt, Origin, Outage
from reports.review.words import PARTS, duration

SEEDS_ENOUGH = 300
"""A bug that so many seeds don't find has got away; a hunt that ended earlier was given up."""


STREAM_KEEPS_S = 8 * 86_400.0
"""As long as the ADR's stream keeps events: what is away for longer is an edge of the envelope, and no breach."""
GAP_STEP_S = 5.0
"""Absences that differ by less are one length: how long a client takes to connect is not what is looked at."""


def promises_of(
    cells: Sequence[Cell], runs: Sequence[Report], promises: Mapping[str, str], outages: Sequence[Outage] = ()
) -> list[Promise]:
    """Every guarantee of every option that anything is known of; `runs` on the real stack were of what was chosen.

    A single run that breaks a promise breaks it: a seed's, a real one, or that of an outage no longer than the
    stream keeps events.
    """
    shown = {cell.transport for cell in cells} | ({CHOSEN} if runs else set())
    broken = [one for one in outages if one.violated]
    shown |= {one.transport for one in broken}
    found = {(cell.guarantee, cell.transport): cell for cell in cells}
    return [
        _away(
            _promise(name, option, found.get((name, option)), runs if option == CHOSEN else (), promises[name]),
            [one for one in broken if one.transport == option and name in one.violated],
        )
        for name in sorted(promises)
        for option in OPTIONS
        if option in shown
    ]


def _promise(name: str, option: str, cell: Cell | None, runs: Sequence[Report], promise: str) -> Promise:
    judged = [(run, one) for run in runs for one in run.guarantees if one.guarantee == name and one.trials]
    failed = [run for run, one in judged if one.verdict != "held"]
    seeds, broken = (cell.seeds, cell.violated_in - cell.real_violated) if cell else (0, 0)
    real, real_broken = (cell.real_runs, cell.real_violated) if cell else (0, 0)
    why, command = (cell.why, cell.command) if cell else ("", "meshrelay compare")
    verdict: PromiseVerdict = cell.verdict if cell else "not run"
    if failed and verdict != "violated":
        verdict, why, command = "violated", failed[0].reason, failed[0].command
    elif judged and verdict == "not run":
        verdict, command = "held", judged[0][0].command
    return Promise(
        guarantee=name,
        promise=promise,
        transport=option,
        verdict=verdict,
        simulated=trials_of(broken, seeds),
        real=trials_of(real_broken + len(failed), real + len(judged)),
        why=why,
        command=command,
    )


def _away(promise: Promise, broken: Sequence[Outage]) -> Promise:
    """The promise with the outages that broke it; one that outlasted the stream is told, and breaks no promise."""
    if not broken or promise.verdict == "not offered":
        return promise
    promise = replace(promise, away=list(map(_words, broken)))
    first = next((one for one in broken if one.length_s <= STREAM_KEEPS_S), None)
    if first is None or promise.verdict == "violated":
        return promise
    return replace(promise, verdict="violated", why=f"{_words(first)}: {first.reason}", command=first.command)


def _words(outage: Outage) -> str:
    beyond = " (longer than the stream keeps events)" if outage.length_s > STREAM_KEEPS_S else ""
    return f"{PARTS.get(outage.what, outage.what)} away for {duration(outage.length_s)}{beyond}"


def trials_of(failures: int, trials: int) -> Trials:
    """Counts with their bound."""
    return Trials(trials=trials, failures=failures, upper_limit=upper_limit(failures, trials))


def gap_rows(trials: Sequence[GapTrial]) -> list[GapRow]:
    """One row for each option, class and length."""
    grouped: dict[tuple[int, str, float], list[GapTrial]] = {}
    order = list(OPTIONS)
    for one in trials:
        gap_s = round(one.gap_s / GAP_STEP_S) * GAP_STEP_S
        grouped.setdefault((order.index(one.transport), one.retention_class, gap_s), []).append(one)
    rows = []
    for (_, _, gap_s), found in sorted(grouped.items()):
        notices = Counter(one.notice for one in found)
        rows.append(
            GapRow(
                transport=found[0].transport,
                retention_class=found[0].retention_class,
                retention_s=found[0].retention_s,
                gap_s=gap_s,
                agents=len(found),
                events=sum(one.events for one in found),
                delivered=sum(one.delivered for one in found),
                told=sum(one.told for one in found),
                lost=sum(one.lost for one in found),
                within=sum(one.within for one in found),
                told_by_410=notices["410"],
                told_by_gap=notices["gap"],
                not_told=notices["none"],
            )
        )
    return rows


def gap_totals(rows: Sequence[GapRow]) -> list[GapTotal]:
    """The rows of each option added up, in the options' order."""
    return [
        GapTotal(
            transport=option,
            agents=sum(row.agents for row in found),
            events=sum(row.events for row in found),
            delivered=sum(row.delivered for row in found),
            told=sum(row.told for row in found),
            lost=sum(row.lost for row in found),
        )
        for option in OPTIONS
        if (found := [row for row in rows if row.transport == option])
    ]


def fault_totals(covered: Sequence[Covered]) -> list[FaultTotal]:
    """Each kind of fault on each link or process, by name."""
    counts = Counter[tuple[str, str]]()
    for one in covered:
        counts[one.kind, one.target] += one.count
    return [FaultTotal(kind=kind, target=target, count=count) for (kind, target), count in sorted(counts.items())]


def counts_of(evidence: Evidence, faults: Sequence[FaultTotal]) -> dict[str, int]:
    """How many there are of what the report counts, by name."""
    return {
        "kinds of faults": len({one.kind for one in faults}),
        "links and processes": len({one.target for one in faults}),
        "pairs of both": len(faults),
        "not modelled": len(evidence.not_modelled),
    }


def envelope_rows(outages: Sequence[Outage]) -> list[EnvelopeRow]:
    """For each option and part, how long it may be away before something is gone, or a promise broken."""
    grouped: dict[tuple[str, str], list[Outage]] = {}
    for one in outages:
        grouped.setdefault((one.transport, one.what), []).append(one)
    return [_envelope(sorted(found, key=lambda one: one.length_s)) for found in grouped.values()]


def _envelope(found: Sequence[Outage]) -> EnvelopeRow:
    broken = [one for one in found if one.verdict != "held"]
    told = [one for one in found if one.told_critical + one.told_standard]
    ends_s = min((one.length_s for one in (*broken, *told)), default=float("inf"))
    whole = [one for one in found if one.length_s < ends_s]
    caught_up = [one.caught_up_s for one in found if one.caught_up_s is not None]
    shown = (broken or told or list(found))[0]
    return EnvelopeRow(
        transport=found[0].transport,
        what=found[0].what,
        nothing_gone_s=whole[-1].length_s if whole else None,
        told_s=told[0].length_s if told else None,
        broken_s=broken[0].length_s if broken else None,
        broken=sorted({name for one in broken for name in one.violated or (one.verdict,)}),
        longest_s=found[-1].length_s,
        tried_s=sorted({one.length_s for one in found}),
        broken_at_s=sorted({one.length_s for one in broken}),
        caught_up_s=max(caught_up, default=None),
        command=shown.command,
    )


def kept_of(origins: Mapping[str, Origin]) -> list[Kept]:
    """What is not of this run, by version of the relay: its own first, then the newest."""
    grouped: dict[tuple[bool, str], dict[str, Origin]] = {}
    for part, origin in sorted(origins.items()):
        grouped.setdefault((origin.is_same, origin.relay), {})[part] = origin
    newest = {key: (key[0], max(one.started_at for one in found.values())) for key, found in grouped.items()}
    return [
        Kept(
            relay=relay,
            is_same=is_same,
            parts=list(found),
            days=sorted({one.started_at[:10] for one in found.values() if one.started_at}),
            commits=sorted({one.commit for one in found.values() if one.commit}),
        )
        for (is_same, relay), found in sorted(grouped.items(), key=lambda one: newest[one[0]], reverse=True)
    ]


def power_of(hunts: Sequence[Hunt]) -> list[Power]:
    """For each planted bug, how soon it was found."""
    grouped: dict[tuple[str, str], list[Hunt]] = {}
    for one in hunts:
        grouped.setdefault((one.bug, one.transport), []).append(one)
    rows = []
    for (bug, transport), found in sorted(grouped.items()):
        caught = [one for one in found if one.seeds]
        rows.append(
            Power(
                bug=bug,
                what=found[0].what,
                transport=transport,
                starts=len(found),
                caught=len(caught),
                unfinished=sum(not one.seeds and one.seeds_max < SEEDS_ENOUGH for one in found),
                seeds=spread_of([float(one.seeds) for one in caught]) if caught else None,
                by=sorted({kind for one in caught for kind in one.by}),
            )
        )
    return rows


def real_runs(runs: Sequence[Report]) -> list[RealRun]:
    """The runs on the real stack, one line each."""
    return [
        RealRun(
            plan=run.plan,
            seed=run.seed,
            verdict=run.verdict,
            reason=run.reason,
            events=run.counts.get("events acknowledged", 0),
            deliveries=run.counts.get("deliveries", 0),
            faults=run.counts.get("faults with proof", 0),
            kills=run.counts.get("relay kills", 0),
            p50_ms=None if run.latency is None else run.latency.p50_ms,
            p99_ms=None if run.latency is None else run.latency.p99_ms,
            command=run.command,
        )
        for run in runs
    ]
