"""What a history's lines may be: one frozen struct a kind of record, and nothing that reads, writes or judges them.

Times are `t_ns`: nanoseconds of one clock since the history began. Cursors stand as the text that went over the wire.
The JSON Schema of a line (`meshrelay schema history`) is made from these types and their docstrings.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

CLIENT_MARK = "#"
"""Behind it the number of an agent's client beside the first, as in `ann#2`: no agent's name has it."""


def owner_of(client: str) -> str:
    """The agent that a client belongs to."""
    return client.partition(CLIENT_MARK)[0]


class ByClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A duration for each retention class."""

    critical: int
    standard: int


class Floors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cursor up to which each class was swept for an agent, as the relay told it; None if nothing was."""

    critical: str | None = None
    standard: str | None = None


class Reminders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the relay was configured to do about assignments that are not acknowledged, in ns of the run's time."""

    after_ns: int
    """How long it waits, from when an assignment is stored."""
    within_ns: int
    """When nothing is wrong, a copy is in the stream so long after that at the latest, the wait included."""
    settle_ns: int
    """How long after the last fault something may still be wrong."""
    silent: tuple[str, ...]
    """The clients of agents that acknowledge nothing."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False, tag_field="kind"):
    """What every record has."""

    t_ns: int


class Run(_Record, frozen=True, tag="run"):
    """The first record: what was asked of the run and what the relay was configured to promise."""

    plan: str
    """The plan's name."""
    seed: int
    world: Literal["real", "sim", "production"]
    """`production` is an export: nobody played it, so it need not show faults, healing or convergence."""
    retention_ns: ByClass
    critical_types: tuple[str, ...]
    slack_ns: int
    """How far an age computed from this history may be off: the writer's delay, the sweep interval, clock steps."""
    started_at: str
    """ISO 8601."""
    versions: dict[str, str] = {}
    """Name and version of everything that took part, the machine's facts included."""
    converge_bound_ns: int | None = None
    """The bound that G6 states: from `healed` to `converged`; None if the run states none."""
    dedupe_window_ns: int | None = None
    """How long the stream itself remembers an event's id, in the run's time; None: longer than anybody repeats.

    A repeat after it gets a second place in the stream, and an ack that names it, while pg-writer is behind; whether
    it was *stored* twice, the deliveries tell.
    """
    command: tuple[str, ...] = ()
    """The words of the command that repeats the run."""
    tells_handled: bool = False
    """Whether the agents' applications tell what they have handled: then nothing may be saved that they have not."""
    token_slack_ns: int | None = None
    """How far beyond its end a relay may take a token for good: what its clock is put back, and its pauses; None: not
    judged."""
    reminders: Reminders | None = None
    """When an assignment is to be dispatched again for certain; None if that can't be said of the run."""


class Publish(_Record, frozen=True, tag="publish"):
    """A publisher is about to send an event; a retry with the same id writes it again."""

    publisher: str
    id: str
    agent: str
    """The addressee: an agent, or `_all`."""
    type: str
    digest: str | None = None
    """Of all that the event says but its id; None if it is not told."""


class Published(_Record, frozen=True, tag="published"):
    """The outcome of one attempt: `unknown` is no answer or one that doesn't say (a timeout, a reset, a 503)."""

    publisher: str
    id: str
    outcome: Literal["acked", "refused", "unknown"]
    cursor: str | None = None
    duplicate: bool = False
    status: int | None = None


class Connect(_Record, frozen=True, tag="connect"):
    """An agent is about to connect."""

    agent: str
    conn: str
    """Unique among the agent's connections."""
    cursor: str | None = None
    """The presented cursor, or `earliest`, `acked`, `now`; None if none was presented.

    On a resync it is the position within the relay's own resync address, never None.
    """
    types: tuple[str, ...] = ()
    """It asks for these types only; empty is all."""
    told: str | None = None
    """A head that it was given before: it knows of the life of the stream that this is of."""


class Connected(_Record, frozen=True, tag="connected"):
    """The answer's status has been read; None if there was no answer."""

    agent: str
    conn: str
    status: int | None
    reason: str | None = None
    token_ends_ns: int | None = None
    """When the token that it was asked for with ends, at the latest; None if that is not told."""


class Deliver(_Record, frozen=True, tag="deliver"):
    """The agent has read an event; written before it is handled or its cursor saved, and before any client filter."""

    agent: str
    conn: str
    cursor: str
    id: str
    type: str
    addressee: str
    """The event's `subject`."""


class Bookmark(_Record, frozen=True, tag="bookmark"):
    """The agent has read a bookmark: it has been given everything up to this cursor."""

    agent: str
    conn: str
    cursor: str


