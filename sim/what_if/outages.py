"""Outages as people write them, `WHAT=LENGTH[@WHEN]`, and the faults of the vocabulary that they are; pure.

nats=3h            SIGKILL, started again after three hours; centred in the window
postgres=20m@2d    the same, from the third day on
relay=1h           both replicas; relay-1=1h is one of them
agents=30h         all agents; agent-03=30h is one of them
relay-nats=2h      the link between both replicas and NATS is cut; relay-1.relay-nats=2h, of one replica
pause:nats=10m     another kind of fault than the usual one
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from faults.plan import Plan
from faults.vocabulary import (
    REPLICAS,
    Cut,
    DiskFull,
    Down,
    Fault,
    Kill,
    Link,
    LinkFaultBase,
    Pause,
    PowerLoss,
    ProcessName,
    QuorumLoss,
)
from sim.what_if.durations import DurationWrong, seconds, shown
from sim.what_if.settings import meant

ALL_OF = {"relay": ProcessName.RELAY, "agents": ProcessName.AGENT, "publishers": ProcessName.PUBLISHER}
"""Words for every process of a kind."""
SERVERS = {"nats": ProcessName.NATS, "postgres": ProcessName.POSTGRES, "redis": ProcessName.REDIS}
USUAL_PROCESS, USUAL_LINK = "kill", "cut"
PROCESS_KINDS = {
    "kill": "SIGKILL, started again after it",
    "pause": "frozen, its connections open and silent",
    "power_loss": "without power: what was not synced is lost; started again after it",
    "disk_full": "its disk has no room",
    "quorum_loss": "two of its three servers are gone",
}
LINK_KINDS = {
    "cut": "bytes are held, as by a partition, and arrive once it is over",
    "down": "connections are closed and refused",
}
_SHAPE = re.compile(r"(?:(?P<kind>[a-z_]+):)?(?P<what>[A-Za-z0-9_.-]+)=(?P<length>[^@=]+)(?:@(?P<when>[^@=]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One that was asked for; whether its target is there, the plan says."""

    text: str
    """As it was written."""
    kind: str | None
    """None: the usual one."""
    what: str
    length_s: float
    at_s: float | None
    """None: so that its middle is the window's."""


def outage_of(text: str) -> Outage:
    """The outage that a text names. Raises ValueError with what was expected, what came, what to do."""
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"expected WHAT=LENGTH or WHAT=LENGTH@WHEN such as nats=3h or postgres=20m@2d, got {text!r}; WHAT is "
            f"{', '.join([*SERVERS, *ALL_OF, *REPLICAS])}, an agent, a publisher or a link"
        )
    kind, what = found["kind"], found["what"]
    if kind is not None and kind not in PROCESS_KINDS and kind not in LINK_KINDS:
        kinds = [*PROCESS_KINDS, *LINK_KINDS]
        raise ValueError(f"expected one of {', '.join(kinds)} before the colon, got {kind!r}{meant(kind, kinds)}")
    try:
        length_s = seconds(found["length"])
        at_s = None if found["when"] is None else seconds(found["when"])
    except DurationWrong as error:
        raise ValueError(str(error)) from None
    if length_s <= 0:
        raise ValueError(f"expected a length above 0s, got {found['length']!r}")
    return Outage(text=text.strip(), kind=kind, what=what, length_s=length_s, at_s=at_s)


def faults_of(outage: Outage, plan: Plan, number: int) -> list[Fault]:
    """The faults that an outage of a plan is; `number` tells the outages of one plan apart.

    Raises ValueError if the plan has nothing of that name, or it can't be hit so.
    """
    at_s = (plan.duration_s - outage.length_s) / 2 if outage.at_s is None else outage.at_s
    base = f"outage-{number}"
    link, only = _link_of(outage.what, plan)
    if link is not None:
        make = _on_link(outage)
        return [make(base, link, only, max(0.0, round(at_s, 3)))]
    victims = _victims(outage.what, plan)
    if victims is None:
        names = names_in(plan)
        raise ValueError(f"expected one of {_listed(names)}, got {outage.what!r}{meant(outage.what, names)}")
    process, each = victims
    play = _on_process(outage, process)
    is_one = len(each) == 1
    return [play(base if is_one else f"{base}-{name}", process, name, max(0.0, round(at_s, 3))) for name in each]


def names_in(plan: Plan) -> list[str]:
    """All that an outage of a plan may hit, a link's ends aside."""
    publishers = [one.name for one in plan.workload.publishers]
    return [*SERVERS, *ALL_OF, *REPLICAS, *(agent.name for agent in plan.agents), *publishers, *Link]


def _listed(names: Sequence[str]) -> str:
    """The names, or the first dozen and the last ones."""
    return ", ".join(names if len(names) <= 40 else [*names[:18], "…", *names[-8:]])


