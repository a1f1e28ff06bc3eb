"""Events: CloudEvents 1.0 in JSON, validated once by the same rules wherever they enter.

`read_event` is the only gate: the HTTP endpoint refuses with its problems, pg-writer sends to the dead letters with
them. It keeps the publisher's JSON text as it came (only white space between tokens goes), so that no number is
rounded and no key reordered on the way to the agent.
"""

from __future__ import annotations

import enum
import functools
import re
from datetime import datetime
from typing import Any

import msgspec

ALL_AGENTS = "_all"
"""The addressee of a broadcast; no agent can have this name, because names begin with a letter or digit."""

CRITICAL_TYPES = frozenset({"task.assigned", "task.created", "task.mentioned"})
ASSIGNED = "task.assigned"
"""The type that is published again when its agent does not acknowledge it."""

SUBJECT_PREFIX = "mesh.events"
ID_LENGTH_MAX = 128
"""Room for a UUID, a URN or a composite key; a B-tree entry of the unique index must fit 2,704 bytes."""
TYPE_LENGTH_MAX = 64
SOURCE_LENGTH_MAX = 512
NESTING_MAX = 100
"""Levels of an event's JSON, itself included. Decoders recurse, and their own limit depends on how deep their caller
stands: what one caller reads must never be too deep for the next one, nor for an agent."""

REDISPATCH_BYTES = 512
"""What the relay's own redispatch attributes add to an event that was just small enough."""

_AGENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
AGENT_NAME_RULE = "1 to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit"
"""The same for people."""
_TYPE = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*", re.ASCII)
_ID = re.compile(r"[\x21-\x7e]+", re.ASCII)
_REDISPATCH_ID = re.compile(r"(.+)~r([0-9]+)", re.ASCII)
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}", re.ASCII)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_REQUIRED = ("specversion", "id", "source", "type", "subject")
_KNOWN = frozenset({*_REQUIRED, "time", "datacontenttype", "dataschema", "data", "data_base64"})
_REDISPATCH_ATTRIBUTES = ("redispatchof", "redispatchcount")


class RetentionClass(enum.IntEnum):
    """How long an event is kept; the numbers are those in the tables."""

    CRITICAL = 1
    STANDARD = 2


class EventInvalid(ValueError):
    """The bytes are not an event: each problem says what was expected and what came."""

    def __init__(self, problems: list[str], *, malformed: bool = False) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.malformed = malformed
        """True when it is not even JSON."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A valid event; `text` is its JSON on one line.

    A struct, for one is made of every event that passes: a tenth of a frozen dataclass's time, and no collector's work.
    """

    id: str
    type: str
    subject: str
    text: str
    redispatch_of: str | None = None


def class_of(event_type: str, critical_types: frozenset[str] = CRITICAL_TYPES) -> RetentionClass:
    """The retention class of an event type."""
    return RetentionClass.CRITICAL if event_type in critical_types else RetentionClass.STANDARD


def subject_of(agent: str, event_type: str) -> str:
    """The NATS subject of an event."""
    return f"{SUBJECT_PREFIX}.{agent}.{event_type}"


def is_agent_name(name: str) -> bool:
    """Whether the name can be an agent's, by AGENT_NAME_RULE."""
    return _AGENT.fullmatch(name) is not None


def is_event_type(name: str) -> bool:
    """Whether the name can be an event's type: dotted lower-case words, not the relay's own."""
    return len(name) <= TYPE_LENGTH_MAX and _TYPE.fullmatch(name) is not None and not name.startswith("relay.")


