"""Histories: what was done to the system and what it answered, one record a line, in the order it was seen.

A history is the only thing a verdict is drawn from. It is a JSONL file (one JSON object a line, told apart by
`kind`) that the world under test appends to while it runs; this module writes and reads it and decides nothing.

Times are `t_ns`: nanoseconds of one monotonic clock since the run started, taken when the thing happened (a `publish`
before its request is sent, a `published` after its answer is read, a `deliver` when the agent has read the event).
The records of one agent, and of one publisher, must stand in the order in which they happened; records of different
processes may stand a little out of the order of `t_ns`.

Cursors stand as the text that went over the wire. Several processes may append to one file.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, TypeAlias

import msgspec

LINE_BYTES_MAX = 65_536
"""The longest line, newline included: fifty times the longest delivery; a `fault` proof with more belongs in a file."""

CLIENT_MARK = "#"
"""Behind it the number of an agent's client beside the first, as in `ann#2`: no agent's name has it."""


def owner_of(client: str) -> str:
    """The agent that a client belongs to."""
    return client.partition(CLIENT_MARK)[0]


class HistoryInvalid(ValueError):
    """A history can't be read: which line, what was expected, what came."""


class HistoryLineTooLong(ValueError):
    """A record is longer than one line may be."""


class HistoryWriteFailed(OSError):
    """A line was not written whole; the file ends in a torn line and takes no more."""


class ByClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A duration for each retention class."""

    critical: int
    standard: int


class Floors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cursor up to which each class was swept for an agent, as the relay told it; None if nothing was."""

    critical: str | None = None
    standard: str | None = None


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False, tag_field="kind"):
    """What every record has."""

    t_ns: int


class Run(_Record, frozen=True, tag="run"):
    """The first record: what was asked of the run and what the relay was configured to promise."""

    plan: str
    """The plan's name."""
    seed: int
    world: Literal["real", "sim"]
    retention_ns: ByClass
    critical_types: tuple[str, ...]
    slack_ns: int
    """How far an age computed from this history may be off: the writer's delay, the sweep interval, clock steps."""
    started_at: str
    """ISO 8601."""
    versions: dict[str, str] = {}
    """Name and version of everything that took part, the machine's facts included."""
    converge_bound_ns: int | None = None
    """The bound that G6 states: from `healed` to `converged`; None if the run states none."""
    dedupe_window_ns: int | None = None
    """How long the stream itself remembers an event's id, in the run's time; None: longer than anybody repeats.

    A repeat after it gets a second place in the stream, and an ack that names it, while pg-writer is behind; whether
    it was *stored* twice, the deliveries tell.
    """
    command: tuple[str, ...] = ()
    """The words of the command that repeats the run."""


class Publish(_Record, frozen=True, tag="publish"):
    """A publisher is about to send an event; a retry with the same id writes it again."""

    publisher: str
    id: str
    agent: str
    """The addressee: an agent, or `_all`."""
    type: str


class Published(_Record, frozen=True, tag="published"):
    """The outcome of one attempt: `unknown` is no answer or one that doesn't say (a timeout, a reset, a 503)."""

    publisher: str
    id: str
    outcome: Literal["acked", "refused", "unknown"]
    cursor: str | None = None
    duplicate: bool = False
    status: int | None = None


class Connect(_Record, frozen=True, tag="connect"):
    """An agent is about to connect."""

    agent: str
    conn: str
    """Unique among the agent's connections."""
    cursor: str | None = None
    """The presented cursor, or `earliest`, `acked`, `now`; None if none was presented.

    On a resync it is the position within the relay's own resync address, never None.
    """


class Connected(_Record, frozen=True, tag="connected"):
    """The answer's status has been read; None if there was no answer."""

    agent: str
    conn: str
    status: int | None
    reason: str | None = None


class Deliver(_Record, frozen=True, tag="deliver"):
    """The agent has read an event; written before it is handled or its cursor saved, and before any client filter."""

    agent: str
    conn: str
    cursor: str
    id: str
    type: str
    addressee: str
    """The event's `subject`."""


class Bookmark(_Record, frozen=True, tag="bookmark"):
    """The agent has read a bookmark: it has been given everything up to this cursor."""

    agent: str
    conn: str
    cursor: str


class Gap(_Record, frozen=True, tag="gap"):
    """The agent was told that standard events after this cursor are gone."""

    agent: str
    conn: str
    cursor: str | None
    """Where the agent stood: as the notice says, else the last cursor received, else the one presented."""
    floors: Floors


class Gone(_Record, frozen=True, tag="gone"):
    """The agent was told that critical events after this cursor are gone, or that the cursor means nothing here."""

    agent: str
    conn: str
    cursor: str | None
    reason: Literal["expired", "wrong_epoch", "ahead"]
    via: Literal["status", "event"]
    floors: Floors


class Disconnect(_Record, frozen=True, tag="disconnect"):
    """The connection has ended; a crash of the agent ends its connection too."""

    agent: str
    conn: str
    why: str


class Saved(_Record, frozen=True, tag="saved"):
    """The agent's handler has returned and the cursor is durably stored."""

    agent: str
    cursor: str


