"""NATS's text protocol, the server's side: bytes to commands, split at any byte, and the lines that a server sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from sim.errors import NotModelled

CR_LF = b"\r\n"
PING = b"PING\r\n"
PONG = b"PONG\r\n"
STALE = b"-ERR 'Stale Connection'\r\n"
TOO_LARGE = b"-ERR 'Maximum Payload Violation'\r\n"
OK = b"+OK\r\n"


class Connect(NamedTuple):
    """CONNECT, with its options."""

    options: dict[str, Any]


class Ping(NamedTuple):
    """PING."""


class Pong(NamedTuple):
    """PONG."""


class Sub(NamedTuple):
    """SUB subject sid."""

    subject: str
    sid: str


class Unsub(NamedTuple):
    """UNSUB sid, at once or after so many messages in all."""

    sid: str
    messages_max: int | None


class Pub(NamedTuple):
    """PUB or HPUB; `headers` is the raw block, empty without."""

    subject: str
    reply: str
    headers: bytes
    data: bytes


class TooLarge(NamedTuple):
    """A PUB or HPUB beyond the largest payload; what follows it is no command."""


Command: TypeAlias = Connect | Ping | Pong | Sub | Unsub | Pub | TooLarge
MAX_PAYLOAD = 1024 * 1024


class Parser:
    """Takes what a client sends, in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Command]:
        """The commands that are complete now. Raises NotModelled for one that the model does not know."""
        self._buffer += data
        while (end := self._buffer.find(CR_LF)) >= 0:
            line = bytes(self._buffer[:end]).decode("latin-1")
            name, _, rest = line.partition(" ")
            name = name.upper()
            if name in ("PUB", "HPUB"):
                command = self._published(name, rest.split(), end + 2)
                if command is None:
                    return
                yield command
                continue
            del self._buffer[: end + 2]
            yield _plain(name, rest)

    def _published(self, name: str, words: list[str], begin: int) -> Pub | TooLarge | None:
        sizes = 2 if name == "HPUB" else 1
        total = int(words[-1])
        if total > MAX_PAYLOAD:
            self._buffer.clear()
            return TooLarge()
        if len(self._buffer) < begin + total + 2:
            return None
        block = bytes(self._buffer[begin : begin + total])
        del self._buffer[: begin + total + 2]
        head = int(words[-2]) if sizes == 2 else 0
        reply = words[1] if len(words) > 1 + sizes else ""
        return Pub(words[0], reply, block[:head], block[head:])


def _plain(name: str, rest: str) -> Command:
    match name, rest.split():
        case "CONNECT", _:
            return Connect(json.loads(rest))
        case "PING", _:
            return Ping()
        case "PONG", _:
            return Pong()
        case "SUB", [subject, sid]:
            return Sub(subject, sid)
        case "UNSUB", [sid]:
            return Unsub(sid, None)
        case "UNSUB", [sid, count]:
            return Unsub(sid, int(count))
    raise NotModelled(f"expected a command of NATS that is modelled, got {name} {rest[:60]}")


def info(fields: dict[str, Any]) -> bytes:
    """The INFO line."""
    return b"INFO " + json.dumps(fields, separators=(",", ":")).encode() + b" \r\n"


def message(subject: str, sid: str, reply: str, headers: bytes, data: bytes) -> bytes:
    """MSG, or HMSG if there are headers."""
    to = f"{subject} {sid} {reply} " if reply else f"{subject} {sid} "
    if headers:
        return f"HMSG {to}{len(headers)} {len(headers) + len(data)}\r\n".encode() + headers + data + CR_LF
    return f"MSG {to}{len(data)}\r\n".encode() + data + CR_LF


def status(code: int, description: str = "", **fields: Any) -> bytes:
    """A header block with a status in its first line (ADR-4 of NATS)."""
    first = f"NATS/1.0 {code} {description}".rstrip()
    lines = [first, *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def with_headers(block: bytes, more: dict[str, object]) -> bytes:
    """A header block with more headers behind its own."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
    return (block[:-2] if block else b"NATS/1.0\r\n") + lines.encode() + CR_LF


def header(block: bytes, name: str) -> str | None:
    """The value of one header, None if it is not there; its case counts, as for the real server."""
    prefix = name + ":"
    for line in block.decode("latin-1").split("\r\n")[1:]:
        if line.startswith(prefix):
            return line[len(prefix) :].strip()
    return None


def header_names(block: bytes, prefix: str) -> list[str]:
    """The names of the headers that begin so."""
    lines = block.decode("latin-1").split("\r\n")[1:]
    return [line.partition(":")[0] for line in lines if line.startswith(prefix)]


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a pattern with `*` and `>`."""
    if "*" not in pattern:  # what nearly all are: asked of every subscription for every message
        if ">" not in pattern:
            return pattern == subject
        if pattern.endswith(".>") and pattern.count(">") == 1:
            return subject.startswith(pattern[:-1])
    wanted, got = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(got) > place
        if place >= len(got) or token not in ("*", got[place]):
            return False
    return len(wanted) == len(got)


def overlap(one: str, other: str) -> bool:
    """Whether some subject falls under both patterns."""
    mine, theirs = one.split("."), other.split(".")
    for left, right in zip(mine, theirs, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(mine) == len(theirs)
