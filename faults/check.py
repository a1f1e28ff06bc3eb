"""What must hold in a plan beyond the types and ranges of its fields; pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from faults.shape import choices_at, fields_at
from faults.vocabulary import (
    REPLICAS,
    Direction,
    DiskFull,
    Down,
    Fault,
    Latency,
    LeaderChange,
    Link,
    LinkFaultBase,
    ProcessName,
    QuorumLoss,
    Restart,
    Slicer,
)
from system.event import AGENT_NAME_RULE, ALL_AGENTS, is_agent_name

if TYPE_CHECKING:
    from faults.plan import Agent, Plan, Workload

T = TypeVar("T", bound=Hashable)
STORES = (ProcessName.NATS, ProcessName.POSTGRES, ProcessName.REDIS)

FOR_PAGES = (None, "earliest")
"""Where pages may begin without a cursor; `now` is for streams, and `acked` for who acknowledges."""

_WHERE = re.compile(r" - at `\$(.*)`$")
_UNKNOWN = re.compile(r"unknown field `(.*)`$")
_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+|\.\.\.)\]")


def shape_problem(text: bytes, error: Exception, plan: type[Plan]) -> str:
    """Say what is wrong with a text that does not have a plan's shape: where, what was expected, what came."""
    if not isinstance(error, msgspec.ValidationError):
        return f"expected a plan as JSON, got {text[:40]!r} ({error}); `meshrelay chaos plan --seed 1` prints one"
    message = str(error)
    where = _WHERE.search(message)
    path = where[1] if where else ""
    expected = message[: where.start()] if where else message
    if unknown := _UNKNOWN.search(expected):
        near = difflib.get_close_matches(unknown[1], fields_at(plan, path, _kind(_at(text, path))), n=1)
        expected += f"; did you mean `{near[0]}`?" if near else ""
    if "missing" in expected or unknown:
        return f"at ${path}: {expected}; `meshrelay chaos plan --seed 1` prints a valid plan"
    choices = choices_at(plan, path) if "nvalid" in expected else []
    expected = "expected one of " + ", ".join(map(str, choices)) if choices else expected
    return f"at ${path}: {expected}, got {_shown(_at(text, path))}; `meshrelay chaos plan --seed 1` prints a valid plan"


def problems_of(plan: Plan) -> list[str]:
    """Everything that makes a plan of the right shape unusable; empty if it is sound."""
    return [
        *_retention_problems(plan),
        *_workload_problems(plan.workload, plan),
        *(problem for agent in plan.agents for problem in _agent_problems(agent, plan.duration_s)),
        *_repeated("agent name", [agent.name for agent in plan.agents]),
        *_repeated("fault id", [fault.id for fault in plan.faults]),
        *(problem for fault in plan.faults for problem in _fault_problems(fault, plan.duration_s)),
        *(problem for fault in plan.faults for problem in _only_problems(fault, plan)),
        *_cluster_problems(plan),
        *_disk_problems(plan.faults),
        *_switch_problems(plan.faults),
        *_redis_problems(plan),
        *_overlap_problems(plan.faults),
    ]


def _only_problems(fault: Fault, plan: Plan) -> Iterator[str]:
    relays, agents = set(REPLICAS), {agent.name for agent in plan.agents}
    via = {publisher.name: publisher.via for publisher in plan.workload.publishers}
    hosts: dict[Link | ProcessName, set[str]] = {
        Link.RELAY_NATS: relays,
        Link.RELAY_POSTGRES: relays,
        Link.RELAY_REDIS: relays,
        Link.PUBLISHER_NATS: {name for name, way in via.items() if way == "nats"},
        Link.AGENT_RELAY: relays | agents | {name for name in via if via[name] == "http"},
        ProcessName.RELAY: relays,
        ProcessName.NATS: set(),
        ProcessName.POSTGRES: set(),
        ProcessName.REDIS: set(),
        ProcessName.AGENT: agents,
        ProcessName.PUBLISHER: set(via),
    }
    hit = hosts[fault.link if isinstance(fault, LinkFaultBase) else fault.process]
    if fault.only is not None and fault.only not in hit:
        names = f"one of {', '.join(sorted(hit))}" if hit else f"left out, for there is one {fault.target}"
        yield f"fault {fault.id}: expected only to be {names}, got {fault.only!r}"
    if not hit and fault.target in (ProcessName.AGENT, ProcessName.PUBLISHER):
        yield f"fault {fault.id}: expected a plan with {fault.target}s, got none; nothing could be hit"


