"""PostgreSQL's v3 messages and their bytes; no I/O, no state but the bytes not yet understood.

Source: PostgreSQL documentation, chapter 54 (Frontend/Backend Protocol), 54.7 for the formats.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sim.errors import NotModelled

PROTOCOL_3_0 = 196608
CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
MESSAGE_BYTES_MAX = 1 << 30
"""PostgreSQL's own limit of a message."""

_INT16 = struct.Struct("!h")
_INT32 = struct.Struct("!i")
_HEAD = struct.Struct("!ci")
_PAIR = struct.Struct("!ii")
_FIELD = struct.Struct("!ihihih")


class EncryptionRequest(NamedTuple):
    """The client asks whether it may speak TLS or GSSAPI."""


class Cancel(NamedTuple):
    """Sent instead of a start-up: interrupt what that other session runs."""

    pid: int
    secret: int


class StartUp(NamedTuple):
    """The first message of a session."""

    parameters: dict[str, str]


class Password(NamedTuple):
    """The answer to a request for a cleartext password."""

    text: str


class Query(NamedTuple):
    """Simple query: run this text."""

    text: str


class Parse(NamedTuple):
    """Prepare a statement under a name."""

    name: str
    text: str
    type_oids: tuple[int, ...]


class Bind(NamedTuple):
    """Make a portal of a prepared statement and values."""

    portal: str
    statement: str
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]


class Describe(NamedTuple):
    """Ask for the types of a statement (S) or portal (P)."""

    kind: str
    name: str


class Close(NamedTuple):
    """Forget a statement (S) or portal (P)."""

    kind: str
    name: str


class Execute(NamedTuple):
    """Run a portal; 0 rows at most means all."""

    portal: str
    rows_max: int


class Sync(NamedTuple):
    """The end of a run of extended messages."""


class Flush(NamedTuple):
    """Send what you have."""


class Terminate(NamedTuple):
    """A polite good-bye."""


FrontendMessage = (
    EncryptionRequest
    | Cancel
    | StartUp
    | Password
    | Query
    | Parse
    | Bind
    | Describe
    | Close
    | Execute
    | Sync
    | Flush
    | Terminate
)


class FrontendDecoder:
    """Bytes of a client, split anywhere, into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._started = False

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        self._buffer += data

    def next_message(self) -> FrontendMessage | None:
        """The next whole message, or None before it is there. Raises NotModelled for what is no such message."""
        head = 5 if self._started else 4
        if len(self._buffer) < head:
            return None
        (length,) = _INT32.unpack_from(self._buffer, head - 4)
        if not 4 <= length <= MESSAGE_BYTES_MAX:
            raise NotModelled(f"expected a PostgreSQL message, got the length {length}")
        end = head - 4 + length
        if len(self._buffer) < end:
            return None
        kind = self._buffer[0]
        body = _Body(bytes(self._buffer[head:end]))
        del self._buffer[:end]
        return _message(kind, body) if self._started else self._first(body)

    def _first(self, body: _Body) -> FrontendMessage:
        code = body.int32()
        if code in (SSL_REQUEST, GSS_REQUEST):
            return EncryptionRequest()
        if code == CANCEL_REQUEST:
            return Cancel(body.int32(), body.int32())
        if code != PROTOCOL_3_0:
            raise NotModelled(f"expected protocol 3.0, got {code >> 16}.{code & 0xFFFF}")
        self._started = True
        parameters: dict[str, str] = {}
        while name := body.string():
            parameters[name] = body.string()
        return StartUp(parameters)


class _Body:
    """Reads the parts of one message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def int32(self) -> int:
        (value,) = _INT32.unpack_from(self._data, self._at)
        self._at += 4
        return int(value)

    def char(self) -> str:
        self._at += 1
        return chr(self._data[self._at - 1])

    def string(self) -> str:
        end = self._data.index(0, self._at)
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text

    def int16s(self) -> tuple[int, ...]:
        """A count and so many numbers of two bytes."""
        data, at = self._data, self._at
        count = data[at] << 8 | data[at + 1]
        self._at = at + 2 + 2 * count
        return struct.unpack_from(f"!{count}h", data, at + 2)

    def int32s(self) -> tuple[int, ...]:
        """A count and so many numbers of four bytes."""
        data, at = self._data, self._at
        count = data[at] << 8 | data[at + 1]
        self._at = at + 2 + 4 * count
        return struct.unpack_from(f"!{count}i", data, at + 2)

    def values(self) -> tuple[bytes | None, ...]:
        """A count and so many values with their lengths, -1 for NULL."""
        data, at = self._data, self._at
        found: list[bytes | None] = []
        count, at = data[at] << 8 | data[at + 1], at + 2
        for _ in range(count):
            (length,) = _INT32.unpack_from(data, at)
            at += 4
            if length < 0:
                found.append(None)
            else:
                found.append(data[at : at + length])
                at += length
        self._at = at
        return tuple(found)


