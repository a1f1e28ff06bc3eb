"""Loss and notice against the length of an absence: every absence in a history as trials, one for each class. Pure.

An *absence* begins when a client's stream ends and lasts until the relay answers it again with a stream or a 410;
whatever was refused or unanswered between lengthens it. What it missed is what was published, and acknowledged, in
that time. Of the rest of the history it is then asked: did it come, was it told to be gone, or neither?

An event is *lost* if it came to nobody's notice, and also if it was told gone while it was within its retention: a
notice does not make good what was promised. The checkers decide that (`checkers/loss.py`); nothing is judged here. An
absence after which the history ends before all that was missed was delivered or passed over is no trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.checkers.chain import Chain
from reports.checkers.follow import chains_of
from reports.checkers.loss import fate_of
from reports.checkers.owed import is_young
from reports.index import Index, Log, Op
from reports.review.evidence import GapTrial, RetentionClass

NS_PER_S = 1_000_000_000
GONE = 410
OK = 200


@dataclass(frozen=True, slots=True)
class Absence:
    """A time in which a client had no stream."""

    left_ns: int
    back_ns: int
    """When the relay answered again."""
    until_ns: int | None
    """When the next absence began; None if there was none."""

    @property
    def gap_s(self) -> float:
        """How long it was."""
        return (self.back_ns - self.left_ns) / NS_PER_S


def gap_trials(index: Index, transport: str, *, gap_s_min: float = 1.0) -> list[GapTrial]:
    """Every absence of at least `gap_s_min` in which something was missed, by client and time.

    Raises HistoryInvalid for a history that does not say what was promised.
    """
    return [trial for chain in chains_of(index) for trial in _trials_of(index, chain, transport, gap_s_min)]


def absences(log: Log, gap_s_min: float) -> list[Absence]:
    """The absences of a client, shorter ones taken for presence, by time."""
    found: list[tuple[int, int]] = []
    streams: set[int] = set()
    left_ns: int | None = None
    for op, t_ns, conn, status in zip(log.op, log.t_ns, log.conn, log.a, strict=True):
        if op == Op.CONNECTED and status in (OK, GONE):
            if status == OK:
                streams.add(conn)
            if left_ns is not None and t_ns - left_ns >= gap_s_min * NS_PER_S:
                found.append((left_ns, t_ns))
            left_ns = None
        elif op == Op.DISCONNECT and conn in streams:
            left_ns = t_ns
    ends = [left for left, _ in found[1:]]
    return [Absence(left, back, until) for (left, back), until in zip(found, [*ends, None], strict=True)]


def _trials_of(index: Index, chain: Chain, transport: str, gap_s_min: float) -> Iterator[GapTrial]:
    log, events = chain.log, index.events
    received = {row for op, row in zip(log.op, log.b, strict=True) if op == Op.DELIVER}
    fates = {passed.event: fate_of(index, chain, passed) is None for passed in chain.passed}
    for absence in absences(log, gap_s_min):
        missed = [
            row
            for row, sent_ns in enumerate(events.first_publish_ns)
            if absence.left_ns < sent_ns < absence.back_ns and events.is_acked(row) and index.is_for(row, log)
        ]
        for kept in ("critical", "standard"):
            rows = [row for row in missed if index.is_critical(row) == (kept == "critical")]
            if rows and all(row in received or row in fates for row in rows):
                yield _trial(index, chain, absence, rows, kept, transport, received, fates)


def _trial(
    index: Index,
    chain: Chain,
    absence: Absence,
    rows: Sequence[int],
    kept: RetentionClass,
    transport: str,
    received: set[int],
    fates: dict[int, bool],
) -> GapTrial:
    delivered = sum(row in received for row in rows)
    told = sum(row not in received and fates[row] for row in rows)
    retention = index.run.retention_ns
    return GapTrial(
        transport=transport,
        retention_class=kept,
        retention_s=(retention.critical if kept == "critical" else retention.standard) / NS_PER_S,
        gap_s=round(absence.gap_s, 3),
        seed=index.run.seed,
        events=len(rows),
        delivered=delivered,
        told=told,
        lost=len(rows) - delivered - told,
        within=sum(is_young(index, row, absence.back_ns) for row in rows),
        notice=_notice(chain, absence),
    )


def _notice(chain: Chain, absence: Absence) -> Literal["none", "gap", "410"]:
    """The gravest notice from its leaving until it left again."""
    until_ns = absence.until_ns
    told = [
        notice
        for notice in chain.notices
        if notice.t_ns >= absence.left_ns and (until_ns is None or notice.t_ns < until_ns)
    ]
    if any(notice.is_gone for notice in told):
        return "410"
    return "gap" if told else "none"
