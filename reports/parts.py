"""A history that several processes wrote, each into a part of its own, made into one.

A process that is killed can leave half a line behind, and one that is frozen can hold a lock: so no two processes write
into one file. Each part is in the order in which its process saw things; the whole is in the order of time, for they
all read one monotonic clock. What a run leaves when everything dies with it is the parts, and they can be judged.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from reports.history import LINE_BYTES_MAX, HistoryInvalid

PARTS_FOLDER = "parts"
"""Beside the whole history, until it is made."""
LEADING = "run.jsonl"
"""The part that holds the run's own record, which comes first."""
WHOLE = "history.jsonl"


class _Stamp(msgspec.Struct):
    t_ns: int


_STAMP = msgspec.json.Decoder(_Stamp)


def history_in(place: Path) -> Path:
    """The history at a place: the file itself, or a run's folder, whose parts are made into one if they are not yet.

    Raises HistoryInvalid, OSError.
    """
    if not place.is_dir():
        return place
    whole = place / WHOLE
    if not whole.exists():
        merge(place / PARTS_FOLDER, whole)
    return whole


def merge(folder: Path, whole: Path) -> None:
    """Make the parts in a folder into one history; they stay. A part's torn last line is left out.

    Raises HistoryInvalid, OSError.
    """
    leading = folder / LEADING
    if not leading.exists():
        raise HistoryInvalid(f"{folder}: expected {LEADING} and the parts beside it, got no such file")
    others = sorted(path for path in folder.glob("*.jsonl") if path != leading)
    unfinished = whole.with_suffix(".merging")
    try:
        with unfinished.open("wb") as file:
            file.writelines(line for _, _, line in heapq.merge(*_stamped([leading, *others])))
        unfinished.replace(whole)
    finally:
        unfinished.unlink(missing_ok=True)


def trim(part: Path) -> int:
    """Cut a torn last line off a part whose process is dead, for the next one to go on; answers its bytes.

    Raises OSError.
    """
    if not part.exists():
        return 0
    with part.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LINE_BYTES_MAX))
        torn = len(file.read().rpartition(b"\n")[2])
        if torn:
            file.truncate(size - torn)
    return torn


def _stamped(parts: Sequence[Path]) -> list[Iterator[tuple[int, int, bytes]]]:
    return [_lines(path, number) for number, path in enumerate(parts)]


def _lines(path: Path, number: int) -> Iterator[tuple[int, int, bytes]]:
    """Each whole line with its time; a record that is late in its part takes the one before its time."""
    latest_ns = -1
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                latest_ns = max(latest_ns, _STAMP.decode(line).t_ns)
            except msgspec.DecodeError as error:
                raise HistoryInvalid(f"{path}: expected a record ({error}), got {line[:120]!r}") from None
            yield latest_ns, number, line
