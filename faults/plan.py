"""The plan of a run: workload, agents and faults over time, as a plain data file that either world can play.

A plan says everything that a run depends on; equal plans give equal workloads. Reading one checks it whole: every
problem is found, and says where, what was expected, what came, and what to do.

Times are seconds since the start of the *safety phase*, which lasts `duration_s` and has the faults. Then everything is
healed, and the *liveness phase* waits at most `converge_within_s` for all to be caught up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from faults.check import problems_of, shape_problem
from faults.vocabulary import Duration, Fault, Instant, Name, Restart

EVENTS_MAX = 2_000_000
"""Bounds the memory of a run: the arrivals of a plan are held as a list, about 200 bytes each."""
PLAN_BYTES_MAX = 16 * 1024 * 1024

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=EVENTS_MAX)]


class PlanInvalid(ValueError):
    """A plan can't be used; one line for each problem says where, what was expected, what came, what to do."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(source, problems)  # what it is made from: it must come whole out of a worker process
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"{self.source}: {problem}" for problem in self.problems)


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a plan."""


class Retention(_Part, frozen=True, kw_only=True):
    """How long events are kept: 7 days and 24 hours, squeezed to what a run can wait for."""

    critical_s: Duration
    standard_s: Duration


class RelayTimes(_Part, frozen=True, kw_only=True):
    """The relay's own intervals, squeezed with the retention."""

    sweep_interval_s: Duration = 1.0
    heartbeat_s: Duration = 1.0
    bookmark_s: Duration = 1.0
    redispatch_after_s: Duration = 20.0
    retry_min_ms: Annotated[int, Meta(ge=1, le=60_000)] = 100
    retry_max_ms: Annotated[int, Meta(ge=1, le=60_000)] = 500
    drain_deadline_s: Duration = 5.0
    lease_s: Duration = 2.0
    dedupe_window_s: Duration = 120.0
    publish_timeout_s: Duration = 2.0
    database_timeout_s: Duration = 2.0
    tail_poll_s: Duration = 0.5
    ready_after_silence_s: Duration = 3.0
    expiry_margin_s: Duration = 86_400.0
    """Transport jetstream: how much longer the stream keeps what Postgres would have expired."""
    idle_check_s: Duration = 0.75
    """How soon a relay that has nothing to do notices that a connection is dead."""


class RelayLimits(_Part, frozen=True, kw_only=True):
    """The relay's own sizes, where a plan wants them small enough to be reached; None leaves the relay's default."""

    page_rows: Annotated[int, Meta(ge=1, le=5_000)] | None = None
    tail_rows: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    writer_batch: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    hub_window_events: Annotated[int, Meta(ge=1)] | None = None
    slow_client_bytes: Annotated[int, Meta(ge=1024)] | None = None
    redispatch_max: Annotated[int, Meta(ge=0, le=100)] | None = None

    def given(self) -> dict[str, int]:
        """What the plan says, by the names of the relay's settings."""
        fields: dict[str, int | None] = msgspec.structs.asdict(self)
        return {name: value for name, value in fields.items() if value is not None}


class Servers(_Part, frozen=True, kw_only=True):
    """How the servers are run, as far as what they may lose depends on it."""

    nats_sync: Literal["always", "interval"] = "always"
    """When NATS syncs its files: before each PubAck, or every two minutes, which is its default."""
    redis_sync: Literal["always", "everysec", "no"] = "always"
    """Transport redis: when Redis syncs its file (`appendfsync`)."""
    nats_replicas: Literal[1, 3] = 1
    """On how many servers NATS keeps each stream; `leader_change` and `quorum_loss` need three.

    The three are one target: `kill`, `pause`, `restart` and `power_loss` hit all of them at once.
    """


class Awake(_Part, frozen=True, kw_only=True):
    """A time in which an agent wants to be connected; outside it sleeps."""

    from_s: Instant
    until_s: Instant | None = None
    """None: until the end of the run."""


class Agent(_Part, frozen=True, kw_only=True):
    """One agent and how it behaves."""

    name: str
    awake: tuple[Awake, ...] = (Awake(from_s=0.0),)
    crashes_s: tuple[Instant, ...] = ()
    """Its process dies here, in whatever it was doing, and starts again from its stored cursor."""
    handler_ms: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """How long it takes over an event: a slow reader."""
    ack_interval_s: Duration | None = 1.0
    """How often it acknowledges; None: never, so that it lives from its own stored cursor alone."""
    start_from: Literal["earliest", "now", "acked"] | None = None
    """Where it begins while it has no cursor; None leaves it to the relay."""
    token_ttl_s: Duration = 3_600.0
    connections: Annotated[int, Meta(ge=1, le=4)] = 1
    """Clients of this agent at the same time, each with a cursor of its own."""
    types: tuple[str, ...] = ()
    """It asks for events of these types only; empty is all."""
    forgets: bool = False
    """Its crashes take its stored cursor with them: it comes back as `start_from` says, by what it acknowledged."""
    pages_every_s: Duration | None = None
    """It reads pages of JSON so often, and as long as there is more, instead of a stream; None: it has a stream."""


