"""What of a plan the real stack can play, how it does, and what it can't; pure.

Nothing is dropped in silence: `not_playable` names every fault that a run leaves out, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faults.plan import Plan
from faults.proof import experiment_for
from faults.victims import victim_of
from faults.vocabulary import (
    REPLICAS,
    Bandwidth,
    ClockSkew,
    Cut,
    DiskFull,
    Down,
    Fault,
    HalfOpen,
    Kill,
    Latency,
    LeaderChange,
    LimitData,
    Link,
    LinkFault,
    LinkFaultBase,
    Pause,
    PowerLoss,
    ProcessFaultBase,
    ProcessName,
    QuorumLoss,
    ResetPeer,
    Restart,
    Slicer,
    SlowClose,
    Timeout,
)

CUT_MS = 24 * 3_600_000
"""A latency longer than any run on the real stack: Toxiproxy keeps the bytes, in order, and hands them on as soon as
the toxic is removed, as TCP does when a partition heals. Its `timeout` would drop them."""

TOXICS = ("down", "latency", "bandwidth", "timeout", "reset_peer", "slicer", "slow_close", "limit_data")
"""All that Toxiproxy 2.12 has; `down` is a disabled proxy."""

RETURN_S = 5.0
"""How long a process that was started again may take until it serves as before."""
SETTLED_S = 0.5
"""How long after it woke an agent surely has a process, and how long before it sleeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """A fault on a link in Toxiproxy's words."""

    type: str
    attributes: dict[str, int]
    """Toxiproxy's own units: ms, KB/s, bytes, and µs for the slicer's delay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPlayable:
    """A fault that the real stack does not play."""

    fault: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the real stack that is at hand can't do."""

    no_disks: str | None = None
    """Why no server has a disk that can be filled; None if they can have one."""
    commands: Mapping[str, frozenset[str]] | None = None
    """What of `kill`, `stop`, `start`, `pause`, `resume` each server or replica can be told, by its name; None: all."""


OURS = Ground()
"""A stack of our own, which lacks nothing."""

NEEDED = {"pause": ("pause", "resume"), "kill": ("kill", "start"), "restart": ("stop", "start")}
"""What a process must be told for each kind of fault."""


def toxic_of(fault: LinkFault) -> Toxic | None:
    """How Toxiproxy plays a fault on a link; None if it can't."""
    match fault:
        case Cut():
            return Toxic(type="latency", attributes={"latency": CUT_MS, "jitter": 0})
        case Down():
            return Toxic(type="down", attributes={})
        case Latency():
            return Toxic(type="latency", attributes={"latency": fault.latency_ms, "jitter": fault.jitter_ms})
        case Bandwidth():
            return Toxic(type="bandwidth", attributes={"rate": fault.rate_kb_s})
        case Timeout():
            return Toxic(type="timeout", attributes={"timeout": fault.timeout_ms})
        case ResetPeer():
            return Toxic(type="reset_peer", attributes={"timeout": fault.timeout_ms})
        case Slicer():
            return Toxic(
                type="slicer",
                attributes={
                    "average_size": fault.average_size_bytes,
                    "size_variation": fault.size_variation_bytes,
                    "delay": fault.delay_us,
                },
            )
        case SlowClose():
            return Toxic(type="slow_close", attributes={"delay": fault.delay_ms})
        case LimitData():
            return Toxic(type="limit_data", attributes={"bytes": fault.limit_bytes})
        case HalfOpen():
            return None


def not_playable(plan: Plan, *, ground: Ground = OURS) -> tuple[NotPlayable, ...]:
    """The faults of a plan that the real stack leaves out, in the plan's order; empty if it plays all.

    `ground` is what it is played on, by default a stack of our own that lacks nothing.
    """
    outages = [
        (fault, victim_of(plan, fault))
        for fault in plan.faults
        if isinstance(fault, ProcessFaultBase) and _reason(fault, plan, ground) is None
    ]
    found = []
    for fault in plan.faults:
        reason = _reason(fault, plan, ground) or _unprovable(fault, outages) or _crowded(fault, outages)
        if reason is not None:
            found.append(NotPlayable(fault=fault.id, kind=fault.kind, reason=reason))
    return tuple(found)


def playable(plan: Plan, *, ground: Ground = OURS) -> tuple[Fault, ...]:
    """The faults of a plan that the real stack plays, in the plan's order; `ground` as in `not_playable`."""
    left_out = {one.fault for one in not_playable(plan, ground=ground)}
    return tuple(fault for fault in plan.faults if fault.id not in left_out)


