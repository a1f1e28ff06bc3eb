"""What relays log of their sessions, read back: from JSON lines, or from the lines for people that `serve` can write.

Everything else that a log holds is passed over; a line that names an event of a session and can't be read as one is
refused, for what it hides might be a loss. The format is described in the relay's `session_log` module.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec


class LogInvalid(ValueError):
    """A log line can't be used: which one, what was expected, what came."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    timestamp: datetime
    agent: str
    conn: str | None
    line: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Its number among the lines of its connection, from 1; releases that did not number them have none."""


class Opened(_Line, frozen=True, tag="session.opened"):
    """A connection was admitted."""

    conn: str
    presented: str | None = None
    told: str | None = None
    start: str | None = None
    types: tuple[str, ...] = ()


class Told(_Line, frozen=True, tag="session.told"):
    """An agent was told of something gone; without a connection if it was told in a stream's stead."""

    notice: Literal["gap", "gone"]
    via: Literal["status", "event"]
    reason: Literal["expired", "wrong_epoch", "ahead"]
    cursor: str | None = None
    critical: str | None = None
    standard: str | None = None


class SentCursors(_Line, frozen=True, tag="session.sent"):
    """These events were sent, in one write."""

    conn: str
    cursors: tuple[str, ...]


class Closed(_Line, frozen=True, kw_only=True, tag="session.closed"):
    """A connection is over; the fields are those of a history's `sent`."""

    conn: str
    start: str | None = None
    reached: str | None = None
    count: int
    sum: int
    first: str | None = None
    last: str | None = None
    types: tuple[str, ...] = ()
    why: str


Line = Opened | Told | SentCursors | Closed
NAMES = ("session.opened", "session.told", "session.sent", "session.closed")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FOR_PEOPLE = re.compile(r"(?P<timestamp>\d{4}-\S+)\s+\[\w+\s*\]\s+(?P<event>\S+)\s*(?P<fields>.*)")
_FIELD = re.compile(r"""(\w+)=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\S*)""")


def read_lines(lines: Iterable[bytes], source: str) -> Iterator[Line]:
    """The lines of sessions in a log, in its order; `source` names it in errors. Raises LogInvalid."""
    for number, raw in enumerate(lines, start=1):
        if b"session." not in raw:
            continue
        try:
            fields = _fields(raw)
            if fields is not None and fields.get("event") in NAMES:
                yield msgspec.convert(fields, Line, strict=False)
            elif fields is None and any(name.encode() in raw for name in NAMES):
                raise ValueError("neither a JSON object nor a line of key=value")
        except (ValueError, SyntaxError, msgspec.MsgspecError) as error:
            shown = raw[:120].decode(errors="replace").rstrip("\n")
            raise LogInvalid(
                f"{source}:{number}: expected a session's line as `meshrelay serve` writes it ({error}), got "
                f"{shown!r}; without the line its connection is one whose end nobody logged"
            ) from None


def _fields(raw: bytes) -> dict[str, Any] | None:
    """The fields of a line; a collector's own words before the JSON object don't matter."""
    begin = raw.find(b"{")
    if begin >= 0:
        try:
            found = msgspec.json.decode(raw[begin:])
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = None
        if isinstance(found, dict):
            return found
    match = _FOR_PEOPLE.search(_COLOUR.sub("", raw.decode(errors="replace")))
    if match is None:
        return None
    fields: dict[str, Any] = {name: _value(text) for name, text in _FIELD.findall(match["fields"])}
    return fields | {"timestamp": match["timestamp"], "event": match["event"]}


def _value(text: str) -> Any:
    if text == "None":
        return None
    return ast.literal_eval(text) if text[:1] in ("'", '"', "[") else text
