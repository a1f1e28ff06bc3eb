"""A run's trace: every segment that went over the simulated network, and the same for trace viewers.

The trace-event format is that of chrome://tracing and Perfetto (Google, 'Trace Event Format'): one process a host,
messages as flow arrows, faults as spans. Times are in µs of simulated time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from reports.history import Fault, Phase, Process, Published, Record

TEXT_MAX = 96
SEGMENT_US = 20
"""How wide a segment is drawn: it has no length of its own, and viewers hide what has none."""
FAULTS_PID, PHASES_PID = 1, 2


class Segment(NamedTuple):
    """Bytes that arrived, with the time in ns at which they were sent."""

    sent_ns: int
    t_ns: int
    source: str
    target: str
    data: bytes

    @property
    def text(self) -> str:
        """What it says, shortly."""
        return decoded(self.source, self.target, self.data)


class Recording:
    """Keeps every segment of a run."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []

    def note(self, sent_ns: int, t_ns: int, source: str, target: str, data: bytes) -> None:
        """A segment has arrived."""
        self.segments.append(Segment(sent_ns, t_ns, source, target, data))


def decoded(source: str, target: str, data: bytes) -> str:
    """A segment in words: the letters of Postgres's messages, else its first lines."""
    if not data:
        return "FIN"
    if "postgres" in (source, target):
        letters = _postgres_letters(data)
        names = b" ".join(re.findall(rb"[A-Za-z_][A-Za-z_ ,*()$0-9.=]{11,}", data)[:2])
        return _shortened(f"{letters} {names.decode(errors='replace')}".strip())
    lines = [line for line in data.decode(errors="replace").replace("\r", "").split("\n") if line.strip(" :")]
    return _shortened(" | ".join(lines[:4])) or "(blank)"


def _postgres_letters(data: bytes) -> str:
    letters, at = "", 0
    while at + 5 <= len(data) and len(letters) < 16:
        length = int.from_bytes(data[at + 1 : at + 5], "big")
        if not 4 <= length <= 1 << 24 or not chr(data[at]).isalnum():
            break
        letters += chr(data[at])
        at += 1 + length
    return letters or f"{len(data)} bytes"


def _shortened(text: str) -> str:
    text = re.sub(r"(.)\1{8,}", r"\1\1\1…", text)
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def hosts_of(segments: Iterable[Segment]) -> list[str]:
    """Every host that sent or received, in the order of lanes: publishers, servers, relays, agents, the rest."""
    names = sorted({name for segment in segments for name in (segment.source, segment.target)})
    order = ("publisher", "nats", "relay", "postgres", "agent")

    def place(name: str) -> tuple[int, str]:
        return next((at for at, kind in enumerate(order) if name.startswith(kind)), len(order)), name

    return sorted(names, key=place)


def trace_events(segments: Sequence[Segment], records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """The trace-event document's events."""
    lanes = {name: number for number, name in enumerate(hosts_of(segments), start=PHASES_PID + 1)}
    for name, pid in {"faults": FAULTS_PID, "phases": PHASES_PID, **lanes}.items():
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
    for number, segment in enumerate(segments):
        text = segment.text
        ends = (("s", segment.source, segment.sent_ns), ("f", segment.target, segment.t_ns))
        for phase, host, at_ns in ends:
            place = {"pid": lanes[host], "tid": 0, "ts": at_ns / 1000}
            verb = "→" if phase == "s" else "←"
            other = segment.target if phase == "s" else segment.source
            args = {"bytes": len(segment.data), "text": text}
            yield {"ph": "X", "name": f"{verb} {other}: {text[:40]}", "dur": SEGMENT_US, "args": args, **place}
            yield {"ph": phase, "bp": "e", "cat": "network", "name": "segment", "id": number, **place}
    for record in records:
        yield from _event_of(record)


def _event_of(record: Record) -> Iterator[dict[str, Any]]:
    at_us = record.t_ns / 1000
    match record:
        case Fault(phase="effective" | "lifted") as fault:
            mark = "b" if fault.phase == "effective" else "e"
            name = f"{fault.what} of {fault.target}"
            yield {
                "ph": mark,
                "cat": "fault",
                "id": fault.fault,
                "name": name,
                "pid": FAULTS_PID,
                "tid": 0,
                "ts": at_us,
            }
        case Phase(name=name):
            yield {"ph": "i", "s": "g", "name": name, "pid": PHASES_PID, "tid": 0, "ts": at_us}
        case Process(name=name, what=what):
            yield {"ph": "i", "s": "g", "name": f"{name} {what}", "pid": PHASES_PID, "tid": 0, "ts": at_us}
        case Published(outcome="acked", id=event_id, cursor=cursor):
            text = f"acknowledged {event_id} at {cursor}"
            yield {"ph": "i", "s": "p", "name": text, "pid": PHASES_PID, "tid": 0, "ts": at_us}
        case _:
            return


def write_trace(path: Path, segments: Sequence[Segment], records: Iterable[Record]) -> None:
    """Write the trace for viewers. Raises OSError."""
    document = {"traceEvents": list(trace_events(segments, records)), "displayTimeUnit": "ms"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(document))