class Gap(_Record, frozen=True, tag="gap"):
    """The agent was told that standard events after this cursor are gone."""

    agent: str
    conn: str
    cursor: str | None
    """Where the agent stood: as the notice says, else the last cursor received, else the one presented."""
    floors: Floors


class Gone(_Record, frozen=True, tag="gone"):
    """The agent was told that critical events after this cursor are gone, or that the cursor means nothing here."""

    agent: str
    conn: str
    cursor: str | None
    reason: Literal["expired", "wrong_epoch", "ahead"]
    via: Literal["status", "event"]
    floors: Floors


class Disconnect(_Record, frozen=True, tag="disconnect"):
    """The connection has ended; a crash of the agent ends its connection too."""

    agent: str
    conn: str
    why: str


class Handled(_Record, frozen=True, tag="handled"):
    """The agent's application has been given an event, and is done with it."""

    agent: str
    id: str
    digest: str | None = None
    """As in `publish`, of what it was given."""


class Invented(_Record, frozen=True, tag="invented"):
    """The agent asked for what lies behind a cursor that it had made up, and what came of it."""

    agent: str
    cursor: str
    status: int | None
    """Of the answer; None if there was none that says anything of the cursor."""
    reason: str | None = None
    """Of the loss that the answer tells of, whether by its status or within a page; None if it tells of none."""


class Saved(_Record, frozen=True, tag="saved"):
    """The agent's handler has returned and the cursor is durably stored."""

    agent: str
    cursor: str


class Acked(_Record, frozen=True, tag="acked"):
    """The relay has confirmed the agent's acknowledgement."""

    agent: str
    cursor: str


class Sent(_Record, frozen=True, tag="sent"):
    """A relay's word on a whole connection, given at its end: how much of which range it sent, not which events.

    What was sent is not what was read: the agent may have gone before the last of it arrived.
    """

    agent: str
    conn: str
    count: int
    """Events sent."""
    sum: int
    """The sum of their sequences, modulo 2^48: it tells one lost event from another."""
    start: str | None = None
    """Behind this cursor the connection began; None is the beginning of what was retained."""
    reached: str | None = None
    """Everything addressed to the agent up to this cursor was sent, left out by `types`, or told to be gone."""
    first: str | None = None
    """The lowest cursor sent; None if nothing was."""
    last: str | None = None
    """The highest cursor sent."""
    types: tuple[str, ...] = ()
    """The agent asked for these types only; empty is all."""


class Epoch(_Record, frozen=True, tag="epoch"):
    """The stream begins a new life, whose cursors begin with this tag; only those of the current one mean anything."""

    tag: str


class Swept(_Record, frozen=True, tag="swept"):
    """Up to where an agent's events had been deleted when the history was exported: no record tells of those."""

    agent: str
    """An agent, or `_all` for what is addressed to every one."""
    floors: Floors


class Fault(_Record, frozen=True, tag="fault"):
    """A step in a fault's life; only what has a proof was `effective`."""

    fault: str
    """The fault's id in the plan."""
    phase: Literal["asked", "effective", "lifted", "ineffective"]
    what: str
    """The kind of fault: cut, latency, kill ..."""
    target: str
    direction: str | None = None
    proof: dict[str, Any] = {}
    """What was seen that shows it."""


class Phase(_Record, frozen=True, tag="phase"):
    """The run enters a phase: faults from `safety`, none from `healed`, all caught up at `converged`."""

    name: Literal["safety", "healed", "converged", "end"]


class Writer(_Record, frozen=True, tag="writer"):
    """An observation of pg-writer."""

    pending: int
    """Messages delivered to it or waiting for it, and not acknowledged."""
    watermark: int | str | None = None
    head: int | str | None = None


class Process(_Record, frozen=True, tag="process"):
    """A step in a process's life; `killed` is SIGKILL."""

    name: str
    what: Literal["started", "killed", "exited", "stopped"]
    pid: int | None = None


class Witness(_Record, frozen=True, tag="witness"):
    """What the run itself saw and no other record says, at its end: as `verdict.Witnessed`, and unplayed faults."""

    broken: tuple[str, ...] = ()
    useless: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader of the verdict must know, a sentence each; it decides nothing."""


Record: TypeAlias = (
    Run
    | Publish
    | Published
    | Connect
    | Connected
    | Deliver
    | Bookmark
    | Gap
    | Gone
    | Disconnect
    | Handled
    | Invented
    | Saved
    | Acked
    | Sent
    | Epoch
    | Swept
    | Fault
    | Phase
    | Writer
    | Witness
    | Process
)
