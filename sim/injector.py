"""Plays a plan's faults on the machines and links of a world, and notes in the history what each of them hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faults.plan import Plan
from faults.recorder import Recorder
from faults.victims import victim_of
from faults.vocabulary import Fault, Link, LinkFaultBase, ProcessFaultBase, ProcessName
from reports import history
from sim.errors import NotModelled
from sim.faults import LinkPlayer, Machine, Pair
from sim.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who is who in a world; agents and publishers by name, an agent's further clients among them."""

    nats: Machine
    postgres: Machine
    relays: Sequence[Machine]
    agents: dict[str, Machine]
    publishers: dict[str, Machine]
    redis: Machine | None = None
    """Only under the transport of that name."""

    @property
    def machines(self) -> list[Machine]:
        """Everything that faults on processes are played on."""
        stores = [self.nats, self.postgres, *([] if self.redis is None else [self.redis])]
        return [*stores, *self.relays, *self.agents.values(), *self.publishers.values()]

    def playing(self, process: ProcessName) -> dict[str, Machine]:
        """The machines of a process, each by the name that a fault may call it by."""
        match process:
            case ProcessName.RELAY:
                return {machine.host.name: machine for machine in self.relays}
            case ProcessName.AGENT:
                return {name: machine for name, machine in self.agents.items() if history.owner_of(name) == name}
            case ProcessName.PUBLISHER:
                return self.publishers
            case ProcessName.NATS:
                return {"nats": self.nats}
            case ProcessName.POSTGRES:
                return {"postgres": self.postgres}
            case ProcessName.REDIS:
                return {"redis": self.the_redis}

    @property
    def the_redis(self) -> Machine:
        """Redis. Raises NotModelled if there is none."""
        if self.redis is None:
            raise NotModelled("expected the transport redis, got a plan without it, whose world has no Redis")
        return self.redis


class Injector:
    """Begins and lifts the faults of one plan."""

    def __init__(self, plan: Plan, network: Network, recorder: Recorder, cast: Cast) -> None:
        self._plan = plan
        self._network = network
        self._recorder = recorder
        self._cast = cast
        self._links = LinkPlayer(network)

    def begin(self, fault: Fault) -> None:
        """Play a fault. Raises NotModelled."""
        self._note(fault, "asked")
        if isinstance(fault, LinkFaultBase):
            proof = self._links.begin(fault, self._pairs(fault))
        else:
            machine = self._machine(fault)
            if fault.kind in ("kill", "power_loss"):
                self._recorder.record(history.Process, name=machine.host.name, what="killed")
            proof = machine.begin(fault)
        self._note(fault, "effective", proof)

    def lift(self, fault: Fault) -> None:
        """End a fault."""
        if isinstance(fault, LinkFaultBase):
            self._links.end(fault, self._pairs(fault))
        else:
            self._machine(fault).end(fault)
        self._note(fault, "lifted")

    def heal(self) -> None:
        """End everything: links as usual, clocks right, nobody paused, every machine up and started."""
        self._network.heal()
        for machine in self._cast.machines:
            machine.heal()

    def _machine(self, fault: Fault) -> Machine:
        assert isinstance(fault, ProcessFaultBase)
        machines = self._cast.playing(fault.process)
        return machines[victim_of(self._plan, fault, list(machines))]

    def _pairs(self, fault: Fault) -> list[Pair]:
        assert isinstance(fault, LinkFaultBase)
        return [pair for pair in self._all_pairs(fault.link) if fault.only is None or _has(pair, fault.only)]

    def _all_pairs(self, link: Link) -> list[Pair]:
        cast = self._cast
        nats, postgres, relays = cast.nats.host, cast.postgres.host, [machine.host for machine in cast.relays]
        via = {one.name: one.via for one in self._plan.workload.publishers}
        match link:
            case Link.PUBLISHER_NATS:
                return [(one.host, nats) for name, one in cast.publishers.items() if via[name] == "nats"]
            case Link.RELAY_NATS:
                return [(host, nats) for host in relays]
            case Link.RELAY_POSTGRES:
                return [(host, postgres) for host in relays]
            case Link.RELAY_REDIS:
                return [(host, cast.the_redis.host) for host in relays]
            case Link.AGENT_RELAY:
                clients = [one.host for one in cast.agents.values()]
                clients += [one.host for name, one in cast.publishers.items() if via[name] == "http"]
                return [(client, relay) for client in clients for relay in relays]
        raise NotModelled(f"expected a link, got {link}")

    def _note(self, fault: Fault, phase: str, proof: dict[str, Any] | None = None) -> None:
        direction = getattr(fault, "direction", None)
        self._recorder.record(
            history.Fault,
            fault=fault.id,
            phase=phase,
            what=fault.kind,
            target=fault.target,
            direction=direction,
            proof=proof or {},
        )


def _has(pair: Pair, name: str) -> bool:
    """Whether one of the two is the host of that name: a replica, or an agent's or a publisher's."""
    own = (host.name.removeprefix("agent.").removeprefix("publisher.") for host in pair)
    return any(history.owner_of(one) == name for one in own)
