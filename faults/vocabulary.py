"""The one fault vocabulary: what can be done to a link or a process, and when. It plays nothing itself.

Both worlds read it. The simulator plays every kind; which kinds the real stack plays, and how, is in `playable.py`.

| on a link | what happens to its bytes |
|---|---|
| `cut` | held, as TCP would through a partition; they arrive once it is lifted. One-way with a direction |
| `down` | connections are closed, new ones are refused |
| `latency` | every byte arrives late, by latency plus or minus jitter |
| `bandwidth` | bytes arrive no faster than the rate |
| `timeout` | dropped without a word (a black hole); connections are closed after a time, or when it is lifted |
| `reset_peer` | with the first byte after it begins, the connection is reset |
| `slicer` | cut into small pieces, with a pause after each |
| `slow_close` | a close is passed on late |
| `limit_data` | after so many bytes the connection is closed, wherever an event is cut in two |
| `half_open` | the peer of the connections that exist forgets them; they stay silent for ever, new ones work |

| on a process | |
|---|---|
| `pause` | frozen; its connections stay open and silent |
| `kill` | SIGKILL, started again after a time |
| `restart` | asked politely to end, started again at once |
| `power_loss` | killed, and all that was not flushed to disk is lost; started again after a time |
| `clock_skew` | its wall clock is off by so much |
| `leader_change` | NATS on three servers: the leading one is gone, and for a time nobody leads; then another does |
| `quorum_loss` | NATS on three servers: two of them are gone for a time, so that nothing new is agreed on |
| `disk_full` | NATS, Postgres or Redis: there is no room on its disk; once there is, NATS is restarted |

The link `relay-redis` and the process `redis` are there only under the transport redis.

An agent is the machine of its first client; what is stored of its cursor and of a publisher's outbox is on its disk.

Times count from the start of the safety phase. Ranges are those within which a fault can be shown to take effect.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

TIME_S_MAX = 10_000_000.0
"""The latest time in a plan: 115 days, five times the longest simulated run."""

Instant = Annotated[float, Meta(ge=0, le=TIME_S_MAX)]
Duration = Annotated[float, Meta(gt=0, le=TIME_S_MAX)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Link(enum.StrEnum):
    """A connection between two parts; *upstream* is the way of the bytes that the first one sends."""

    PUBLISHER_NATS = "publisher-nats"
    RELAY_NATS = "relay-nats"
    RELAY_POSTGRES = "relay-postgres"
    AGENT_RELAY = "agent-relay"
    """All of the relay's HTTP: streams, acks, and the publishers that use it."""
    RELAY_REDIS = "relay-redis"
    """Only where the relay's transport is redis."""


class ProcessName(enum.StrEnum):
    """A process that faults can be played on."""

    RELAY = "relay"
    NATS = "nats"
    POSTGRES = "postgres"
    AGENT = "agent"
    PUBLISHER = "publisher"
    REDIS = "redis"
    """Only where the relay's transport is redis."""


def links_of(transport: str) -> tuple[Link, ...]:
    """The links that there are under a transport."""
    return tuple(link for link in Link if link is not Link.RELAY_REDIS or transport == "redis")


def processes_of(transport: str) -> tuple[ProcessName, ...]:
    """The processes that there are under a transport."""
    return tuple(process for process in ProcessName if process is not ProcessName.REDIS or transport == "redis")


LINKS, PROCESSES = links_of("cursor"), processes_of("cursor")
"""Those that there always are."""
REPLICAS = ("relay-1", "relay-2")
"""The relay's replicas in a simulated world, by the names of their hosts."""


class Direction(enum.StrEnum):
    """Which way of a link is hit."""

    BOTH = "both"
    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class FaultBase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every fault has."""

    id: Name
    at_s: Instant
    """When it begins."""

    @property
    def kind(self) -> str:
        """Its name in the vocabulary."""
        return kind_of(type(self))

    @property
    def until_s(self) -> float:
        """When it is lifted."""
        raise NotImplementedError

    @property
    def target(self) -> str:
        """The link or process that it is played on."""
        raise NotImplementedError


class LinkFaultBase(FaultBase, frozen=True, kw_only=True):
    """A fault on a link."""

    link: Link
    for_s: Duration
    direction: Direction = Direction.BOTH
    only: Name | None = None
    """A partial partition: the one host that it hits, at either end of the link; an agent or publisher by its name, a
    replica as `relay-1` or `relay-2`. None: all."""

    @property
    def until_s(self) -> float:
        """When it is lifted."""
        return self.at_s + self.for_s

    @property
    def target(self) -> str:
        """The link."""
        return self.link.value

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The one or two ways that are hit."""
        if self.direction is Direction.BOTH:
            return (Direction.UPSTREAM, Direction.DOWNSTREAM)
        return (self.direction,)


class Cut(LinkFaultBase, frozen=True, kw_only=True, tag="cut"):
    """Bytes are held until it is lifted."""


class Down(LinkFaultBase, frozen=True, kw_only=True, tag="down"):
    """Connections are closed and refused; both ways only."""


class Latency(LinkFaultBase, frozen=True, kw_only=True, tag="latency"):
    """Bytes arrive late."""

    latency_ms: Annotated[int, Meta(ge=20, le=60_000)]
    """Below 20 ms it could not be told from a busy machine."""
    jitter_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0


class Bandwidth(LinkFaultBase, frozen=True, kw_only=True, tag="bandwidth"):
    """Bytes arrive slowly."""

    rate_kb_s: Annotated[int, Meta(ge=1, le=100)]
    """1,000 bytes per second and unit; above 100 a probe of a few kilobytes does not feel it."""


