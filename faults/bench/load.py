"""Loads: the events that a measurement moves, the same ones for the relay and for its baseline.

Decided by a seed alone, so that a process that is told the load has its bytes without being sent them.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from system.cursor import pack
from system.event import ALL_AGENTS, Event, class_of
from system.frames import chunk, event_frame

TYPES = ("task.assigned", "task.created", "task.mentioned", "task.completed", "agent.status", "note.added")
TYPE_WEIGHTS = (20, 10, 10, 20, 30, 10)
"""The mix of the main fault plan: two in five are critical, one in five opens an assignment."""
TAG = "abench"
"""The epoch's tag in every database that a measurement makes."""
ORDINAL = 1
PROSE_BYTES = 8 * 1024
"""Random text of which every event has another piece, so that compression finds little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """So many events for so many agents, in turn, or all of them broadcasts."""

    events: int
    agents: int
    broadcast: bool = False
    data_bytes: int = 200
    """Of each event's `data`; its JSON has about 200 more."""
    seed: int = 1

    def document(self) -> dict[str, Any]:
        """For another process, which makes a `Load` of it again."""
        return asdict(self)


def agent_name(number: int) -> str:
    """The name of an agent of a load, all of one length."""
    return f"agent-{number:04d}"


def make_events(load: Load) -> Iterator[Event]:
    """The events in order; ids are random, as in life, because an index feels it."""
    rng = random.Random(load.seed)
    prose = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz      ", k=PROSE_BYTES))
    for number in range(load.events):
        event_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        event_type = rng.choices(TYPES, TYPE_WEIGHTS)[0]
        subject = ALL_AGENTS if load.broadcast else agent_name(number % load.agents)
        at = rng.randrange(PROSE_BYTES - load.data_bytes)
        note = prose[at : at + load.data_bytes]
        text = (
            f'{{"specversion":"1.0","id":"{event_id}","source":"/bench","type":"{event_type}",'
            f'"subject":"{subject}","time":"2026-01-31T08:00:00Z","data":{{"number":{number},"note":"{note}"}}}}'
        )
        yield Event(event_id, event_type, subject, text)


ROW_COLUMNS = ("pos", "agent", "class", "id", "type", "payload")


def rows(events: list[Event], *, after_seq: int = 0) -> list[tuple[int, str, int, str, str, str]]:
    """The events as rows of `agent_events`, at the stream sequences after `after_seq`."""
    return [
        (pack(ORDINAL, after_seq + place), one.subject, class_of(one.type).value, one.id, one.type, one.text)
        for place, one in enumerate(events, start=1)
    ]


def frame_of(event: Event, seq: int) -> bytes:
    """The event as the relay sends it."""
    return event_frame(f"{TAG}-{seq}", event.type, event.text)


def rounds(load: Load, *, per_round: int, after_seq: int = 0) -> list[list[tuple[int | None, bytes]]]:
    """What goes out when every `per_round` events are released at once: rounds of (agent number, chunk).

    An agent number of None is every agent.
    """
    result = []
    events = list(make_events(load))
    for start in range(0, len(events), per_round):
        addressed: dict[int | None, list[bytes]] = {}
        for place in range(start, min(start + per_round, len(events))):
            receiver = None if load.broadcast else place % load.agents
            addressed.setdefault(receiver, []).append(frame_of(events[place], after_seq + place + 1))
        result.append([(receiver, chunk(frames)) for receiver, frames in addressed.items()])
    return result
