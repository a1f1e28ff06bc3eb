"""Where an agent keeps its cursor between connections and between processes.

A store holds one cursor text. It never guesses: what it cannot read back whole is an error, because 'start from
scratch' would be a silent gap or a flood of old work.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from system.client.errors import StoreCorrupt
from system.cursor import Cursor, CursorMalformed

FILE_BYTES_MAX = 64
"""A cursor's text has at most 22 characters; anything near this is another file."""


class CursorStore(Protocol):
    """Keeps one cursor for one agent; one writer at a time."""

    async def load(self) -> str | None:
        """The cursor saved last; None only if none was ever saved. Raises StoreCorrupt, OSError."""
        ...

    async def save(self, cursor: str) -> None:
        """Return once the cursor is durable; a crash during it leaves the old or the new one. Raises OSError."""
        ...


class MemoryCursorStore:
    """Lives as long as the process: for tests, for `tail`, and for agents that resume from their last ack."""

    def __init__(self, cursor: str | None = None) -> None:
        self.cursor = cursor

    async def load(self) -> str | None:
        """What was saved last."""
        return self.cursor

    async def save(self, cursor: str) -> None:
        """Keep it."""
        self.cursor = cursor


class FileCursorStore:
    """One small file, replaced atomically: write beside it, fsync, rename, fsync the folder.

    It blocks the event loop for the two fsyncs (about a millisecond on an SSD). That is on purpose: the agent has
    nothing else to do before its place is safe, and a thread would be one more thing to go wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._beside = path.with_name(path.name + ".new")

    async def load(self) -> str | None:
        """The cursor in the file; None if there is no file.

        Raises StoreCorrupt if the file is not exactly one cursor and a newline, OSError if it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX)
        except FileNotFoundError:
            return None
        try:
            text = content.decode("ascii")
            cursor = Cursor.parse(text.removesuffix("\n"))
        except (UnicodeDecodeError, CursorMalformed):
            cursor = None
        # The newline is the proof that the text was not cut short: 'abc234-10' is a whole prefix of 'abc234-1042'.
        if cursor is None or not text.endswith("\n"):
            raise StoreCorrupt(
                f"expected one cursor and a newline in {self.path}, got {content!r}; put the last cursor that the "
                "agent handled there, or remove the file to start from the relay's last ack"
            )
        return str(cursor)

    async def save(self, cursor: str) -> None:
        """Replace the file's cursor durably."""
        content = f"{cursor}\n".encode("ascii")
        descriptor = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            written = os.write(descriptor, content)
            if written != len(content):
                raise OSError(f"expected to write {len(content)} bytes to {self._beside}, wrote {written}; disk full?")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._beside.replace(self.path)
        _sync_folder(self.path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