def _retention_problems(plan: Plan) -> Iterator[str]:
    kept = plan.retention
    if kept.standard_s > kept.critical_s:
        yield (
            f"retention: expected standard_s at most critical_s, got {kept.standard_s:g} and {kept.critical_s:g}; "
            "swap them"
        )
    if plan.relay.retry_min_ms > plan.relay.retry_max_ms:
        yield (
            f"relay: expected retry_min_ms at most retry_max_ms, got {plan.relay.retry_min_ms} and "
            f"{plan.relay.retry_max_ms}; swap them"
        )


def _workload_problems(workload: Workload, plan: Plan) -> Iterator[str]:
    names = {agent.name for agent in plan.agents}
    if sum(workload.shape) == 0:
        yield "workload.shape: expected at least one rate above 0, got only zeros; [1] is an even rate"
    if workload.events + len(workload.pinned) > 0 and not workload.publishers:
        yield "workload.publishers: expected at least one, got none; nobody could publish the events"
    if workload.events > 0 and not names and workload.broadcast_share < 1:
        yield "agents: expected at least one, got none; the events have no addressee"
    yield from _repeated("publisher", [publisher.name for publisher in workload.publishers])
    for index, pinned in enumerate(workload.pinned):
        if pinned.agent != ALL_AGENTS and pinned.agent not in names:
            yield f"workload.pinned[{index}]: expected an agent of the plan or {ALL_AGENTS!r}, got {pinned.agent!r}"
        if pinned.at_s > plan.duration_s:
            yield _too_late(f"workload.pinned[{index}]", pinned.at_s, plan.duration_s)


def _agent_problems(agent: Agent, duration_s: float) -> Iterator[str]:
    where = f"agent {agent.name!r}"
    if not is_agent_name(agent.name):
        yield f"{where}: expected {AGENT_NAME_RULE}; rename it"
    if agent.forgets and agent.start_from not in (None, "acked"):
        yield (
            f"{where}: expected start_from 'acked' or none of one that forgets, got {agent.start_from!r}; its history "
            "could not be told from that of a client that asks again for what it has saved"
        )
    if agent.pages_every_s is not None and (agent.ack_interval_s is not None or agent.start_from not in FOR_PAGES):
        yield (
            f"{where}: expected no ack_interval_s, and start_from 'earliest' or none, of one that reads pages, got "
            f"{agent.ack_interval_s} and {agent.start_from!r}; who reads pages acknowledges nothing"
        )
    for awake in agent.awake:
        if awake.until_s is not None and awake.until_s <= awake.from_s:
            yield f"{where}: expected until_s after from_s, got {awake.from_s:g} to {awake.until_s:g}; swap them"
        if awake.from_s > duration_s:
            yield _too_late(where, awake.from_s, duration_s)
    for before, after in pairwise(agent.awake):
        if before.until_s is None or before.until_s >= after.from_s:
            end = "the end" if before.until_s is None else f"{before.until_s:g} s"
            yield (
                f"{where}: expected its times awake in order with sleep between them, got one until {end} and the next "
                f"from {after.from_s:g} s; join or sort them"
            )
    for crash_s in agent.crashes_s:
        if not any(awake.from_s <= crash_s < (awake.until_s or duration_s) for awake in agent.awake):
            yield f"{where}: expected crashes while it is awake, got one at {crash_s:g} s; move it"


def _fault_problems(fault: Fault, duration_s: float) -> Iterator[str]:
    where = f"fault {fault.id!r} ({fault.kind})"
    if fault.until_s > duration_s:
        yield (
            f"{where}: expected an end by duration_s = {duration_s:g} s, got {fault.until_s:g} s; "
            "shorten it or lengthen the run"
        )
    if isinstance(fault, Down) and fault.direction is not Direction.BOTH:
        yield f"{where}: expected direction 'both', got {fault.direction.value!r}; a one-way partition is a `cut`"
    if isinstance(fault, Latency) and fault.jitter_ms > fault.latency_ms / 2:
        yield (
            f"{where}: expected jitter_ms at most half of latency_ms = {fault.latency_ms}, got {fault.jitter_ms}; "
            "lower it, or nothing could show the latency"
        )
    if isinstance(fault, Slicer) and fault.size_variation_bytes >= fault.average_size_bytes:
        yield (
            f"{where}: expected size_variation_bytes below average_size_bytes = {fault.average_size_bytes}, got "
            f"{fault.size_variation_bytes}; lower it"
        )


