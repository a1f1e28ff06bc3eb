"""An incremental parser of `text/event-stream`: bytes in, frames out.

WHATWG HTML, section 9.2 'Server-sent events', with one addition: a frame larger than the limit is an error, since
the standard would have us buffer without end. The parser does no I/O, and chunk boundaries mean nothing to it: they
may fall inside a UTF-8 sequence or between CR and LF. It interprets no event; `relay.*` is somebody else's business.

Lines are split as bytes, which is safe because CR and LF never occur inside a UTF-8 sequence; text is decoded a
field at a time, with U+FFFD for what is not UTF-8, as the standard's decoder does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from system.client.errors import FrameTooLarge

_LINE_END = re.compile(rb"[\r\n]")
_BOM = b"\xef\xbb\xbf"
_CR, _LF = 0x0D, 0x0A

FRAME_BYTES_MAX_DEFAULT = 4 * 1024 * 1024
"""Four times the 1 MiB that a NATS server accepts as one message by default."""

RETRY_DIGITS_MAX = 9
"""Eleven days in milliseconds; a longer number is nonsense, and its conversion need not be paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One dispatched event of the stream."""

    event: str
    """The event type; `message` if the stream named none."""
    data: bytes
    """The data as received, its lines joined by LF; decode it as UTF-8."""
    id: str | None
    """The id given in this very frame; None if it gave none."""
    last_event_id: str
    """The last event id in force, which outlives frames without an id."""

    @property
    def text(self) -> str:
        """The data as a browser would show it."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A `retry:` field: the server's wish for the reconnection time."""

    retry_ms: int


class SseParser:
    """Feed it chunks, then take items until there are none.

    One parser serves one response: a connection that is cut in mid-frame leaves its rest behind, as the standard
    demands.
    """

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX_DEFAULT) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()
        self._start = 0  # of the first line not yet taken
        self._scanned = 0  # no line end lies before this
        self._at_stream_start = True
        self._skip_lf = False
        self._data: list[bytes] = []
        self._held_bytes = 0
        self._event = ""
        self._id: str | None = None
        self._id_buffer = ""
        self.last_event_id = ""

    def feed(self, chunk: bytes) -> None:
        """Append bytes as they came off the wire."""
        if self._start:
            del self._buffer[: self._start]
            self._scanned -= self._start
            self._start = 0
        self._buffer += chunk

    def next_item(self) -> Frame | Retry | None:
        """The next frame or retry wish; None when more bytes are needed.

        Raises FrameTooLarge, at the same place of the stream however it was cut into chunks, and from then on.
        """
        while (line := self._take_line()) is not None:
            item = self._interpret(line) if line else self._dispatch()
            if item is not None:
                return item
        return None

    def _take_line(self) -> bytes | None:
        if not self._ready():
            return None
        match = _LINE_END.search(self._buffer, self._scanned)
        self._scanned = len(self._buffer) if match is None else match.start()
        size = self._held_bytes + self._scanned - self._start
        if size > self._frame_bytes_max:
            raise FrameTooLarge(
                f"expected frames of at most {self._frame_bytes_max} bytes, got one of {size} or more after id "
                f"{self.last_event_id!r}; raise frame_bytes_max, or find out what is not an event stream here"
            )
        if match is None:
            return None
        line = bytes(self._buffer[self._start : self._scanned])
        self._skip_lf = self._buffer[self._scanned] == _CR
        self._start = self._scanned = self._scanned + 1
        return line

    def _ready(self) -> bool:
        """Pass over a leading byte order mark, and over the LF of a CR LF; false if that takes more bytes."""
        if self._at_stream_start:
            head = bytes(self._buffer[:3])
            if len(head) < 3 and _BOM.startswith(head):
                return False
            self._start = self._scanned = 3 if head == _BOM else 0
            self._at_stream_start = False
        if self._skip_lf and self._start < len(self._buffer):
            if self._buffer[self._start] == _LF:
                self._start += 1
                self._scanned = max(self._scanned, self._start)
            self._skip_lf = False
        return True

    def _interpret(self, line: bytes) -> Retry | None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._held_bytes += len(line)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = self._id_buffer = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= RETRY_DIGITS_MAX:
            return Retry(retry_ms=int(value))
        return None

    def _dispatch(self) -> Frame | None:
        """End of a block: the standard's 'dispatch the event'."""
        self.last_event_id = self._id_buffer
        frame = None
        if self._data:
            frame = Frame(
                event=self._event or "message",
                data=b"\n".join(self._data),
                id=self._id,
                last_event_id=self.last_event_id,
            )
        self._data.clear()
        self._held_bytes = 0
        self._event = ""
        self._id = None
        return frame