def _link_of(what: str, plan: Plan) -> tuple[Link | None, str | None]:
    """The link that a word names, and the one host of it that is hit."""
    only, _, name = what.rpartition(".")
    if name not in set(Link):
        return None, None
    link = Link(name)
    if link is Link.RELAY_REDIS and not plan.has_redis:
        raise ValueError(f"expected transport=redis for {what}, got transport={plan.transport}; no Redis is there")
    hosts = _ends(plan)[link]
    if only and only not in hosts:
        raise ValueError(f"expected one of {_listed(hosts)} before .{name}, got {only!r}{meant(only, hosts)}")
    if not hosts:
        raise ValueError(f"expected publishers.nats above 0 for {name}, got 0; nobody uses that link")
    return link, only or None


def _ends(plan: Plan) -> Mapping[Link, list[str]]:
    """Who may be cut off alone, at either end of each link."""
    via = {one.name: one.via for one in plan.workload.publishers}
    direct = [name for name, way in via.items() if way == "nats"]
    over_http = [name for name, way in via.items() if way == "http"]
    relays = list(REPLICAS)
    return {
        Link.PUBLISHER_NATS: direct,
        Link.RELAY_NATS: relays,
        Link.RELAY_POSTGRES: relays,
        Link.RELAY_REDIS: relays,
        Link.AGENT_RELAY: [*relays, *(agent.name for agent in plan.agents), *over_http],
    }


def _victims(what: str, plan: Plan) -> tuple[ProcessName, Sequence[str | None]] | None:
    """The processes that a word names: of what kind, and which of several."""
    agents = [agent.name for agent in plan.agents]
    publishers = [one.name for one in plan.workload.publishers]
    if what in SERVERS:
        if what == "redis" and not plan.has_redis:
            raise ValueError(f"expected transport=redis, got transport={plan.transport}; no Redis is there")
        return SERVERS[what], [None]
    members: dict[ProcessName, list[str]] = {
        ProcessName.RELAY: list(REPLICAS), ProcessName.AGENT: agents, ProcessName.PUBLISHER: publishers
    }  # fmt: skip
    if what in ALL_OF:
        return ALL_OF[what], members[ALL_OF[what]]
    return next(((process, [what]) for process, names in members.items() if what in names), None)


def _on_link(outage: Outage) -> Callable[[str, Link, str | None, float], Fault]:
    kind = outage.kind or USUAL_LINK
    if kind not in LINK_KINDS:
        raise ValueError(f"expected {' or '.join(LINK_KINDS)} for the link {outage.what}, got {kind!r}")
    of_kind: type[Cut | Down] = Cut if kind == "cut" else Down
    return lambda fault, link, only, at_s: of_kind(id=fault, link=link, only=only, at_s=at_s, for_s=outage.length_s)


def _on_process(outage: Outage, process: ProcessName) -> Callable[[str, ProcessName, str | None, float], Fault]:
    kind, length_s = outage.kind or USUAL_PROCESS, outage.length_s
    if kind not in PROCESS_KINDS:
        raise ValueError(
            f"expected one of {', '.join(PROCESS_KINDS)} for {outage.what}, got {kind!r}; that is for links"
        )
    if kind == "disk_full" and process not in SERVERS.values():
        raise ValueError(f"expected nats, postgres or redis for disk_full, got {outage.what!r}; only these keep events")
    down: dict[str, type[Kill | PowerLoss]] = {"kill": Kill, "power_loss": PowerLoss}
    lasting: dict[str, type[Pause | DiskFull | QuorumLoss]] = {
        "pause": Pause, "disk_full": DiskFull, "quorum_loss": QuorumLoss
    }  # fmt: skip
    if kind in down:
        return lambda fault, target, only, at_s: down[kind](
            id=fault, process=target, only=only, at_s=at_s, down_s=length_s
        )
    return lambda fault, target, only, at_s: lasting[kind](
        id=fault, process=target, only=only, at_s=at_s, for_s=length_s
    )


def sentence_of(outage: Outage, faults: Sequence[Fault]) -> str:
    """What is done, for people: to what, when, for how long, and what that is."""
    first = faults[0]
    whom = outage.what
    if len(faults) > 1:
        what = "replicas" if whom == "relay" else whom
        whom = f"{'both' if len(faults) == 2 else f'all {len(faults)}'} {what}"
    elif isinstance(first, LinkFaultBase):
        whom = f"link {first.link.value}" + (f", {first.only} alone" if first.only else "")
    kinds = LINK_KINDS if isinstance(first, LinkFaultBase) else PROCESS_KINDS
    return f"{whom}: {first.kind} at {shown(first.at_s)} for {shown(first.until_s - first.at_s)} ({kinds[first.kind]})"