def servers_refused(plan: Plan) -> str | None:
    """Why the real stack can't run a plan's servers as it asks; None if it can."""
    if plan.servers.nats_replicas != 1:
        return (
            f"servers.nats_replicas: expected 1 on the real stack, got {plan.servers.nats_replicas}; it runs one NATS "
            "server. Simulate this plan, or ask for 1"
        )
    return None


def _reason(fault: Fault, plan: Plan, ground: Ground) -> str | None:
    if isinstance(fault, LinkFaultBase) and fault.only not in (None, *REPLICAS):
        return f"agents and publishers share the proxies of a link; these can't tell {fault.only} from the others"
    if isinstance(fault, ProcessFaultBase) and fault.process is ProcessName.PUBLISHER:
        return "the publishers live in the process that plays the faults; it can't stop or end itself"
    if isinstance(fault, ProcessFaultBase) and fault.process is ProcessName.AGENT:
        asleep = _asleep(fault, plan)
        if asleep is not None:
            return asleep
    match fault:
        case HalfOpen():
            return "Toxiproxy treats all connections of a link alike; it can't silence the old and serve the new"
        case PowerLoss():
            return "a process can't be made to lose what the kernel holds for it; `kill` keeps it"
        case ClockSkew():
            return "processes of one machine share its clock"
        case LeaderChange() | QuorumLoss():
            return "it runs one NATS server, which has no leader to change and no quorum to lose"
        case DiskFull():
            return ground.no_disks
        case Restart() if fault.transport is not None and ground.commands is not None:
            return "the settings of what others started are theirs"
        case Pause() | Kill() | Restart():
            return _no_command(fault, victim_of(plan, fault), ground)
        case _:
            return _too_short(fault)


def _no_command(fault: Pause | Kill | Restart, victim: str, ground: Ground) -> str | None:
    """Agents are processes of our own on any ground; what others started takes commands."""
    if ground.commands is None or fault.process is ProcessName.AGENT:
        return None
    missing = [word for word in NEEDED[fault.kind] if word not in ground.commands.get(victim, frozenset())]
    return f"the stack file has no command to {' or '.join(missing)} {victim}" if missing else None


def _too_short(fault: LinkFault) -> str | None:
    needed_s = experiment_for(fault).wait_s
    return None if fault.for_s >= needed_s else f"its proof takes up to {needed_s:g} s, and it lasts {fault.for_s:g} s"


def _asleep(fault: ProcessFaultBase, plan: Plan) -> str | None:
    """An agent that sleeps has no process."""
    name = victim_of(plan, fault)
    agent = next(agent for agent in plan.agents if agent.name == name)
    for awake in agent.awake:
        until_s = plan.duration_s if awake.until_s is None else awake.until_s
        if awake.from_s + SETTLED_S <= fault.at_s <= until_s - SETTLED_S:
            return None
    return f"agent {name} sleeps then, so it has no process that could be hit"


def _servers_behind(fault: LinkFaultBase) -> tuple[str, ...]:
    """The processes that a fault's links lead to."""
    match fault.link:
        case Link.PUBLISHER_NATS | Link.RELAY_NATS:
            return ("nats",)
        case Link.RELAY_POSTGRES:
            return ("postgres",)
        case Link.RELAY_REDIS:
            return ("redis",)
        case Link.AGENT_RELAY:
            return REPLICAS if fault.only is None else (fault.only,)


def _unprovable(fault: Fault, outages: Sequence[tuple[Fault, str]]) -> str | None:
    """A fault on a link is proved against the server behind it, so that one must be there all the while."""
    if not isinstance(fault, LinkFaultBase):
        return None
    for outage, victim in outages:
        is_behind = victim in _servers_behind(fault)
        if is_behind and outage.at_s < fault.until_s and fault.at_s < outage.until_s + RETURN_S:
            return f"{victim} is away meanwhile ({outage.id}), so nothing could prove it"
    return None


def _crowded(fault: Fault, outages: Sequence[tuple[Fault, str]]) -> str | None:
    """Faults on two processes of one kind are played one after the other there, so never at the same time."""
    for outage, victim in outages:
        if outage is fault:
            return None
        if outage.target == fault.target and outage.at_s < fault.until_s and fault.at_s < outage.until_s:
            return f"{victim} is away meanwhile ({outage.id}), and faults on a {fault.target} are played one by one"
    return None
