"""The people of a simulated world: agents that work, sleep and crash, and publishers with their outboxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from faults.arrivals import arrivals
from faults.clients import clients_of
from faults.mesh.outbox import Outbox
from faults.mesh.publishers import MeshPublisher
from faults.plan import Plan, Publisher
from faults.recorder import Recorder
from faults.schedule import What
from reports.history import owner_of
from sim.environment import MS
from sim.host import Host, Process
from sim.programs import AgentProgram, Program, channel

DOWN_NS = 200 * MS
"""How soon it is noticed that an agent's process is down, and started again."""
Start: TypeAlias = Callable[[Host, Program], Process]


class Mesh:
    """Agents and publishers of one plan, each on a host of its own."""

    def __init__(self, plan: Plan, recorder: Recorder, url: str, *, host: Callable[[str], Host], start: Start) -> None:
        """`host` makes a host by its name, `start` starts a program on one; `url` is the relay's."""
        self._plan = plan
        self._recorder = recorder
        self._start = start
        clients = clients_of(plan)
        self._agents = {one.name: AgentProgram(one, plan, recorder, url) for one in clients}
        self.agent_hosts = {one.name: host(f"agent.{one.name}") for one in clients}
        self.publisher_hosts = {one.name: host(f"publisher.{one.name}") for one in plan.workload.publishers}
        self._outboxes: dict[str, Outbox] = {}
        self._given_up: list[str] = []

    # Agents

    def order(self, name: str, what: What) -> None:
        """Wake an agent's clients, put them to sleep, or crash its first one."""
        if what is not What.CRASH:
            for client in self._agents:
                if client != name and owner_of(client) == name:
                    self.order(client, what)
        agent = self._agents[name]
        if what is What.CRASH:
            agent.crash()
        elif what is What.SLEEP:
            agent.is_awake = False
            agent.stop()
        elif not agent.is_awake:
            agent.is_awake = True
            self._live(name)

    def put_to_sleep(self) -> None:
        """Have every agent end politely."""
        for name in self._agents:
            self.order(name, What.SLEEP)

    def behind(self, target: int) -> list[str]:
        """What has to happen until every agent that is awake has handled everything up to a sequence."""
        return [
            f"{name} to reach {target}"
            for name, agent in self._agents.items()
            if agent.is_awake and agent.saved_seq < target
        ]

    def _live(self, name: str) -> None:
        """Have an agent live for as long as it is to be awake, whatever ends its lives."""
        agent, host = self._agents[name], self.agent_hosts[name]
        if agent.is_awake and not any(process.is_alive for process in host.processes):
            process = self._start(host, agent)
            process.on_end = lambda: host.environment.at(DOWN_NS, lambda: self._live(name))

    # Publishers

    def publish(self, epoch: str, now_s: Callable[[], float]) -> None:
        """Start the publishers; `epoch` is what cursors begin with, `now_s` the time within the plan."""
        given = arrivals(self._plan)
        for one in self._plan.workload.publishers:
            outbox = Outbox(arrival for arrival in given if arrival.publisher == one.name)
            self._outboxes[one.name] = outbox
            self._start(self.publisher_hosts[one.name], self._publisher(one, outbox, epoch, now_s))

    def _publisher(self, one: Publisher, outbox: Outbox, epoch: str, now_s: Callable[[], float]) -> Program:
        async def publish(process: Process) -> None:
            publisher = MeshPublisher(
                one.name,
                outbox=outbox,
                channel=channel(one, process, self._plan, epoch),
                batch_max=one.batch_max,
                recorder=self._recorder,
                rng=process.rng,
            )
            try:
                await publisher.run(now_s)
            except Exception as error:  # its root: what ends a publisher by itself is a finding, as with an agent
                self._given_up.append(f"{one.name}, with {outbox.size} events never published: {error!r}")

        return publish

    # What came of it

    @property
    def unpublished(self) -> int:
        """Events that wait in outboxes."""
        return sum(outbox.size for outbox in self._outboxes.values())

    @property
    def events(self) -> int:
        """Events that were acknowledged to their publishers."""
        return sum(outbox.acked for outbox in self._outboxes.values())

    @property
    def deliveries(self) -> int:
        """Events that agents have read."""
        return sum(agent.delivered for agent in self._agents.values())

    def failures(self) -> tuple[str, ...]:
        """What ended publishers, and lives of agents, by itself."""
        ended = (f"{name}: {why}" for name, agent in self._agents.items() for why in agent.failures)
        return (*self._given_up, *ended)

    def forget(self) -> None:
        """Let go of all lives."""
        for agent in self._agents.values():
            agent.forget()