def read_event(raw: bytes | msgspec.Raw, *, bytes_max: int) -> Event:
    """Read and validate one event.

    Raises EventInvalid with every problem found, so that a publisher can mend them all at once.
    """
    raw = bytes(raw)
    if len(raw) > bytes_max:
        raise EventInvalid(
            [f"expected at most {bytes_max} bytes, got {len(raw)}; put large data elsewhere and link it"]
        )
    plain = _read_plain(raw)
    if plain is not None:
        return Event(plain.id, plain.type, plain.subject, _on_one_line(raw))
    try:
        attributes = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventInvalid([f"expected a CloudEvent as JSON in UTF-8: {error}"], malformed=True) from None
    if not isinstance(attributes, dict):
        raise EventInvalid([f"expected a JSON object, got {type(attributes).__name__}"])
    problems = _problems(attributes)
    if _is_deep(raw, attributes):
        problems.append(f"expected at most {NESTING_MAX} levels of nesting; put structured data elsewhere and link it")
    if problems:
        raise EventInvalid(problems)
    redispatch_of = attributes.get("redispatchof")
    return Event(attributes["id"], attributes["type"], attributes["subject"], _on_one_line(raw), redispatch_of)


def read_message(subject: str, data: bytes, *, bytes_max: int) -> Event:
    """An event as it lies in the stream: valid, and on the subject that follows from it. Raises EventInvalid."""
    event = read_event(data, bytes_max=bytes_max + REDISPATCH_BYTES)
    expected = subject_of(event.subject, event.type)
    if subject != expected:
        raise EventInvalid([f"expected the NATS subject {expected}, got {subject}"])
    return event


