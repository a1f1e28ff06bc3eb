"""A small language for writing histories by hand: what happened, a line each, second by second.

    story = Story(critical_s=100, standard_s=10)
    story.publish("e1", "a1")          # critical unless the type says otherwise; acked at the next cursor
    story.connect("a1", "earliest")
    story.deliver("a1", "e1")
    story.converge()
    assert story.kinds() == []

Every step takes a tenth of a second; `wait` takes longer. Nothing here judges: a story may tell of any behaviour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from reports.checkers import CHECKERS
from reports.checkers.findings import Finding, Judged
from reports.checkers.follow import chains_of
from reports.history import (
    Acked,
    Bookmark,
    ByClass,
    Connect,
    Connected,
    Deliver,
    Disconnect,
    Fault,
    Floors,
    Gap,
    Gone,
    Handled,
    Invented,
    Phase,
    Process,
    Publish,
    Published,
    Record,
    Run,
    Saved,
    Sent,
    Swept,
    Writer,
)
from reports.index import Index

STEP_NS = 100_000_000
CRITICAL = "task.assigned"
STANDARD = "note.added"


class Story:
    """A history in the making."""

    def __init__(
        self,
        *,
        critical_s: float = 100,
        standard_s: float = 10,
        slack_s: float = 1,
        bound_s: float | None = None,
        dedupe_s: float | None = None,
        world: Literal["sim", "production"] = "sim",
    ) -> None:
        self.now_ns = 0
        self.records: list[Record] = []
        self.epoch = "aaaaaa"
        self.seq = 0
        self._facts: dict[str, tuple[str, str, str]] = {}
        self._conns: Counter[str] = Counter()
        self._at: dict[str, str | None] = {}
        self._starts: dict[str, str | None] = {}
        self._add(
            Run,
            plan="story",
            seed=1,
            world=world,
            retention_ns=ByClass(critical=int(critical_s * 1e9), standard=int(standard_s * 1e9)),
            critical_types=(CRITICAL, "task.created", "task.mentioned"),
            slack_ns=int(slack_s * 1e9),
            started_at="2026-01-31T08:00:00Z",
            converge_bound_ns=None if bound_s is None else int(bound_s * 1e9),
            dedupe_window_ns=None if dedupe_s is None else int(dedupe_s * 1e9),
        )

    # Time and phases

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += int(seconds * 1e9)

    def phase(self, name: Literal["safety", "healed", "converged", "end"]) -> None:
        """Enter a phase."""
        self._add(Phase, name=name)

    def converge(self) -> None:
        """The usual end: healed, caught up, the end."""
        self.phase("healed")
        self.wait(2)
        self._add(Writer, pending=0)
        self.phase("converged")
        self.phase("end")

    def fault(
        self,
        name: str,
        phase: Literal["asked", "effective", "lifted", "ineffective"],
        what: str = "cut",
        **proof: Any,
    ) -> None:
        """A step in a fault's life."""
        self._add(Fault, fault=name, phase=phase, what=what, target="relay-nats", proof=proof)

    def kill(self, name: str = "relay") -> None:
        """A SIGKILL."""
        self._add(Process, name=name, what="killed", pid=1)

    def writer(self, pending: int) -> None:
        """A look at pg-writer."""
        self._add(Writer, pending=pending)

    # Publishing

    def publish(self, event_id: str, agent: str, event_type: str = CRITICAL, *, seq: int | None = None) -> str:
        """An event is sent and acked at the next cursor, or at `seq`."""
        self.send(event_id, agent, event_type)
        return self.ack(event_id, seq=seq)

    def send(self, event_id: str, agent: str, event_type: str = CRITICAL) -> None:
        """An event is sent."""
        self._add(Publish, publisher="p", id=event_id, agent=agent, type=event_type)
        self._facts.setdefault(event_id, ("", event_type, agent))

    def ack(self, event_id: str, *, seq: int | None = None, duplicate: bool = False) -> str:
        """Its ack comes."""
        cursor = self._place(event_id, seq)
        self._add(
            Published, publisher="p", id=event_id, outcome="acked", cursor=cursor, duplicate=duplicate, status=202
        )
        return cursor

    def fail(self, event_id: str, outcome: Literal["refused", "unknown"], status: int | None = None) -> None:
        """It is refused, or its outcome stays unknown."""
        self._add(Published, publisher="p", id=event_id, outcome=outcome, status=status)

    def store(self, event_id: str, agent: str, event_type: str = CRITICAL) -> str:
        """The stream stores an event that the history does not show being acked."""
        self._facts.setdefault(event_id, ("", event_type, agent))
        return self._place(event_id, None)

    def handled(self, agent: str, event_id: str, digest: str | None = None) -> None:
        """The agent's application is done with an event."""
        self._add(Handled, agent=agent, id=event_id, digest=digest)

    def saved(self, agent: str, cursor: str) -> None:
        """The agent's cursor is durable."""
        self._add(Saved, agent=agent, cursor=cursor)

    def invented(self, agent: str, cursor: str, status: int | None, reason: str | None = None) -> None:
        """The agent asks behind a cursor that it made up."""
        self._add(Invented, agent=agent, cursor=cursor, status=status, reason=reason)

    def new_epoch(self, epoch: str) -> None:
        """The stream is made anew."""
        self.epoch, self.seq = epoch, 0

    # Agents

    def connect(
        self,
        agent: str,
        cursor: str | None = None,
        *,
        status: int | None = 200,
        reason: str | None = None,
        answered_after_s: float = 0.0,
        types: tuple[str, ...] = (),
        told: str | None = None,
    ) -> str:
        """An agent connects and is answered; `cursor` may be an event's id, for its cursor."""
        self._conns[agent] += 1
        conn = f"{agent}.{self._conns[agent]}"
        presented = self.cursor(cursor) if cursor in self._facts else cursor
        self._add(Connect, agent=agent, conn=conn, cursor=presented, types=types, told=told)
        self.wait(answered_after_s)
        self._add(Connected, agent=agent, conn=conn, status=status, reason=reason)
        self._at[agent] = presented
        self._starts[agent] = presented if presented is not None and "-" in presented else None
        return conn

    def deliver(self, agent: str, *event_ids: str, cursor: str | None = None) -> None:
        """Events arrive at an agent, under their cursors or another one."""
        for event_id in event_ids:
            known, event_type, addressee = self._facts.get(event_id, ("", CRITICAL, agent))
            at = cursor or known
            self._add(
                Deliver,
                agent=agent,
                conn=self.conn(agent),
                cursor=at,
                id=event_id,
                type=event_type,
                addressee=addressee,
            )
            self._at[agent] = at

    def bookmark(self, agent: str, cursor: str | None = None) -> None:
        """A bookmark arrives, at the head unless said."""
        at = cursor or f"{self.epoch}-{self.seq}"
        self._add(Bookmark, agent=agent, conn=self.conn(agent), cursor=at)
        self._at[agent] = at

    def gap(self, agent: str, *, critical: str | None = None, standard: str | None = None) -> None:
        """The agent is told of a gap; the floors are named by event id."""
        self._add(
            Gap, agent=agent, conn=self.conn(agent), cursor=self._at[agent], floors=self._floors(critical, standard)
        )

    def gone(
        self,
        agent: str,
        *,
        critical: str | None = None,
        standard: str | None = None,
        reason: Literal["expired", "wrong_epoch", "ahead"] = "expired",
        via: Literal["status", "event"] = "event",
    ) -> None:
        """The agent is told of a loss; the floors are named by event id."""
        self._add(
            Gone,
            agent=agent,
            conn=self.conn(agent),
            cursor=self._at[agent],
            reason=reason,
            via=via,
            floors=self._floors(critical, standard),
        )

    def disconnect(self, agent: str, why: str = "reset") -> None:
        """A connection ends."""
        self._add(Disconnect, agent=agent, conn=self.conn(agent), why=why)

    def acknowledge(self, agent: str, event_id: str) -> None:
        """The relay confirms an agent's acknowledgement."""
        self._add(Acked, agent=agent, cursor=self.cursor(event_id))

    # What an export adds

    def sent(self, agent: str, *event_ids: str, reached: str | None = None, types: tuple[str, ...] = ()) -> None:
        """The relay's word on the latest connection: it sent these events, and reached the head or another event."""
        cursors = [self.cursor(event_id) for event_id in event_ids]
        seqs = [int(cursor.partition("-")[2]) for cursor in cursors]
        self._add(
            Sent,
            agent=agent,
            conn=self.conn(agent),
            start=self._starts[agent],
            reached=self.cursor(reached) if reached else f"{self.epoch}-{self.seq}",
            count=len(seqs),
            sum=sum(seqs),
            first=cursors[seqs.index(min(seqs))] if seqs else None,
            last=cursors[seqs.index(max(seqs))] if seqs else None,
            types=types,
        )
        self.disconnect(agent)

    def swept(self, agent: str, *, critical: str | None = None, standard: str | None = None) -> None:
        """The floors at the export; named by event id."""
        self._add(Swept, agent=agent, floors=self._floors(critical, standard))

    # Looking

    def cursor(self, event_id: str | None) -> str:
        """An event's cursor."""
        return self._facts[event_id or ""][0]

    def conn(self, agent: str) -> str:
        """An agent's latest connection."""
        return f"{agent}.{self._conns[agent]}"

    def index(self) -> Index:
        """The story as an index."""
        return Index.of(self.records)

    def judged(self) -> list[Judged]:
        """What every checker says."""
        return judge(self.records)

    def findings(self) -> list[Finding]:
        """All findings."""
        return [finding for judged in self.judged() for finding in judged]

    def kinds(self) -> list[str]:
        """The kinds of all findings."""
        return [finding.kind.value for finding in self.findings()]

    # Helpers

    def _add(self, kind: Any, **fields: Any) -> None:
        self.records.append(kind(t_ns=self.now_ns, **fields))
        self.now_ns += STEP_NS

    def _place(self, event_id: str, seq: int | None) -> str:
        _, event_type, agent = self._facts[event_id]
        known = self._facts[event_id][0]
        if seq is None and known:
            return known
        self.seq = self.seq + 1 if seq is None else seq
        cursor = f"{self.epoch}-{self.seq}"
        self._facts[event_id] = (known or cursor, event_type, agent)
        return cursor

    def _floors(self, critical: str | None, standard: str | None) -> Floors:
        return Floors(
            critical=None if critical is None else self.cursor(critical),
            standard=None if standard is None else self.cursor(standard),
        )


def judge(records: Sequence[Record]) -> list[Judged]:
    """What every checker says of some records."""
    index = Index.of(records)
    chains = chains_of(index)
    return [check(index, chains) for check in CHECKERS]


def kinds_of(records: Sequence[Record]) -> list[str]:
    """The kinds of all findings in some records."""
    return [finding.kind.value for judged in judge(records) for finding in judged]


def telling(records: Sequence[Record]) -> list[Record]:
    """The same history of a run whose applications tell what they have handled."""
    return [msgspec.structs.replace(one, tells_handled=True) if isinstance(one, Run) else one for one in records]