class Timeout(LinkFaultBase, frozen=True, kw_only=True, tag="timeout"):
    """Bytes are dropped."""

    timeout_ms: Annotated[int, Meta(ge=0, le=3_600_000)]
    """After this the connection is closed; 0: only when the fault is lifted."""


class ResetPeer(LinkFaultBase, frozen=True, kw_only=True, tag="reset_peer"):
    """Connections are reset as soon as data comes."""

    timeout_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0
    """How long after the data."""


class Slicer(LinkFaultBase, frozen=True, kw_only=True, tag="slicer"):
    """Bytes arrive in small pieces."""

    average_size_bytes: Annotated[int, Meta(ge=1, le=1_000)]
    size_variation_bytes: Annotated[int, Meta(ge=0, le=999)] = 0
    delay_us: Annotated[int, Meta(ge=1_000, le=1_000_000)]
    """After each piece, in µs; below a millisecond it could not be measured."""


class SlowClose(LinkFaultBase, frozen=True, kw_only=True, tag="slow_close"):
    """Closes are passed on late."""

    delay_ms: Annotated[int, Meta(ge=50, le=60_000)]


class LimitData(LinkFaultBase, frozen=True, kw_only=True, tag="limit_data"):
    """Connections are closed after so many bytes."""

    limit_bytes: Annotated[int, Meta(ge=1, le=8_000)]
    """What one probe can exceed: an unauthenticated Postgres reads no packet above 10,000 bytes."""


class HalfOpen(LinkFaultBase, frozen=True, kw_only=True, tag="half_open"):
    """Existing connections go silent for ever."""


class ProcessFaultBase(FaultBase, frozen=True, kw_only=True):
    """A fault on a process."""

    process: ProcessName
    only: Name | None = None
    """Which one, where there are several: an agent or publisher by its name, a replica as `relay-1` or `relay-2`.
    None: one of them, drawn by the plan's seed and the fault's id."""

    @property
    def target(self) -> str:
        """The process."""
        return self.process.value


class Pause(ProcessFaultBase, frozen=True, kw_only=True, tag="pause"):
    """The process is frozen."""

    for_s: Duration

    @property
    def until_s(self) -> float:
        """When it goes on."""
        return self.at_s + self.for_s


class Kill(ProcessFaultBase, frozen=True, kw_only=True, tag="kill"):
    """SIGKILL."""

    down_s: Duration

    @property
    def until_s(self) -> float:
        """When it is started again."""
        return self.at_s + self.down_s


class Restart(ProcessFaultBase, frozen=True, kw_only=True, tag="restart"):
    """A polite end and a new start."""

    transport: Literal["cursor", "jetstream", "redis"] | None = None
    """A replica of the relay comes back over this transport, and stays with it: its operator has changed that."""

    @property
    def until_s(self) -> float:
        """When it is asked to end; how long that takes is its own affair."""
        return self.at_s


class PowerLoss(ProcessFaultBase, frozen=True, kw_only=True, tag="power_loss"):
    """Killed, with all unflushed data lost."""

    down_s: Duration

    @property
    def until_s(self) -> float:
        """When it is started again."""
        return self.at_s + self.down_s


class ClockSkew(ProcessFaultBase, frozen=True, kw_only=True, tag="clock_skew"):
    """The wall clock is off."""

    for_s: Duration
    skew_ms: Annotated[int, Meta(ge=-86_400_000, le=86_400_000)]
    """Added to the true time; one day is more than any machine drifts unnoticed."""

    @property
    def until_s(self) -> float:
        """When the clock is set right."""
        return self.at_s + self.for_s


class LeaderChange(ProcessFaultBase, frozen=True, kw_only=True, tag="leader_change"):
    """Nobody leads for a time; the leader's clients lose their connections, and others serve them at once."""

    down_s: Duration

    @property
    def until_s(self) -> float:
        """When another server leads."""
        return self.at_s + self.down_s


class QuorumLoss(ProcessFaultBase, frozen=True, kw_only=True, tag="quorum_loss"):
    """Most servers are gone; the leader takes what comes, and can promise nothing."""

    for_s: Duration

    @property
    def until_s(self) -> float:
        """When they are back."""
        return self.at_s + self.for_s


class DiskFull(ProcessFaultBase, frozen=True, kw_only=True, tag="disk_full"):
    """Its disk has no room for a time.

    NATS answers no publish from the first write that fails until it is restarted, whatever room there is by then; so
    its operator, who makes room, restarts it (seen with NATS 2.15.1). Postgres refuses what needs room, and goes on;
    if its log finds none either it ends, and is started again (the simulator's goes on: there `kill` covers that).
    Redis ends at the first write that fails if it syncs each, and is started again; else it refuses to write (MISCONF).
    """

    for_s: Duration

    @property
    def until_s(self) -> float:
        """When there is room again."""
        return self.at_s + self.for_s


LinkFault: TypeAlias = (
    Cut | Down | Latency | Bandwidth | Timeout | ResetPeer | Slicer | SlowClose | LimitData | HalfOpen
)
ProcessFault: TypeAlias = Pause | Kill | Restart | PowerLoss | ClockSkew | LeaderChange | QuorumLoss | DiskFull
Fault: TypeAlias = LinkFault | ProcessFault


def kind_of(fault: type[FaultBase]) -> str:
    """The name of a kind of fault, as it stands in a plan."""
    tag = fault.__struct_config__.tag
    assert isinstance(tag, str), fault
    return tag


KINDS: tuple[str, ...] = tuple(kind_of(fault) for fault in get_args(Fault))