def _message(kind: int, body: _Body) -> FrontendMessage:
    read = _READERS.get(kind)
    if read is None:
        raise NotModelled(f"expected a message of the simple or extended query protocol, got {chr(kind)!r}")
    return read(body)


SYNC = Sync()
_READERS: dict[int, Callable[[_Body], FrontendMessage]] = {
    ord("B"): lambda body: Bind(body.string(), body.string(), body.int16s(), body.values(), body.int16s()),
    ord("E"): lambda body: Execute(body.string(), body.int32()),
    ord("S"): lambda _: SYNC,
    ord("P"): lambda body: Parse(body.string(), body.string(), body.int32s()),
    ord("D"): lambda body: Describe(body.char(), body.string()),
    ord("C"): lambda body: Close(body.char(), body.string()),
    ord("H"): lambda _: Flush(),
    ord("Q"): lambda body: Query(body.string()),
    ord("p"): lambda body: Password(body.string()),
    ord("X"): lambda _: Terminate(),
}


def message(kind: bytes, body: bytes = b"") -> bytes:
    """A message of the server: its letter, its length, its body."""
    return _HEAD.pack(kind, len(body) + 4) + body


ENCRYPTION_REFUSED = b"N"
AUTHENTICATION_OK = message(b"R", _INT32.pack(0))
CLEARTEXT_PASSWORD = message(b"R", _INT32.pack(3))
PARSE_COMPLETE = message(b"1")
BIND_COMPLETE = message(b"2")
CLOSE_COMPLETE = message(b"3")
NO_DATA = message(b"n")
PORTAL_SUSPENDED = message(b"s")
EMPTY_QUERY = message(b"I")
_READY = {status: message(b"Z", status.encode()) for status in "ITE"}


def ready_for_query(status: str) -> bytes:
    """`I` outside a transaction block, `T` within one, `E` within a failed one."""
    return _READY[status]


def parameter_status(name: str, value: str) -> bytes:
    """A setting that the client is told of."""
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def backend_key(pid: int, secret: int) -> bytes:
    """What a CancelRequest for this session must say."""
    return message(b"K", _PAIR.pack(pid, secret))


def command_complete(tag: str) -> bytes:
    """The end of a command, as `SELECT 3`."""
    return message(b"C", tag.encode() + b"\0")


def parameter_description(type_oids: Sequence[int]) -> bytes:
    """The types of a statement's parameters."""
    return message(b"t", _INT16.pack(len(type_oids)) + b"".join([_INT32.pack(oid) for oid in type_oids]))


def row_description(columns: Iterable[tuple[str, int, int]], result_format: int) -> bytes:
    """Columns as (name, type oid, type size); all in one format, 0 for text and 1 for binary."""
    fields = [name.encode() + b"\0" + _FIELD.pack(0, 0, oid, size, -1, result_format) for name, oid, size in columns]
    return message(b"T", _INT16.pack(len(fields)) + b"".join(fields))


def data_row(values: Sequence[bytes | None]) -> bytes:
    """One row."""
    parts = [_INT16.pack(len(values))]
    for value in values:
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            parts.append(_INT32.pack(len(value)))
            parts.append(value)
    return message(b"D", b"".join(parts))


def error_response(fields: Iterable[tuple[str, str]], *, notice: bool = False) -> bytes:
    """An error, or a notice, by its fields' letters."""
    body = b"".join([letter.encode() + text.encode() + b"\0" for letter, text in fields])
    return message(b"N" if notice else b"E", body + b"\0")