def same_content(stored: str, text: str) -> bool:
    """Whether two events' JSON says the same, whatever the order of its keys; `stored` need not be JSON at all."""
    if stored == text:
        return True
    try:
        return _canonical(stored) == _canonical(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def redispatch_text(text: str, *, count: int) -> tuple[str, str]:
    """The id and JSON of the `count`-th stale redispatch of an event; every other value is kept as it was written.

    The id follows from the original's alone, so that two replicas, or a retry, publish the same event.
    """
    original = msgspec.json.decode(text, type=_Identity).id
    attributes: dict[str, Any] = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    attributes |= {"id": f"{original}~r{count}", "redispatchof": original, "redispatchcount": count}
    return attributes["id"], msgspec.json.encode(attributes).decode()


class _Identity(msgspec.Struct):
    id: str


def _canonical(text: str) -> bytes:
    """One text for everything that says the same; unlike Python's `==` it tells true from 1."""
    return msgspec.json.encode(msgspec.json.decode(text), order="sorted")


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The attributes of nearly all events: no extensions, no base64."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str | msgspec.UnsetType = msgspec.UNSET
    datacontenttype: str = ""
    dataschema: str = ""
    data: Any = None


_decode_plain = msgspec.json.Decoder(_Plain).decode


def _read_plain(raw: bytes) -> _Plain | None:
    """The quick way to 'no problems', for pg-writer reads every event; None leaves the judgement to `_problems`."""
    try:
        plain = _decode_plain(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    good = (
        plain.specversion == "1.0"
        and len(plain.id) <= ID_LENGTH_MAX
        and _ID.fullmatch(plain.id)
        and "~r" not in plain.id
        and _is_known_type(plain.type)
        and _is_known_addressee(plain.subject)
        and 1 <= len(plain.source) <= SOURCE_LENGTH_MAX
        and (plain.time is msgspec.UNSET or _is_rfc3339(plain.time))
        and raw.count(b"{") + raw.count(b"[") <= NESTING_MAX
    )
    return plain if good else None


@functools.lru_cache(maxsize=1_024)
def _is_known_type(name: str) -> bool:
    return is_event_type(name)


@functools.lru_cache(maxsize=16_384)
def _is_known_addressee(name: str) -> bool:
    return name == ALL_AGENTS or is_agent_name(name)


def _on_one_line(raw: bytes) -> str:
    text = raw.decode()
    if "\n" in text or "\r" in text or text[0] != "{" or text[-1] != "}":
        return msgspec.json.format(text, indent=-1)
    return text


def _is_deep(raw: bytes, attributes: dict[str, Any]) -> bool:
    """Whether an event nests too deeply; only those with many brackets are looked at."""
    if raw.count(b"{") + raw.count(b"[") <= NESTING_MAX:
        return False
    level: list[Any] = [attributes]
    for _ in range(NESTING_MAX):
        inner: list[Any] = []
        for value in level:
            children = value.values() if isinstance(value, dict) else value
            inner += [child for child in children if isinstance(child, dict | list)]
        if not inner:
            return False
        level = inner
    return True


def _problems(attributes: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a CloudEvent's attributes (CloudEvents 1.0.2, sections 3.1-3.3)."""
    found = [f"'{name}' is missing: expected a string" for name in _REQUIRED if name not in attributes]
    for name in _REQUIRED:
        value = attributes.get(name)
        if name in attributes and (type(value) is not str or not value):
            found.append(f"'{name}': expected a non-empty string, got {_shown(value)}")
    if found:
        return found
    if attributes["specversion"] != "1.0":
        found.append(f"'specversion': expected '1.0', got {_shown(attributes['specversion'])}")
    found += _identity_problems(attributes)
    if len(attributes) > len(_REQUIRED):
        found += _optional_problems(attributes)
    return found


def _identity_problems(attributes: dict[str, Any]) -> list[str]:
    found = []
    event_id, event_type, subject = attributes["id"], attributes["type"], attributes["subject"]
    redispatched = any(name in attributes for name in _REDISPATCH_ATTRIBUTES)
    if not _ID.fullmatch(event_id):
        found.append(f"'id': expected printable ASCII without spaces, got {_shown(event_id)}")
    elif not redispatched and len(event_id) > ID_LENGTH_MAX:
        found.append(f"'id': expected at most {ID_LENGTH_MAX} characters, got {len(event_id)}")
    if redispatched:
        expected = f"{attributes.get('redispatchof')}~r{attributes.get('redispatchcount')}"
        if event_id != expected or subject == ALL_AGENTS or len(event_id) > ID_LENGTH_MAX + 12:
            found.append(
                f"'id': expected {_shown(expected)} for a redispatch, got {_shown(event_id)}; "
                "only the relay redispatches"
            )
    elif "~r" in event_id and _REDISPATCH_ID.fullmatch(event_id):
        found.append(f"'id': the ending ~r<number> is kept for redispatches, got {_shown(event_id)}")
    if not is_event_type(event_type):
        found.append(
            f"'type': expected dotted lower-case words such as 'task.assigned', at most {TYPE_LENGTH_MAX} characters, "
            f"not beginning with 'relay.', got {_shown(event_type)}"
        )
    if subject != ALL_AGENTS and not _AGENT.fullmatch(subject):
        found.append(f"'subject': expected the receiving agent's name or '{ALL_AGENTS}', got {_shown(subject)}")
    if len(attributes["source"]) > SOURCE_LENGTH_MAX:
        found.append(f"'source': expected at most {SOURCE_LENGTH_MAX} characters, got {len(attributes['source'])}")
    return found


def _optional_problems(attributes: dict[str, Any]) -> list[str]:
    found = []
    for name, value in attributes.items():
        if name in _KNOWN:
            if name not in ("data", "specversion") and type(value) is not str:
                found.append(f"'{name}': expected a string, got {_shown(value)}")
        elif not _ATTRIBUTE.fullmatch(name):
            found.append(f"{_shown(name)}: expected an extension attribute named with 1 to 20 of a-z 0-9")
        elif type(value) not in (str, int, bool):
            found.append(
                f"'{name}': expected a string, integer or boolean, got {_shown(value)}; structures belong in 'data'"
            )
    time = attributes.get("time")
    if isinstance(time, str) and not _is_rfc3339(time):
        found.append(f"'time': expected an RFC 3339 time such as 2026-01-31T08:00:00Z, got {_shown(time)}")
    if "data" in attributes and "data_base64" in attributes:
        found.append("expected 'data' or 'data_base64', got both")
    return found


def _is_rfc3339(text: str) -> bool:
    if not _RFC3339.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text[:19])
    except ValueError:
        return False
    return True


def _shown(value: object) -> str:
    """A value short enough for an error message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
