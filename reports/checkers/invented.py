"""Cursors that an agent made up: each must be answered by what is wrong with it, and none be served.

A text that is no cursor is a 400; a cursor of an epoch that the history never names is of another life of the stream;
one beyond everything that its epoch was seen to hold lies ahead, or, where the stream has begun more than one epoch, is
of a former one. A cursor that some life of the stream may have given out is none of these, and is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator

from reports.checkers.findings import Finding, Kind
from reports.index import Index
from reports.records import Invented
from system.cursor import Cursor, CursorMalformed

REFUSED = 400


def served(index: Index) -> Iterator[Finding]:
    """Every made-up cursor that was answered otherwise than it must be."""
    for number, record in index.invented:
        expected = _expected(index, record.cursor)
        if record.status is None or not expected or _answer(record) in expected:
            continue
        told = "no loss" if record.reason is None else repr(record.reason)
        yield Finding(
            kind=Kind.CURSOR_ACCEPTED,
            agent=record.agent,
            event_id=None,
            cursor=record.cursor,
            t_ns=record.t_ns,
            detail=f"expected {' or '.join(map(str, expected))} for the made-up cursor {record.cursor!r}, got status "
            f"{record.status} and {told}",
            evidence=(number,),
        )


def _answer(record: Invented) -> int | str | None:
    """What the agent was told of its cursor: the reason, or that it is none."""
    return REFUSED if record.status == REFUSED else record.reason


def _expected(index: Index, text: str) -> tuple[int | str, ...]:
    """The answers that are right; none if the cursor may be one that was given out."""
    try:
        Cursor.parse(text)
    except CursorMalformed:
        return (REFUSED,)
    position = index.position_of(text)
    if position is None:
        return ("wrong_epoch",)
    if position <= index.epoch_of(position).position_max:
        return ()
    return ("ahead",) if len(index.epochs) == 1 else ("ahead", "wrong_epoch")
