"""Values and their bytes on the wire, in binary and, for what simple queries show, in text.

In the tables an integer is an int, text a str, bytea bytes, text[] a list; a timestamptz is an int of microseconds
since 2000-01-01 UTC, as on the wire, with the two infinities at the ends of int8.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim.errors import NotModelled
from sim.postgres.errors import ServerError

MINUS_INFINITY = -(1 << 63)
"""The timestamptz before all others."""
FIRST_TIMESTAMP, END_OF_TIMESTAMPS = -211_813_488_000_000_000, 9_223_371_331_200_000_000
"""The first finite timestamptz, in 4714 BC, and the one after the last, in 294277."""
_EPOCH_US = 946_684_800_000_000
"""2000-01-01 UTC after 1970-01-01 UTC."""

_INT2 = struct.Struct("!h")
_INT4 = struct.Struct("!i")
_INT8 = struct.Struct("!q")
_FLOAT8 = struct.Struct("!d")
_ARRAY = struct.Struct("!iii")
_DIMENSION = struct.Struct("!ii")


@dataclass(frozen=True, slots=True, kw_only=True)
class PgType:
    """A type: its name, oid and size (-1: variable), and its codecs."""

    name: str
    oid: int
    size: int
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    """Raises ServerError 22P03, 22021."""
    show: Callable[[Any], str]


def _fixed(name: str, oid: int, layout: struct.Struct, show: Callable[[Any], str] = str) -> PgType:
    def decode(data: bytes) -> Any:
        if len(data) != layout.size:
            raise ServerError("22P03", f"incorrect binary data format for {name}")
        return layout.unpack(data)[0]

    return PgType(name=name, oid=oid, size=layout.size, encode=layout.pack, decode=decode, show=show)


def _decode_text(data: bytes) -> str:
    if b"\0" in data:
        raise ServerError("22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        shown = " ".join(f"0x{byte:02x}" for byte in data[error.start : error.end])
        raise ServerError("22021", f'invalid byte sequence for encoding "UTF8": {shown}') from None


def _decode_text_array(data: bytes) -> list[str | None]:
    dimensions, _, element_oid = _ARRAY.unpack_from(data)
    if dimensions == 0:
        return []
    if dimensions != 1 or element_oid != TEXT.oid:
        raise NotModelled(f"expected a text[] of one dimension, got {dimensions} of type {element_oid}")
    count, _ = _DIMENSION.unpack_from(data, 12)
    items: list[str | None] = []
    at = 20
    for _ in range(count):
        (length,) = _INT4.unpack_from(data, at)
        at += 4
        if length < 0:
            items.append(None)
            continue
        items.append(_decode_text(data[at : at + length]))
        at += length
    return items


def _encode_text_array(items: list[str | None]) -> bytes:
    parts = [_ARRAY.pack(1 if items else 0, int(None in items), TEXT.oid)]
    if items:
        parts.append(_DIMENSION.pack(len(items), 1))
    for item in items:
        data = b"" if item is None else item.encode()
        parts.append(_INT4.pack(-1 if item is None else len(data)) + data)
    return b"".join(parts)


def _not_shown(value: Any) -> str:
    raise NotModelled(f"expected a type that simple queries show, got {value!r}")


BOOL = _fixed("bool", 16, struct.Struct("!?"), lambda value: "t" if value else "f")
INT2 = _fixed("int2", 21, _INT2)
INT4 = _fixed("int4", 23, _INT4)
INT8 = _fixed("int8", 20, _INT8)
FLOAT8 = _fixed("float8", 701, _FLOAT8, _not_shown)
TIMESTAMPTZ = _fixed("timestamptz", 1184, _INT8, _not_shown)
TEXT = PgType(name="text", oid=25, size=-1, encode=str.encode, decode=_decode_text, show=str)
BYTEA = PgType(name="bytea", oid=17, size=-1, encode=bytes, decode=bytes, show=lambda value: "\\x" + value.hex())
TEXTS = PgType(name="text[]", oid=1009, size=-1, encode=_encode_text_array, decode=_decode_text_array, show=_not_shown)
VOID = PgType(name="void", oid=2278, size=4, encode=lambda _: b"", decode=lambda _: None, show=lambda _: "")

TYPES = (BOOL, BYTEA, INT8, INT2, INT4, TEXT, FLOAT8, TIMESTAMPTZ, TEXTS, VOID)
"""Every type that is modelled."""


def timestamp_us(unix_ns: int) -> int:
    """A timestamptz of nanoseconds since 1970; Postgres has no finer clock than the microsecond."""
    return unix_ns // 1000 - _EPOCH_US


def unix_ns(timestamp: int) -> int:
    """Nanoseconds since 1970 of a finite timestamptz."""
    return (timestamp + _EPOCH_US) * 1000


def epoch_s(timestamp: int) -> float:
    """`extract(epoch FROM ...)::float8` of a finite timestamptz."""
    return unix_ns(timestamp) / 1e9
