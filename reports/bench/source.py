"""A source of correct histories of any length: what agents of a relay that keeps every promise would have recorded.

It shares no code with the checkers. Publishers publish, and repeat what was not answered; agents live, crash before
they save, come back at once, late, or after their events have expired, and are told then; some events are for all.
Equal seeds give equal histories. Every second sequence is left free, for whoever wants to put something there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from reports.history import (
    Bookmark,
    ByClass,
    Connect,
    Connected,
    Deliver,
    Disconnect,
    Floors,
    Gap,
    Gone,
    Phase,
    Publish,
    Published,
    Record,
    Run,
    Writer,
)

EPOCH = "aaaaaa"
CRITICAL, STANDARD = "task.assigned", "note.posted"
ALL_AGENTS = "_all"
MS_NS = 1_000_000
CRITICAL_MS, STANDARD_MS, SLACK_MS = 600_000, 100_000, 1_000
"""Retention as in production, 7 to 1 and a little; an event every 20 ms."""
STEP_MS = 20
AWAY_MS = (200, 10_000, STANDARD_MS * 3 // 2, CRITICAL_MS * 4 // 3)
AWAY_WEIGHTS = (40, 40, 15, 5)


@dataclass(slots=True)
class _Stored:
    seq: int
    event_id: str
    type: str
    addressee: str
    at_ms: int

    def is_gone(self, now_ms: int) -> bool:
        kept_ms = CRITICAL_MS if self.type == CRITICAL else STANDARD_MS
        return now_ms - self.at_ms >= kept_ms


@dataclass(slots=True)
class _Agent:
    name: str
    events: list[_Stored] = field(default_factory=list)
    """What is addressed to it, by sequence."""
    next: int = 0
    """How far its connection has got in them."""
    saved: int = 0
    """The sequence of the cursor that it has stored; 0 is none."""
    saved_next: int = 0
    conn: int = 0
    is_open: bool = False
    back_ms: int = 0
    floors: dict[str, int] = field(default_factory=dict)
    """The highest sequence gone, by type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How much of what a history has."""

    deliveries: int
    agents: int = 50
    seed: int = 1
    broadcast_share: float = 0.02
    leaves_each: float = 0.03
    """The chance that one of the agents leaves at an event."""


def correct_history(shape: Shape) -> Iterator[Record]:
    """The records of a run that broke nothing and converged, of at least so many deliveries."""
    return _Mesh(shape).play()


class _Mesh:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._random = random.Random(shape.seed)
        self._agents = [_Agent(f"agent-{number}") for number in range(shape.agents)]
        self._by_name = {agent.name: agent for agent in self._agents}
        self._now_ms = 0
        self._seq = 0
        self._delivered = 0

    def play(self) -> Iterator[Record]:
        yield Run(
            t_ns=0,
            plan="generated",
            seed=self._shape.seed,
            world="sim",
            retention_ns=ByClass(critical=CRITICAL_MS * MS_NS, standard=STANDARD_MS * MS_NS),
            critical_types=(CRITICAL,),
            slack_ns=SLACK_MS * MS_NS,
            started_at="2026-01-31T08:00:00Z",
        )
        yield Phase(t_ns=0, name="safety")
        for agent in self._agents:
            yield from self._connect(agent)
        while self._delivered < self._shape.deliveries:
            yield from self._publish()
            yield from self._come_and_go()
        yield Phase(t_ns=self._ns(), name="healed")
        for agent in self._agents:
            if not agent.is_open:
                yield from self._connect(agent)
        self._now_ms += 2 * SLACK_MS
        yield Writer(t_ns=self._ns(), pending=0)
        yield Phase(t_ns=self._ns(), name="converged")
        yield Phase(t_ns=self._ns(), name="end")

    def _ns(self) -> int:
        return self._now_ms * MS_NS

    def _publish(self) -> Iterator[Record]:
        draw = self._random.random
        self._now_ms += STEP_MS
        self._seq += 2
        is_for_all = draw() < self._shape.broadcast_share
        to = ALL_AGENTS if is_for_all else self._agents[int(draw() * len(self._agents))].name
        stored = _Stored(self._seq, f"event-{self._seq // 2}", CRITICAL if draw() < 0.5 else STANDARD, to, self._now_ms)
        publish = Publish(t_ns=self._ns(), publisher="p", id=stored.event_id, agent=to, type=stored.type)
        yield publish
        is_retried = draw() < 0.02
        if is_retried:  # the answer was lost
            yield Published(t_ns=self._ns(), publisher="p", id=stored.event_id, outcome="unknown")
            yield publish
        yield Published(
            t_ns=self._ns() + MS_NS,
            publisher="p",
            id=stored.event_id,
            outcome="acked",
            cursor=f"{EPOCH}-{stored.seq}",
            duplicate=is_retried,
        )
        for agent in self._agents if is_for_all else (self._by_name[to],):
            agent.events.append(stored)
            if agent.is_open:
                yield from self._deliver(agent)

    def _come_and_go(self) -> Iterator[Record]:
        draw = self._random.random
        if draw() < self._shape.leaves_each:
            agent = self._agents[int(draw() * len(self._agents))]
            if agent.is_open:
                yield Disconnect(t_ns=self._ns(), agent=agent.name, conn=str(agent.conn), why="reset")
                agent.is_open = False
                # at once, within retention, past that of standard events, and now and then past that of all
                agent.back_ms = self._now_ms + self._random.choices(AWAY_MS, AWAY_WEIGHTS)[0]
                if agent.next and draw() < 0.5:  # it had not saved the last of what it read
                    agent.saved_next = max(agent.saved_next, agent.next - 1 - int(draw() * 3))
                    agent.saved = agent.events[agent.saved_next - 1].seq if agent.saved_next else agent.saved
                else:
                    agent.saved_next = agent.next
                    agent.saved = agent.events[agent.next - 1].seq if agent.next else agent.saved
            elif self._now_ms >= agent.back_ms:
                yield from self._connect(agent)
        elif self._seq % 20 == 0:
            agent = self._agents[int(draw() * len(self._agents))]
            if not agent.is_open and self._now_ms >= agent.back_ms:
                yield from self._connect(agent)

    def _connect(self, agent: _Agent) -> Iterator[Record]:
        """It comes back, is told what is gone, and is given the rest."""
        self._sweep(agent)
        cursor = f"{EPOCH}-{agent.saved}" if agent.saved else None
        critical, standard = agent.floors.get(CRITICAL, 0), agent.floors.get(STANDARD, 0)
        floors = Floors(
            critical=f"{EPOCH}-{critical}" if critical else None, standard=f"{EPOCH}-{standard}" if standard else None
        )
        is_told = cursor is None or critical <= agent.saved
        if not is_told:
            yield from self._open(agent, cursor, 410, "expired")
            conn = str(agent.conn)
            yield Gone(
                t_ns=self._ns(), agent=agent.name, conn=conn, cursor=cursor, reason="expired", via="status",
                floors=floors,
            )  # fmt: skip
            yield Disconnect(t_ns=self._ns(), agent=agent.name, conn=conn, why="refused")
        yield from self._open(agent, cursor or "earliest", 200, None)
        conn = str(agent.conn)
        if not is_told:
            yield Gone(
                t_ns=self._ns(), agent=agent.name, conn=conn, cursor=cursor, reason="expired", via="event",
                floors=floors,
            )  # fmt: skip
        elif cursor is not None and standard > agent.saved:
            yield Gap(t_ns=self._ns(), agent=agent.name, conn=conn, cursor=cursor, floors=floors)
        agent.is_open = True
        agent.next = agent.saved_next
        yield from self._deliver(agent)
        if self._seq:
            yield Bookmark(t_ns=self._ns(), agent=agent.name, conn=conn, cursor=f"{EPOCH}-{self._seq}")

    def _open(self, agent: _Agent, cursor: str | None, status: int, reason: str | None) -> Iterator[Record]:
        agent.conn += 1
        yield Connect(t_ns=self._ns(), agent=agent.name, conn=str(agent.conn), cursor=cursor)
        yield Connected(t_ns=self._ns(), agent=agent.name, conn=str(agent.conn), status=status, reason=reason)

    def _deliver(self, agent: _Agent) -> Iterator[Record]:
        name, conn, t_ns = agent.name, str(agent.conn), self._ns() + 2 * MS_NS
        while agent.next < len(agent.events):
            stored = agent.events[agent.next]
            agent.next += 1
            if stored.is_gone(self._now_ms):
                continue
            self._delivered += 1
            yield Deliver(
                t_ns=t_ns, agent=name, conn=conn, cursor=f"{EPOCH}-{stored.seq}", id=stored.event_id, type=stored.type,
                addressee=stored.addressee,
            )  # fmt: skip

    def _sweep(self, agent: _Agent) -> None:
        """Raise its floors: everything of a class up to the newest that is gone."""
        for kind in (CRITICAL, STANDARD):
            gone = (one.seq for one in reversed(agent.events) if one.type == kind and one.is_gone(self._now_ms))
            agent.floors[kind] = next(gone, 0)
