"""The people of a simulated world: agents that work, sleep and crash, and publishers with their outboxes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from faults.arrivals import arrivals
from faults.clients import clients_of
from faults.mesh.outbox import Outbox
from faults.mesh.publishers import MeshPublisher
from faults.plan import Plan, Publisher
from faults.recorder import Recorder
from faults.schedule import What
from faults.streamwatch import StreamSeen
from reports import history
from reports.history import owner_of
from sim.environment import MS
from sim.faults import Machine
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
        self.agent_machines = {
            one.name: Machine(host(f"agent.{one.name}"), partial(self._live, one.name)) for one in clients
        }
        publishers = plan.workload.publishers
        self.publisher_machines = {
            one.name: Machine(host(f"publisher.{one.name}"), partial(self._empty, one)) for one in publishers
        }
        given = arrivals(plan)
        self._outboxes = {
            one.name: Outbox(arrival for arrival in given if arrival.publisher == one.name) for one in publishers
        }
        self._epoch, self._now_s = "", lambda: 0.0
        self._given_up: dict[str, str] = {}

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

    def behind(self, target: StreamSeen, epoch: str) -> list[str]:
        """What has to happen until every agent that is awake has handled everything that is its own, in an epoch."""
        return [
            f"{name} to reach {seq}"
            for name, agent in self._agents.items()
            if agent.is_awake
            and (seq := target.last_for(owner_of(name)))
            and (agent.saved_epoch != epoch or agent.saved_seq < seq)
        ]

    def _live(self, name: str) -> None:
        """Have an agent live for as long as it is to be awake, whatever ends its lives."""
        agent, machine = self._agents[name], self.agent_machines[name]
        if agent.is_awake and not machine.is_down and not machine.is_running:
            process = self._start(machine.host, agent)

            def ended() -> None:
                agent.died()
                machine.host.environment.at(DOWN_NS, lambda: self._live(name))

            process.on_end = ended

    # Publishers

    def publish(self, epoch: str, now_s: Callable[[], float]) -> None:
        """Start the publishers; `epoch` is what cursors begin with, `now_s` the time within the plan."""
        self._epoch, self._now_s = epoch, now_s
        for one in self._plan.workload.publishers:
            self._empty(one)

    def _empty(self, one: Publisher) -> None:
        """Have a publisher live until its outbox is empty, but for one that has ended by itself."""
        machine, outbox = self.publisher_machines[one.name], self._outboxes[one.name]
        if machine.is_down or machine.is_running or outbox.is_empty or one.name in self._given_up:
            return

        async def publish(process: Process) -> None:
            publisher = MeshPublisher(
                one.name,
                outbox=outbox,
                channel=channel(one, process, self._plan, self._epoch),
                batch_max=one.batch_max,
                recorder=self._recorder,
                rng=process.rng,
                retry_max_s=one.retry_max_s,
            )
            try:
                await publisher.run(self._now_s)
            except Exception as error:  # its root: what ends a publisher by itself is a finding, as with an agent
                self._given_up[one.name] = f"with {outbox.size} events never published: {error!r}"
            process.host.environment.at(0, process.kill)

        def ended() -> None:
            for arrival in outbox.interrupted():
                self._recorder.record(history.Published, publisher=one.name, id=arrival.id, outcome="unknown")
            machine.host.environment.at(DOWN_NS, lambda: self._empty(one))

        self._start(machine.host, publish).on_end = ended

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
        return (*(f"{name}, {why}" for name, why in self._given_up.items()), *ended)

    def forget(self) -> None:
        """Let go of all lives."""
        for agent in self._agents.values():
            agent.forget()
