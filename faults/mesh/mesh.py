"""The whole mesh: a plan's publishers and agents on a running stack, and how far they have come."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.arrivals import arrivals
from faults.clients import clients_of
from faults.mesh.agents import MeshAgent
from faults.mesh.births import Births
from faults.mesh.channels import Channel, HttpChannel, NatsChannel, ReplicaResolver
from faults.mesh.life import RELAY_HOST, Life
from faults.mesh.outbox import Outbox
from faults.mesh.publishers import MeshPublisher
from faults.plan import Agent, Plan, Publisher
from faults.recorder import Recorder
from faults.schedule import What
from faults.streamwatch import StreamSeen
from reports.history import owner_of
from reports.parts import PARTS_FOLDER
from system.tokens import mint

PUBLISHER_TTL_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the mesh finds the stack; each is a proxy's, so that faults reach it."""

    replicas: tuple[tuple[str, int], ...]
    """The relay's."""
    nats_url: str
    secret: str
    """Signs the tokens."""
    epoch: str
    """What the relay's cursors begin with."""


class Mesh:
    """Publishers and agents of one run."""

    def __init__(self, plan: Plan, addresses: Addresses, *, folder: Path, births: Births, recorder: Recorder) -> None:
        """Make them, idle; cursors and the agents' parts of the history go into folders of this one.

        Raises OSError.
        """
        given = arrivals(plan)
        self.events = len(given)
        cursors, parts = folder / "cursors", folder / PARTS_FOLDER
        cursors.mkdir()

        def life_of(agent: Agent, number: int) -> Life:
            return Life(
                agent=agent,
                number=number,
                replicas=addresses.replicas,
                secret=addresses.secret,
                times=plan.relay,
                began_ns=recorder.began_ns,
                cursor=str(cursors / f"{agent.name}.cursor"),
                part=str(parts / f"{agent.name}.jsonl"),
                failure=str(cursors / f"{agent.name}.failure"),
            )

        self.agents = {
            agent.name: MeshAgent(
                agent, part=parts / f"{agent.name}.jsonl", births=births, life_of=life_of, recorder=recorder
            )
            for agent in clients_of(plan)
        }
        self.publishers = [
            MeshPublisher(
                publisher.name,
                outbox=Outbox(arrival for arrival in given if arrival.publisher == publisher.name),
                channel=_channel(publisher, addresses),
                batch_max=publisher.batch_max,
                recorder=recorder,
                rng=random.Random(f"publisher/{plan.seed}/{publisher.name}"),
                retry_max_s=publisher.retry_max_s,
            )
            for publisher in plan.workload.publishers
        ]
        self._births = births
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, now_s: Callable[[], float]) -> None:
        """Begin to publish and to take orders; `now_s` is the time within the plan."""
        for publisher in self.publishers:
            self._tasks.append(asyncio.create_task(publisher.run(now_s), name=f"publisher {publisher.name}"))
        for agent in self.agents.values():
            self._tasks.append(asyncio.create_task(agent.run(), name=f"orders of {agent.name}"))

    def order(self, agent: str, what: What) -> None:
        """Wake an agent's clients, put them to sleep, or crash its first one."""
        for name, client in self.agents.items():
            if name == agent or (what is not What.CRASH and owner_of(name) == agent):
                client.order(what)

    async def put_to_sleep(self, timeout_s: float) -> None:
        """End every agent's life politely, for up to so long."""
        for agent in self.agents.values():
            agent.order(What.SLEEP)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while any(agent.is_awake or agent.pid is not None for agent in self.agents.values()):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End everything, whatever it is doing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def failed(self) -> BaseException | None:
        """What ended the first publisher or agent that ended by a bug, or the nursery, if any."""
        if (error := self._births.failed()) is not None:
            return error
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return next((error for agent in self.agents.values() if (error := agent.failed()) is not None), None)

    @property
    def unpublished(self) -> int:
        """Events that are not published yet, or whose outcome is not known."""
        return sum(publisher.outbox.size for publisher in self.publishers)

    @property
    def acked(self) -> int:
        """Events that were acknowledged, each counted once."""
        return sum(publisher.outbox.acked for publisher in self.publishers)

    @property
    def refused(self) -> int:
        """Events that were refused for good."""
        return sum(publisher.outbox.refused for publisher in self.publishers)

    @property
    def delivered(self) -> int:
        """Frames with events that agents have read."""
        return sum(agent.seen.delivered for agent in self.agents.values())

    def follow(self) -> None:
        """Take in what the agents' parts of the history say by now."""
        for agent in self.agents.values():
            agent.seen.read()

    def behind(self, target: StreamSeen, epoch: str) -> list[str]:
        """The awake agents that have not handled everything that is theirs, and up to which sequence of this epoch."""
        return [
            f"{name} to reach {seq}"
            for name, agent in self.agents.items()
            if agent.is_awake
            and (seq := target.last_for(owner_of(name)))
            and (agent.seen.saved_epoch != epoch or agent.seen.saved_seq < seq)
        ]

    def failures(self) -> list[str]:
        """Each end of a client that nobody asked for, with its agent."""
        return [f"{name}: {why}" for name, agent in self.agents.items() for why in agent.failures]


def _channel(publisher: Publisher, addresses: Addresses) -> Channel:
    if publisher.via == "nats":
        return NatsChannel(addresses.nats_url, addresses.epoch)
    token = mint(addresses.secret, sub=publisher.name, scope="publish", ttl_s=PUBLISHER_TTL_S, now=time.time())
    return HttpChannel(f"http://{RELAY_HOST}", token, resolver=ReplicaResolver(addresses.replicas))
