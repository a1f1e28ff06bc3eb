"""What changed since an older review: where a claim or a promise got worse, and where it only says something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from reports.options import CHOSEN, OPTIONS
from reports.review.bounds import share
from reports.review.document import Change, EnvelopeRow, Promise, Review
from reports.review.words import duration

WORSE = 1
CLAIM_RANK = {"refuted": 0, "not shown": 1, "played": 2, "confirmed": 2}
PROMISE_RANK = {"violated": 0, "not offered": 1, "not run": 2, "held": 3}


def against(review: Review, old: Review) -> Review:
    """The review with what changed; its exit code is 1 where a claim, or a promise of what was chosen, got worse."""
    changes = [*_claims(review, old), *_promises(review, old), *_envelope(review, old), *_power(review, old)]
    exit_code = WORSE if any(one.is_worse for one in changes) else review.exit_code
    label = f"commit {old.provenance.commit or 'unknown'}, {old.provenance.started_at}"
    return msgspec.structs.replace(review, changed=changes, against=label, exit_code=exit_code)


def _claims(review: Review, old: Review) -> Iterator[Change]:
    before = {one.name: one for one in old.claims}
    for one in review.claims:
        was = before.pop(one.name, None)
        if was is None:
            yield Change(what=f"claim: {one.claim}", before="not made", now=one.status, is_worse=False)
        elif was.status != one.status:
            is_worse = CLAIM_RANK[one.status] < CLAIM_RANK[was.status]
            now = f"{one.status}: {one.evidence[0]}"
            yield Change(what=f"claim: {one.claim}", before=was.status, now=now, is_worse=is_worse)
    for was in before.values():
        yield Change(what=f"claim: {was.claim}", before=was.status, now="not made", is_worse=True)


def _promises(review: Review, old: Review) -> Iterator[Change]:
    before = _by_name(old)
    for name, one in _by_name(review).items():
        was = before.get(name)
        what = f"{one.guarantee}, {OPTIONS[one.transport]}"
        if was is None or was.verdict != one.verdict:
            verdict = "not run" if was is None else was.verdict
            is_worse = one.transport == CHOSEN and PROMISE_RANK[one.verdict] < PROMISE_RANK[verdict]
            now = one.verdict + (f": {one.why}" if one.why else "")
            yield Change(what=what, before=verdict, now=now, is_worse=is_worse)
        elif was.simulated != one.simulated:
            yield Change(what=f"{what}: limit", before=_limit(was), now=_limit(one), is_worse=False)


def _by_name(review: Review) -> Mapping[tuple[str, str], Promise]:
    return {(one.guarantee, one.transport): one for one in review.promises}


def _limit(promise: Promise) -> str:
    seen = promise.simulated
    return "no trial" if seen.upper_limit is None else f"{share(seen.upper_limit)} ({seen.trials:,} seeds)"


def _envelope(review: Review, old: Review) -> Iterator[Change]:
    before = {(one.transport, one.what): one for one in old.envelope}
    for one in review.envelope:
        was = before.get((one.transport, one.what))
        if was is None or (was.broken_s, was.told_s) == (one.broken_s, one.told_s):
            continue
        never = float("inf")
        is_worse = one.transport == CHOSEN and (one.broken_s or never) < (was.broken_s or never)
        ends = [f"told from {_at(row, row.told_s)}, broken from {_at(row, row.broken_s)}" for row in (was, one)]
        what = f"{one.what} away, {OPTIONS[one.transport]}"
        yield Change(what=what, before=ends[0], now=ends[1], is_worse=is_worse)


def _at(row: EnvelopeRow, seconds: float | None) -> str:
    return f"more than {duration(row.longest_s)}" if seconds is None else duration(seconds)


def _power(review: Review, old: Review) -> Iterator[Change]:
    before = {(one.bug, one.transport): one for one in old.power}
    for one in review.power:
        was = before.get((one.bug, one.transport))
        escapes = one.caught + one.unfinished < one.starts
        escaped = was is not None and was.caught + was.unfinished < was.starts
        if escapes != escaped:
            now = "got away" if escapes else "caught"
            yield Change(
                what=f"planted bug {one.bug}",
                before="not hunted" if was is None else "got away" if escaped else "caught",
                now=now,
                is_worse=escapes,
            )
