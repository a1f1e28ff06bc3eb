"""Writes a run's history with the run's own clock. It decides nothing and keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from reports.history import HistoryWriter, Record


class Recorder:
    """Stamps records with nanoseconds since its run began and appends them to a history."""

    def __init__(
        self, path: Path, *, clock_ns: Callable[[], int] = time.monotonic_ns, began_ns: int | None = None
    ) -> None:
        """Begin or go on with the history in this file; `began_ns` is when its run began, if another process began it.

        Raises HistoryInvalid, OSError.
        """
        self._clock_ns = clock_ns
        self.began_ns = clock_ns() if began_ns is None else began_ns
        """When the run began, by the clock."""
        self._writer = HistoryWriter(path)
        self.count = 0
        """Records so far."""

    def now_ns(self) -> int:
        """The time that a record would be given."""
        return self._clock_ns() - self.began_ns

    def record(self, kind: Callable[..., Record], **fields: Any) -> None:
        """Append one record of this kind, as of now. Raises HistoryLineTooLong, HistoryWriteFailed, OSError."""
        self._writer.write(kind(t_ns=self.now_ns(), **fields))
        self.count += 1

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        self._writer.close()

    def __enter__(self) -> Recorder:
        """The recorder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()
