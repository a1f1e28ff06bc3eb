"""What a feed writes, without I/O: the commands of one transaction, and what Redis says of where it stands.

Entries, ids, floors, ages and the watermark move in one transaction, so that a reader's transaction sees all or none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from system.batch import Batch
from system.cursor import Position, pack
from system.event import RetentionClass, class_of
from system.settings import Settings
from system.transport.redis.keys import Keys, entry_id
from system.transport.redis.link import Command

ID_MARGIN_S = 900.0
"""How much longer than its event an id is known. Postgres may store an event later than Redis, and sweeps at intervals;
what it still recognises as a repeat must not be new here."""
AGES_PER_RETENTION = 1_000
"""How finely ages are kept: an event stays for at most a thousandth of the shorter retention too long, never too short;
seven days at a day's grain are then 7,000 members, whatever the traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Where Redis says that its streams are filled up to; a Redis that has none begins at 0."""

    watermark: Position
    mark_ns: int | None
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event to be added."""

    position: Position
    agent: str
    kept_class: RetentionClass
    id: str
    type: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One transaction: from one watermark to the next, with all that lies between."""

    before: Position
    after: Feed
    entries: Sequence[Entry]
    floors: Mapping[RetentionClass, Mapping[str, Position]]
    """What is gone already, of what is fed: positions between `before` and `after`."""
    age_s: float = 0.0
    """How long ago the events were persisted; the youngest's, where it is from Postgres that they come."""


def read_feed(answer: Sequence[bytes | None]) -> Feed:
    """The answer to HMGET of keys.FIELDS."""
    watermark, mark_ns, tag = answer
    return Feed(
        watermark=Position(int(watermark or 0)),
        mark_ns=int(mark_ns) if mark_ns else None,
        tag=(tag or b"").decode(),
    )


def step_of(batch: Batch, before: Feed, ordinal: int, critical_types: frozenset[str]) -> Step:
    """The step over a batch that was read from the stream."""
    entries = [
        Entry(
            position=pack(ordinal, seq),
            agent=event.subject,
            kept_class=class_of(event.type, critical_types),
            id=event.id,
            type=event.type,
            text=event.text,
        )
        for seq, event in batch.events
    ]
    after = Feed(watermark=pack(ordinal, batch.last_seq), mark_ns=batch.mark_ns, tag=before.tag)
    return Step(before=before.watermark, after=after, entries=entries, floors={})


def grain_ms(settings: Settings) -> int:
    """How finely ages are kept, in ms."""
    return max(1, round(settings.retention_standard_s * 1_000 / AGES_PER_RETENTION))


def rising(floors: Mapping[str, Position], found: Iterable[bytes | None]) -> dict[str, Position]:
    """The floors of one class that lie above those that are there."""
    pairs = zip(floors.items(), found, strict=True)
    return {agent: floor for (agent, floor), had in pairs if floor > int(had or 0)}


def commands(
    keys: Keys, settings: Settings, step: Step, *, floors: Mapping[RetentionClass, Mapping[str, Position]], now_ms: int
) -> list[Command]:
    """The transaction of a step, its known ids left out already; `floors` are those that rise."""
    grain = grain_ms(settings)
    fed_ms = (now_ms - round(step.age_s * 1_000)) // grain * grain + grain
    found: list[Command] = []
    streams: dict[tuple[str, RetentionClass], None] = {}
    for one in step.entries:
        found.append(
            ("XADD", keys.events(one.agent, one.kept_class), entry_id(one.position), "t", one.type, "d", one.text)
        )
        kept_s = settings.retention_s(one.kept_class) - step.age_s + ID_MARGIN_S
        found.append(("SET", keys.event_id(one.id), one.position, "EX", max(1, math.ceil(kept_s))))
        streams[one.agent, one.kept_class] = None
    found += [("ZADD", keys.oldest(kept_class), "NX", fed_ms, agent) for agent, kept_class in streams]
    for kept_class, higher in floors.items():
        if higher:
            pairs = [word for agent, floor in higher.items() for word in (agent, floor)]
            found.append(("HSET", keys.floors(kept_class), *pairs))
    after = step.after
    if step.entries:
        found.append(("ZREMRANGEBYSCORE", keys.ages, fed_ms, fed_ms))
        found.append(("ZADD", keys.ages, fed_ms, after.watermark))
    mark = "" if after.mark_ns is None else after.mark_ns
    found.append(("HSET", keys.feed, "watermark", after.watermark, "mark_ns", mark, "tag", after.tag))
    # whoever lost something unfed is concerned like whoever was given something: to stay live would be silence
    agents = dict.fromkeys([agent for agent, _ in streams] + [agent for higher in floors.values() for agent in higher])
    found.append(("PUBLISH", keys.news, " ".join([str(step.before), str(after.watermark), *agents])))
    return found