def _cluster_problems(plan: Plan) -> Iterator[str]:
    """A leader and a quorum are things of several servers, and NATS's alone."""
    for fault in plan.faults:
        if not isinstance(fault, LeaderChange | QuorumLoss):
            continue
        where = f"fault {fault.id!r} ({fault.kind})"
        if fault.process is not ProcessName.NATS:
            yield f"{where}: expected process 'nats', got {fault.process.value!r}; only NATS is run on several servers"
        if plan.servers.nats_replicas == 1:
            yield (
                f"{where}: expected servers.nats_replicas = 3, got 1; one server has no leader to change and no "
                "quorum to lose"
            )


def _disk_problems(faults: Sequence[Fault]) -> Iterator[str]:
    """What keeps events has a disk that they fill."""
    for fault in faults:
        if isinstance(fault, DiskFull) and fault.process not in STORES:
            yield (
                f"fault {fault.id!r} (disk_full): expected process 'nats', 'postgres' or 'redis', got "
                f"{fault.process.value!r}; only these keep events on a disk"
            )


def _redis_problems(plan: Plan) -> Iterator[str]:
    """Redis is there only for the transport of that name."""
    if plan.has_redis:
        return
    if plan.servers.redis_sync != "always":
        yield f"servers.redis_sync: expected it left out, for the transport is {plan.transport}, and no Redis is there"
    for fault in plan.faults:
        if fault.target in (Link.RELAY_REDIS, ProcessName.REDIS):
            yield (
                f"fault {fault.id!r} ({fault.kind}): expected transport 'redis' for a fault on {fault.target}, got "
                f"{plan.transport!r}; no Redis is started under it"
            )


def _switch_problems(faults: Sequence[Fault]) -> Iterator[str]:
    """Only replicas of the relay read over a transport."""
    for fault in faults:
        if isinstance(fault, Restart) and fault.transport is not None and fault.process is not ProcessName.RELAY:
            yield (
                f"fault {fault.id!r} (restart): expected no transport for process {fault.process.value!r}, got "
                f"{fault.transport!r}; only the relay has one"
            )


def _overlap_problems(faults: Sequence[Fault]) -> Iterator[str]:
    """Two faults on one target at once could not be told apart, so neither could be proved; on replicas they can."""
    ordered = sorted(faults, key=lambda fault: (fault.target, fault.at_s, fault.until_s))
    for name in dict.fromkeys(_process_named(fault) for fault in ordered):
        for before, after in pairwise(fault for fault in ordered if _process_named(fault) in (None, name)):
            is_seen_for_all = name is not None and _process_named(before) is _process_named(after) is None
            if before.target == after.target and after.at_s < before.until_s and not is_seen_for_all:
                yield (
                    f"fault {after.id!r}: expected a beginning after {before.id!r} on {before.target} ends at "
                    f"{before.until_s:g} s, got {after.at_s:g} s; overlapping faults can't be told apart, move one"
                )


def _process_named(fault: Fault) -> str | None:
    """The one process that a fault hits alone, if it says so."""
    return None if isinstance(fault, LinkFaultBase) else fault.only


def _repeated(what: str, names: Iterable[T]) -> Iterator[str]:
    seen: set[T] = set()
    for name in names:
        if name in seen:
            yield f"expected every {what} once, got {name!r} again; rename one"
        seen.add(name)


def _too_late(where: str, at_s: float, duration_s: float) -> str:
    return f"{where}: expected a time within duration_s = {duration_s:g} s, got {at_s:g} s; move it"


def _at(text: bytes, path: str) -> Any:
    """The value at a msgspec error's path, as far as it can be followed (`[...]` is any item)."""
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return repr(text[:40])  # the shape was refused before the broken part was read
    for step in _STEP.finditer(path):
        try:
            value = value[step[1]] if step[1] is not None else value[int(step[2])]
        except (KeyError, IndexError, TypeError, ValueError):
            return value
    return value


def _kind(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else None


def _shown(value: Any) -> str:
    return msgspec.json.encode(value)[:80].decode(errors="replace")