class Acked(_Record, frozen=True, tag="acked"):
    """The relay has confirmed the agent's acknowledgement."""

    agent: str
    cursor: str


class Fault(_Record, frozen=True, tag="fault"):
    """A step in a fault's life; only what has a proof was `effective`."""

    fault: str
    """The fault's id in the plan."""
    phase: Literal["asked", "effective", "lifted", "ineffective"]
    what: str
    """The kind of fault: cut, latency, kill ..."""
    target: str
    direction: str | None = None
    proof: dict[str, Any] = {}
    """What was seen that shows it."""


class Phase(_Record, frozen=True, tag="phase"):
    """The run enters a phase: faults from `safety`, none from `healed`, all caught up at `converged`."""

    name: Literal["safety", "healed", "converged", "end"]


class Writer(_Record, frozen=True, tag="writer"):
    """An observation of pg-writer."""

    pending: int
    """Messages delivered to it or waiting for it, and not acknowledged."""
    watermark: int | str | None = None
    head: int | str | None = None


class Process(_Record, frozen=True, tag="process"):
    """A step in a process's life; `killed` is SIGKILL."""

    name: str
    what: Literal["started", "killed", "exited", "stopped"]
    pid: int | None = None


class Witness(_Record, frozen=True, tag="witness"):
    """What the run itself saw and no other record says, at its end: as `verdict.Witnessed`, and unplayed faults."""

    broken: tuple[str, ...] = ()
    useless: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


Record: TypeAlias = (
    Run
    | Publish
    | Published
    | Connect
    | Connected
    | Deliver
    | Bookmark
    | Gap
    | Gone
    | Disconnect
    | Saved
    | Acked
    | Fault
    | Phase
    | Writer
    | Witness
    | Process
)

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The records of a history and the torn line it ended in, if it did."""

    records: tuple[Record, ...]
    torn: bytes | None


def encode(record: Record) -> bytes:
    """One record as its line, newline included; equal records give equal bytes.

    Raises HistoryLineTooLong.
    """
    line = _ENCODER.encode(record) + b"\n"
    if len(line) > LINE_BYTES_MAX:
        raise HistoryLineTooLong(
            f"expected a line of at most {LINE_BYTES_MAX} bytes, got a {type(record).__name__} of {len(line)}; "
            "put what is long in a file beside the history and name it here"
        )
    return line


class HistoryWriter:
    """Appends records to a history, each with one `write` of one whole line, so that a crash tears at most the last."""

    def __init__(self, path: Path) -> None:
        """Open the history, or begin it; several processes may append to one.

        Raises HistoryInvalid if it ends in a torn line: what was appended would be lost with it.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # A long line becomes visible page by page: only while nobody writes is half a line a torn one.
        with self._locked(fcntl.LOCK_EX):
            size = os.fstat(self._fd).st_size
            is_torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
        if is_torn:
            self.close()
            raise HistoryInvalid(f"{path}: expected a newline at its end, got a torn line; begin a new history")

    def write(self, record: Record) -> None:
        """Append one record.

        Raises HistoryLineTooLong, HistoryWriteFailed (a full disk) or OSError.
        """
        line = encode(record)
        with self._locked(fcntl.LOCK_SH):
            written = os.write(self._fd, line)
        if written != len(line):
            raise HistoryWriteFailed(
                f"expected to write {len(line)} bytes of one line, wrote {written}; is the disk full?"
            )

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Hold the file's lock; the kernel lets go of a dead process's."""
        fcntl.flock(self._fd, how)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> HistoryWriter:
        """The writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


class HistoryReader:
    """Reads a history record by record, so that its length costs no memory; iterate it once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.torn: bytes | None = None
        """The torn last line, known when the iteration has ended."""

    def __iter__(self) -> Iterator[Record]:
        """Every record, in the order of the file.

        Raises HistoryInvalid at the first line that is not a record, unless it is the last and torn; OSError.
        """
        with self._path.open("rb") as file:
            yield from self._records(file)

    def _records(self, file: BinaryIO) -> Iterator[Record]:
        decode = _DECODER.decode
        number = 0
        while line := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                raise HistoryInvalid(
                    f"{self._path}:{number}: expected a line of at most {LINE_BYTES_MAX} bytes, got a longer one"
                )
            try:
                record = decode(line)
            except msgspec.ValidationError as error:
                raise self._invalid(number, line, error) from None
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if line.endswith(b"\n"):
                    raise self._invalid(number, line, error) from None
                self.torn = line
                return
            yield record

    def _invalid(self, number: int, line: bytes, error: Exception) -> HistoryInvalid:
        shown = line[:120].decode(errors="replace").rstrip("\n")
        return HistoryInvalid(f"{self._path}:{number}: expected a history record ({error}), got {shown!r}")


def read_history(path: Path) -> History:
    """The whole history in memory; about 600 bytes a record, so use HistoryReader for long ones.

    One torn last line (no newline, no whole JSON object) is tolerated and returned as `torn`.
    Raises HistoryInvalid, naming the line, at any other line that is not a record; OSError.
    """
    reader = HistoryReader(path)
    records = tuple(reader)
    return History(records=records, torn=reader.torn)
