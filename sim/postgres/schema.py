"""The relay's tables as its migrations leave them, and the catalogue of what was created so far."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

from sim.postgres.errors import ServerError
from sim.postgres.tables import Index, Table


class Relation(NamedTuple):
    """A table, view or later column that was created; a column is named `table.column`."""

    name: str


class SchemaMigration(NamedTuple):
    """A migration that was applied."""

    number: int
    name: str
    applied_at: int


class StreamEpoch(NamedTuple):
    """An epoch of the stream."""

    ordinal: int
    tag: str
    reason: str
    began_at: int
    last_seq: int


class EventStream(NamedTuple):
    """Where pg-writer stands."""

    name: str
    epoch: int
    created: str
    watermark: int
    mark_ns: int | None
    fence: int
    holder: str | None
    lease_until: int
    decided_ns: int | None


class AgentEvent(NamedTuple):
    """An event; `kept_class` is the column `class`."""

    pos: int
    agent: str
    kept_class: int
    id: str
    type: str
    payload: str
    persisted_at: int


class AgentFloor(NamedTuple):
    """The highest deleted position of an agent and class."""

    agent: str
    kept_class: int
    floor: int


class SweepMark(NamedTuple):
    """The highest deleted position of all."""

    stream: str
    swept: int
    completed_at: int | None


class AgentAck(NamedTuple):
    """What an agent has acknowledged."""

    agent: str
    acked: int
    acked_at: int


class OpenAssignment(NamedTuple):
    """A `task.assigned` that nobody acknowledged; `redispatches` is the column `count`."""

    pos: int
    agent: str
    due_at: int
    redispatches: int


class DeadLetter(NamedTuple):
    """What could not become an event."""

    pos: int
    last_pos: int
    reason: str
    detail: str
    subject: str | None
    payload: bytes | None
    recorded_at: int


def _check_ordinal(row: StreamEpoch) -> None:
    if not 1 <= row.ordinal <= 32767:
        message = 'new row for relation "stream_epoch" violates check constraint "stream_epoch_ordinal_check"'
        raise ServerError("23514", message, table="stream_epoch", constraint="stream_epoch_ordinal_check")


class Tables:
    """All tables of one database, empty."""

    def __init__(self) -> None:
        self._make_stream()
        self._make_events()
        self._make_agents()
        self._make_queues()
        found: list[Table[Any]] = [
            self.relation,
            self.schema_migration,
            self.stream_epoch,
            self.event_stream,
            self.agent_events,
            self.agent_floors,
            self.sweep_mark,
            self.agent_acks,
            self.open_assignments,
            self.dead_letters,
        ]
        self.by_name: dict[str, Table[Any]] = {table.name: table for table in found}

    def _make_stream(self) -> None:
        self.relation = Table(
            "pg_class", Relation._fields, Index[Relation]("pg_class_relname_nsp_index", attrgetter("name"), unique=True)
        )
        self.schema_migration = Table(
            "schema_migration",
            SchemaMigration._fields,
            Index[SchemaMigration]("schema_migration_pkey", attrgetter("number"), unique=True),
        )
        self.stream_epoch = Table(
            "stream_epoch",
            StreamEpoch._fields,
            Index[StreamEpoch]("stream_epoch_pkey", attrgetter("ordinal"), unique=True),
            Index[StreamEpoch]("stream_epoch_tag_key", attrgetter("tag"), unique=True),
            check=_check_ordinal,
        )
        self.event_stream = Table(
            "event_stream",
            EventStream._fields,
            Index[EventStream]("event_stream_pkey", attrgetter("name"), unique=True),
            nullable=("mark_ns", "holder", "decided_ns"),
        )

    def _make_events(self) -> None:
        self.events_by_id = Index[AgentEvent]("agent_events_id", attrgetter("id"), unique=True, ordered=False)
        self.events_replay = Index[AgentEvent]("agent_events_replay", attrgetter("agent", "pos"))
        self.events_sweep = Index[AgentEvent]("agent_events_sweep", attrgetter("kept_class", "persisted_at", "pos"))
        self.agent_events = Table(
            "agent_events",
            ("pos", "agent", "class", "id", "type", "payload", "persisted_at"),
            Index[AgentEvent]("agent_events_pkey", attrgetter("pos"), unique=True),
            self.events_by_id,
            self.events_replay,
            self.events_sweep,
        )

    def _make_agents(self) -> None:
        self.agent_floors = Table(
            "agent_floors",
            ("agent", "class", "floor"),
            Index[AgentFloor]("agent_floors_pkey", attrgetter("agent", "kept_class"), unique=True),
        )
        self.sweep_mark = Table(
            "sweep_mark",
            SweepMark._fields,
            Index[SweepMark]("sweep_mark_pkey", attrgetter("stream"), unique=True),
            nullable=("completed_at",),
        )
        self.agent_acks = Table(
            "agent_acks", AgentAck._fields, Index[AgentAck]("agent_acks_pkey", attrgetter("agent"), unique=True)
        )

    def _make_queues(self) -> None:
        self.assignments_by_agent = Index[OpenAssignment]("open_assignments_agent", attrgetter("agent", "pos"))
        self.assignments_due = Index[OpenAssignment]("open_assignments_due", attrgetter("due_at", "pos"))
        self.open_assignments = Table(
            "open_assignments",
            ("pos", "agent", "due_at", "count"),
            Index[OpenAssignment]("open_assignments_pkey", attrgetter("pos"), unique=True),
            self.assignments_by_agent,
            self.assignments_due,
        )
        self.letters_recorded = Index[DeadLetter]("dead_letters_recorded", attrgetter("recorded_at", "pos"))
        """Not an index of the real table, which has so few rows that it is read whole."""
        self.dead_letters = Table(
            "dead_letters",
            DeadLetter._fields,
            Index[DeadLetter]("dead_letters_pkey", attrgetter("pos"), unique=True),
            self.letters_recorded,
            nullable=("subject", "payload"),
        )