class Publisher(_Part, frozen=True, kw_only=True):
    """One publisher: over the relay's HTTP, or straight into NATS."""

    name: Name
    via: Literal["http", "nats"]
    batch_max: Annotated[int, Meta(ge=1, le=1_000)] = 20
    """Events in one request, or awaiting their PubAck."""
    retry_max_s: Duration = 0.5
    """The longest pause before it tries again what has an unknown outcome; more where outages last for hours."""


class TypeWeight(_Part, frozen=True, kw_only=True):
    """An event type and how often it comes, relative to the others."""

    type: Annotated[str, Meta(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=64)]
    weight: Annotated[int, Meta(ge=1, le=1_000_000)]


class Pinned(_Part, frozen=True, kw_only=True):
    """An event that must be there, beside those that are drawn: without it a gap might hold nothing to lose."""

    at_s: Instant
    agent: str
    type: str


class Workload(_Part, frozen=True, kw_only=True):
    """What is published; `arrivals.py` draws the single events from it."""

    events: Count
    """Drawn events; `pinned` ones come on top."""
    shape: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1, max_length=10_000)]
    """Relative rates over equal slices of the safety phase."""
    publishers: tuple[Publisher, ...]
    types: Annotated[tuple[TypeWeight, ...], Meta(min_length=1)]
    broadcast_share: Share = 0.0
    """Part of the events that is addressed to `_all`."""
    repeat_share: Share = 0.0
    """Part of the events that is published once more after its acknowledgement, as a careless publisher would."""
    extended_share: Share = 0.0
    """Part of the events that has all that CloudEvents allows beside what is required, and is written over lines."""
    presence_s: Duration | None = None
    """Publishers who know who is at work: what is addressed to one agent goes to one that is awake and stays so for
    this long, or waits for the next who wakes. None: to any agent at any time."""
    data_bytes_max: Annotated[int, Meta(ge=0, le=65_536)] = 400
    pinned: tuple[Pinned, ...] = ()


class Plan(_Part, frozen=True, kw_only=True):
    """A whole run."""

    version: Literal[1] = 1
    name: Name
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    duration_s: Duration
    converge_within_s: Duration
    retention: Retention
    slack_s: Annotated[float, Meta(ge=0)]
    """How far an age computed from the history may be off, to the judge: clock steps. An event that is stored late is
    younger than it seems, which accuses nobody, so lateness need not be in it."""
    late_s: Annotated[float, Meta(ge=0)] = 0.0
    """How late faults may make an event's storage; a gap's kind is clear only if it is off the limits by this too."""
    relay: RelayTimes = RelayTimes()
    limits: RelayLimits = RelayLimits()
    servers: Servers = Servers()
    transport: Literal["cursor", "jetstream", "redis"] = "cursor"
    """Where the relay's sessions read from: the ADR's options C, A and B."""
    workload: Workload
    agents: tuple[Agent, ...]
    faults: tuple[Fault, ...]

    @property
    def transports(self) -> frozenset[str]:
        """All that relays read over in the course of the plan."""
        return frozenset(
            {self.transport, *(one.transport for one in self.faults if isinstance(one, Restart) and one.transport)}
        )

    @property
    def has_redis(self) -> bool:
        """Whether a Redis is there."""
        return "redis" in self.transports

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan from its file. Raises PlanInvalid, OSError."""
        with path.open("rb") as file:
            return cls.decode(file.read(PLAN_BYTES_MAX + 1), source=str(path))

    @classmethod
    def decode(cls, text: bytes, *, source: str = "plan") -> Plan:
        """Read a plan from its text. Raises PlanInvalid."""
        if len(text) > PLAN_BYTES_MAX:
            raise PlanInvalid(source, [f"expected at most {PLAN_BYTES_MAX} bytes; give it fewer events"])
        try:
            plan = msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PlanInvalid(source, [shape_problem(text, error, cls)]) from None
        problems = problems_of(plan)
        if problems:
            raise PlanInvalid(source, problems)
        return plan

    def dump(self, path: Path) -> None:
        """Write the plan to a file."""
        path.write_bytes(self.encode())

    def encode(self) -> bytes:
        """The plan as readable JSON, one agent, fault or publisher a line; equal plans give equal bytes."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return b"{\n" + b",\n".join(_lines(fields, depth=1)) + b"\n}\n"


def _lines(fields: dict[str, Any], *, depth: int) -> list[bytes]:
    indent = b"  " * depth
    return [indent + msgspec.json.encode(name) + b": " + _value(value, depth=depth) for name, value in fields.items()]


def _value(value: Any, *, depth: int) -> bytes:
    indent = b"  " * depth
    if isinstance(value, dict) and any(isinstance(inner, (list, tuple)) for inner in value.values()):
        return b"{\n" + b",\n".join(_lines(value, depth=depth + 1)) + b"\n" + indent + b"}"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        items = [indent + b"  " + msgspec.json.encode(item) for item in value]
        return b"[\n" + b",\n".join(items) + b"\n" + indent + b"]"
    return msgspec.json.encode(value)
