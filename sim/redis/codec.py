"""RESP without I/O: requests out of bytes, and replies into the bytes of either version of the protocol.

Sources: the protocol's specification (RESP2, RESP3) and the words of Redis 6.2, networking.c, for what breaks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sim.errors import NotModelled

Request: TypeAlias = "list[bytes]"
ARGUMENTS_MAX = 1024 * 1024
BULK_BYTES_MAX = 512 * 1024 * 1024
LINE_BYTES_MAX = 64 * 1024


class Status(str):
    """`+OK` and its like."""


class Failure(str):
    """`-ERR …`: its code and its sentence."""


class Verbatim(bytes):
    """Text for people; RESP2 has it as any other bytes."""


class NullList:
    """A list that is not there, as of a transaction that was not done."""


class Fields(tuple[tuple["Reply", "Reply"], ...]):
    """Pairs: a map in RESP3, one flat list in RESP2."""


class Scored(tuple[tuple["Reply", "Reply"], ...]):
    """Members with their scores: lists of two in RESP3, one flat list in RESP2."""


class Members(tuple["Reply", ...]):
    """A set in RESP3, a list in RESP2."""


class Push(tuple["Reply", ...]):
    """What nobody asked for: of its own kind in RESP3, a list in RESP2."""


Reply: TypeAlias = "Status | Failure | Verbatim | bytes | int | float | NullList | Sequence[Reply] | Fields | None"
OK, QUEUED, PONG = Status("OK"), Status("QUEUED"), Status("PONG")
NULL_LIST = NullList()


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes that are no request; the connection ends after this sentence."""

    reason: str

    @property
    def failure(self) -> Failure:
        """As it is told."""
        return Failure(f"ERR Protocol error: {self.reason}")


def encoded(reply: Reply, protocol: int) -> bytes:
    """A reply in version 2 or 3 of the protocol."""
    out: list[bytes] = []
    _encode(reply, protocol, out)
    return b"".join(out)


def _encode(reply: Reply, protocol: int, out: list[bytes]) -> None:
    match reply:
        case Verbatim():
            text = bytes(reply)
            out.append(
                b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text) if protocol == 3 else b"$%d\r\n%b\r\n" % (len(text), text)
            )
        case bytes():
            out.append(b"$%d\r\n%b\r\n" % (len(reply), reply))
        case Status():
            out.append(b"+%b\r\n" % reply.encode())
        case Failure():
            out.append(b"-%b\r\n" % reply.encode("utf-8", "surrogateescape"))
        case int():
            out.append(b":%d\r\n" % reply)
        case float():
            number = number_text(reply)
            out.append(b",%b\r\n" % number if protocol == 3 else b"$%d\r\n%b\r\n" % (len(number), number))
        case None:
            out.append(b"_\r\n" if protocol == 3 else b"$-1\r\n")
        case NullList():
            out.append(b"_\r\n" if protocol == 3 else b"*-1\r\n")
        case _:
            _encode_many(reply, protocol, out)


def _encode_many(reply: Sequence[Reply], protocol: int, out: list[bytes]) -> None:
    parts: Sequence[Reply] = reply
    sign = b"*"
    if isinstance(reply, Scored) and protocol == 3:
        parts = [list(pair) for pair in reply]
    elif isinstance(reply, Fields | Scored):
        parts = [one for pair in reply for one in pair]
        sign = b"%" if protocol == 3 else b"*"
    elif protocol == 3:
        sign = b"~" if isinstance(reply, Members) else b">" if isinstance(reply, Push) else b"*"
    out.append(b"%b%d\r\n" % (sign, len(reply) if sign == b"%" else len(parts)))
    for part in parts:
        _encode(part, protocol, out)


def number_text(value: float) -> bytes:
    """A score, in all its digits."""
    return b"%.17g" % value


class Parser:
    """Takes bytes as they come, gives whole requests; after a `Broken` it gives nothing more."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._missing = 0
        self._request: Request = []
        self._is_broken = False

    def feed(self, data: bytes) -> Iterator[Request | Broken]:
        """Take bytes; the requests that are complete with them."""
        self._buffer += data
        while not self._is_broken:
            found = self._next()
            if found is None:
                break
            self._is_broken = isinstance(found, Broken)
            if found:
                yield found
        del self._buffer[: self._at]
        self._at = 0

    def _next(self) -> Request | Broken | None:
        """The next request, empty for one that says nothing; None while there is none."""
        if not self._missing:
            line = self._line("mbulk count")
            if not isinstance(line, bytes):
                return line
            if not line.startswith(b"*"):
                return _inline(line)
            count = _integer(line[1:])
            if count is None or count > ARGUMENTS_MAX:
                return Broken("invalid multibulk length")
            if count <= 0:
                return []
            self._missing, self._request = count, []
        while self._missing:
            argument = self._argument()
            if not isinstance(argument, bytes):
                return argument
            self._request.append(argument)
            self._missing -= 1
        return self._request

    def _argument(self) -> bytes | Broken | None:
        start = self._at
        line = self._line("bulk count")
        if not isinstance(line, bytes):
            return line
        if not line.startswith(b"$"):
            return Broken(f"expected '$', got '{chr(line[0]) if line else ' '}'")
        length = _integer(line[1:])
        if length is None or not 0 <= length <= BULK_BYTES_MAX:
            return Broken("invalid bulk length")
        if len(self._buffer) < self._at + length + 2:
            self._at = start
            return None
        argument = bytes(self._buffer[self._at : self._at + length])
        self._at += length + 2  # what ends it is not looked at
        return argument

    def _line(self, what: str) -> bytes | Broken | None:
        inline = what == "mbulk count" and bytes(self._buffer[self._at : self._at + 1]) not in (b"*", b"")
        end = self._buffer.find(b"\n" if inline else b"\r\n", self._at)
        if end < 0:
            if len(self._buffer) - self._at > LINE_BYTES_MAX:
                return Broken("too big inline request" if inline else f"too big {what} string")
            return None
        line = bytes(self._buffer[self._at : end])
        self._at = end + (1 if inline else 2)
        return line.removesuffix(b"\r") if inline else line


def _inline(line: bytes) -> Request:
    """A request as a person types it."""
    if b'"' in line or b"'" in line:
        raise NotModelled(f"expected an inline request without quotes, got {line!r}")
    return line.split()


def _integer(text: bytes) -> int | None:
    """What string2ll makes of it: no spaces, no plus, no leading zeros; None if it is no number of 64 bits."""
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or (digits.startswith(b"0") and text != b"0"):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


integer = _integer
