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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from reports.records import CLIENT_MARK as CLIENT_MARK
from reports.records import Acked as Acked
from reports.records import Bookmark as Bookmark
from reports.records import ByClass as ByClass
from reports.records import Connect as Connect
from reports.records import Connected as Connected
from reports.records import Deliver as Deliver
from reports.records import Disconnect as Disconnect
from reports.records import Epoch as Epoch
from reports.records import Fault as Fault
from reports.records import Floors as Floors
from reports.records import Gap as Gap
from reports.records import Gone as Gone
from reports.records import Handled as Handled
from reports.records import Invented as Invented
from reports.records import Phase as Phase
from reports.records import Process as Process
from reports.records import Publish as Publish
from reports.records import Published as Published
from reports.records import Record as Record
from reports.records import Reminders as Reminders
from reports.records import Run as Run
from reports.records import Saved as Saved
from reports.records import Sent as Sent
from reports.records import Swept as Swept
from reports.records import Witness as Witness
from reports.records import Writer as Writer
from reports.records import owner_of as owner_of

LINE_BYTES_MAX = 65_536
"""The longest line, newline included: fifty times the longest delivery; a `fault` proof with more belongs in a file."""


class HistoryInvalid(ValueError):
    """A history can't be read: which line, what was expected, what came."""


class HistoryLineTooLong(ValueError):
    """A record is longer than one line may be."""


class HistoryWriteFailed(OSError):
    """A line was not written whole; the file ends in a torn line and takes no more."""


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


Watch = Callable[[int, int], None]
"""(bytes read, bytes in all): told to whoever shows progress."""
WATCHED_LINES = 20_000
"""A tenth of a second's reading."""


def unwatched(done: int, total: int) -> None:
    """Nobody looks."""


class HistoryReader:
    """Reads a history record by record, so that its length costs no memory; iterate it once."""

    def __init__(self, path: Path, watch: Watch = unwatched) -> None:
        """`watch` is told now and then how many bytes were read, and of how many."""
        self._path = path
        self._watch = watch
        self.line = 0
        """The number of the line read last, from 1: each is a record."""
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
        size = os.fstat(file.fileno()).st_size
        while line := file.readline(LINE_BYTES_MAX + 1):
            self.line = number = self.line + 1
            if number % WATCHED_LINES == 0:
                self._watch(file.tell(), size)
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
