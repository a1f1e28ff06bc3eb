"""What pg-writer decides, without I/O: which messages come next, which are repeats, and what is written of them.

The rule behind all of it: the watermark moves over a sequence only when that sequence is *decided*: stored, put to the
dead letters, recognised as a repeat, or found to be gone from the stream.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from system.cursor import pack
from system.event import Event, RetentionClass, class_of, same_content

DEAD_LETTER_BYTES_MAX = 64 * 1024
"""What of a message is kept among the dead letters: enough to see what it was."""

PIECE_BYTES_MAX = 4 * 1024 * 1024
"""One write's events: well within the time limit on any link that deserves the name."""
PIECE_BYTES_MIN = 16 * 1024
"""Still moves at 4 KB/s; a single larger event goes alone."""


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One stream message, read: an event, or why it is none. `ts_ns` is JetStream's time of storage."""

    seq: int
    ts_ns: int
    event: Event | None
    subject: str
    raw: bytes = b""
    """Kept only when it is not an event: the dead letters store it."""
    problem: str = ""
    lost_until: int = 0
    """Set when the stream no longer has `seq` to `lost_until`."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not become an event, by stream sequence, with the reason that operators search for."""

    seq: int
    last_seq: int
    reason: str
    detail: str
    subject: str
    raw: bytes


@dataclass(slots=True)
class Batch:
    """What one write will do; `last_seq` becomes the watermark."""

    first_seq: int
    last_seq: int
    mark_ns: int | None
    events: list[tuple[int, Event]] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    repeats: int = 0


def contiguous(watermark_seq: int, incoming: Sequence[Incoming]) -> tuple[list[Incoming], tuple[int, int] | None]:
    """The messages that follow the watermark without a hole, and the hole (first, last) before the next one if any.

    Messages at or below the watermark are decided already: redeliveries, passed over.
    """
    taken: list[Incoming] = []
    expected = watermark_seq + 1
    for message in incoming:
        if message.seq < expected:
            continue
        if message.seq > expected:
            return taken, (expected, message.seq - 1)
        taken.append(message)
        expected = max(message.seq, message.lost_until) + 1
    return taken, None


def pieces(taken: Sequence[Incoming], bytes_max: int) -> Iterator[list[Incoming]]:
    """Cut messages into pieces of at most so many bytes, at least one message each."""
    piece: list[Incoming] = []
    size = 0
    for message in taken:
        length = len(message.raw) if message.event is None else len(message.event.text)
        if piece and size + length > bytes_max:
            yield piece
            piece, size = [], 0
        piece.append(message)
        size += length
    if piece:
        yield piece


CLOCKS_APART_NS = 600 * 1_000_000_000
"""By how much JetStream's clock may be ahead of Postgres's, and an event be swept earlier than its time says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What an earlier epoch of the same stream decided: all that JetStream stored up to `decided_ns`.

    Of that, what is past retention may have been swept, so that its id is no longer known; `kept_since_ns` says from
    which time on, by class, events are retained.
    """

    decided_ns: int
    kept_since_ns: Mapping[RetentionClass, int]

    def may_have_swept(self, ts_ns: int, kept_class: RetentionClass) -> bool:
        """Whether an event of this time and class was decided then and may be unknown now.

        Both must hold: what is retained still is told by its id, also if JetStream's clock was set back since.
        """
        return ts_ns <= self.decided_ns and ts_ns < self.kept_since_ns[kept_class] + CLOCKS_APART_NS


def decide(taken: Sequence[Incoming], *, former: Former | None, critical_types: frozenset[str]) -> Batch:
    """Sort contiguous messages into events, repeats within the batch or of a former epoch, and dead letters."""
    last = taken[-1]
    batch = Batch(
        first_seq=taken[0].seq,
        last_seq=max(last.seq, last.lost_until),
        mark_ns=None if last.lost_until else last.ts_ns,
    )
    seen: dict[str, Event] = {}
    for message in taken:
        if message.lost_until:
            batch.dead.append(_lost(message))
        elif message.event is None:
            batch.dead.append(
                DeadLetter(message.seq, message.seq, "invalid", message.problem, message.subject, message.raw)
            )
        elif former is not None and former.may_have_swept(message.ts_ns, class_of(message.event.type, critical_types)):
            batch.repeats += 1
        elif (earlier := seen.get(message.event.id)) is not None:
            _repeat(batch, message.seq, message.event, is_same=same_content(earlier.text, message.event.text))
        else:
            seen[message.event.id] = message.event
            batch.events.append((message.seq, message.event))
    return batch


def without_stored(batch: Batch, stored: Mapping[str, bool]) -> Batch:
    """The batch less the events whose ids are stored already; `stored` says of their ids whether that is the same."""
    result = Batch(batch.first_seq, batch.last_seq, batch.mark_ns, [], list(batch.dead), batch.repeats)
    for seq, event in batch.events:
        if event.id in stored:
            _repeat(result, seq, event, is_same=stored[event.id])
        else:
            result.events.append((seq, event))
    return result


def columns(batch: Batch, ordinal: int, critical_types: frozenset[str]) -> list[list[str | None]]:
    """The batch as the twelve `text[]` parameters of WRITE_BATCH ($5 to $16)."""
    base = pack(ordinal, 0)
    events = batch.events
    dead = sorted(batch.dead, key=lambda letter: letter.seq)
    return [
        [str(base + seq) for seq, _ in events],
        [event.subject for _, event in events],
        [str(class_of(event.type, critical_types).value) for _, event in events],
        [event.id for _, event in events],
        [event.type for _, event in events],
        [event.text for _, event in events],
        [str(base + letter.seq) for letter in dead],
        [str(base + letter.last_seq) for letter in dead],
        [letter.reason for letter in dead],
        [letter.detail.replace("\0", "\\0") for letter in dead],
        [letter.subject.replace("\0", "\\0") for letter in dead],
        [base64.b64encode(letter.raw[:DEAD_LETTER_BYTES_MAX]).decode() for letter in dead],
    ]


def lineage_break(
    *, known_created: str, watermark_seq: int, created: str, last_seq: int, mark_ns: int | None, found_ns: int | None
) -> str | None:
    """Why the stream is not the one that the watermark belongs to, or None if it is.

    A recreated stream restarts its sequence; a server that lost its tail (power loss without fsync) hands out old
    sequences again. Both would make new events look decided already.
    """
    if created != known_created:
        return "stream_recreated"
    if last_seq < watermark_seq:
        return "stream_truncated"
    # nats-py reads times in whole microseconds
    if mark_ns is not None and found_ns is not None and abs(mark_ns - found_ns) > 2_000:
        return "stream_rewritten"
    return None


def _repeat(batch: Batch, seq: int, event: Event, *, is_same: bool) -> None:
    if is_same:
        batch.repeats += 1
        return
    detail = f"the id {event.id} belongs to another event, stored earlier; publish under a fresh id"
    batch.dead.append(DeadLetter(seq, seq, "id_reused", detail, "", event.text.encode()))


def _lost(message: Incoming) -> DeadLetter:
    count = message.lost_until - message.seq + 1
    detail = f"{count} messages left the stream before pg-writer saw them (max_age, max_bytes, or deleted by hand)"
    return DeadLetter(message.seq, message.lost_until, "lost_in_stream", detail, "", b"")
