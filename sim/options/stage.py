"""The stage of a simulated measurement: a world with one relay, every host equally far away, and everything counted.

Counted is what arrives: pieces of bytes and their lengths on each of the relay's links, without TCP's own packets, and
the requests that servers were asked. What the one that publishes exchanges with NATS is the same over every option, and
left out.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from nats.aio.client import Client
from nats.js.api import Header

from faults.bench.load import Load, make_events
from faults.plan import Plan
from faults.recorder import Recorder
from reports import history
from sim.environment import US, S
from sim.faults import Machine
from sim.host import Process
from sim.network import BUFFER_BYTES
from sim.outcome import WorldFailed
from sim.programs import NATS_PORT
from sim.world import TICK_NS, World
from system.event import Event, subject_of

DISTANCE_NS = 300 * US
"""One way between any two hosts: one rack. Seeds then differ in the order of simultaneous work, jitter and clocks."""
IN_FLIGHT = 256
LIMIT_S = 600.0
"""Simulated, for anything that is waited for."""
ENDS = ("agent", "nats", "postgres", "redis")
"""What the relay has links with."""
Steps = Generator[Any, None, None]


class Seen(Recorder):
    """What agents saw, kept in memory: when each event came, and when each agent went live."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self.began_ns = 0
        self.count = 0
        self.delivered_ns: dict[str, int] = {}
        """By event, when it last came to somebody."""
        self.live_ns: dict[str, int] = {}
        """By client, when it last heard where it is."""
        self.deliveries = 0
        self._awaited: tuple[int, Callable[[], None]] | None = None

    def record(self, kind: Callable[..., history.Record], **fields: Any) -> None:
        """Take what matters of a record."""
        self.count += 1
        if kind is history.Bookmark:
            self.live_ns[fields["agent"]] = self._clock_ns()
        elif kind is history.Deliver:
            self.deliveries += 1
            self.delivered_ns[fields["id"]] = self._clock_ns()
            if self._awaited is not None and self._awaited[0] == self.deliveries:
                self._awaited[1]()

    def at(self, deliveries: int, callback: Callable[[], None]) -> None:
        """Have a callback called within the delivery that is the last of so many."""
        self._awaited = deliveries, callback

    def close(self) -> None:
        """Nothing is open."""


class Traffic:
    """Bytes and their pieces on the relay's links, by who is at the other end."""

    def __init__(self) -> None:
        self.pieces: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def segment(self, sent_ns: int, arrived_ns: int, source: str, target: str, data: bytes) -> None:
        """Bytes have arrived; an empty piece is the end of a stream."""
        ends = {kind_of(source), kind_of(target)}
        if "relay" in ends and data:
            (other,) = ends - {"relay"}
            self.pieces[other] += 1
            self.bytes[other] += len(data)


def kind_of(host: str) -> str:
    """What a host is: `agent.agent-0001` is an agent, `relay-1` a relay."""
    return host.partition(".")[0].partition("-")[0]


class Stage(World):
    """A world in which a scene is played instead of its plan's events and faults; `measured` is what was found."""

    def __init__(self, plan: Plan) -> None:
        traffic = Traffic()
        super().__init__(plan, Seen, relays=1, on_segment=traffic.segment)
        self.network.buffer_bytes = BUFFER_BYTES
        assert isinstance(self._recorder, Seen)
        self.seen = self._recorder
        self._traffic = traffic
        self._publisher = self._host("publisher")
        self.network.place("publisher", "nats", DISTANCE_NS)
        self._published = 0
        self.published_ns: dict[str, int] = {}
        """When each event was given to NATS."""

    # What a scene is made of

    def play(self) -> Steps:
        """The scene; a relay is ready when it begins."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """Everything counted so far."""
        found: dict[str, int] = {}
        for end in ENDS:
            found[f"segments.{end}"] = self._traffic.pieces[end]
            found[f"bytes.{end}"] = self._traffic.bytes[end]
        nats = self.nats.asked
        found["requests.nats"] = nats["api"] + nats["pull"]
        found["requests.postgres"] = sum(self.postgres.asked.values())
        found["requests.redis"] = 0 if self.redis is None else sum(self.redis.asked.values())
        found["acks"] = nats["ack"] + nats["flow"]
        return found

    def wait(self, is_done: Callable[[], object], what: str) -> Steps:
        """Wait for something. Raises WorldFailed if it does not come."""
        for _ in range(round(LIMIT_S * S / TICK_NS)):
            if is_done():
                return
            yield self.environment.timeout(TICK_NS)
        raise WorldFailed(f"expected {what} within {LIMIT_S:g} simulated s; {self._problems[:5]}")

    def pass_s(self, seconds: float) -> Steps:
        """Let time pass."""
        yield self.environment.timeout(round(seconds * S))

    def publish(self, agents: Sequence[str], events: int, *, per_s: float | None = None) -> Steps:
        """Publish so many events to the agents in turn, each stored before this ends; at a rate, or at once."""
        self._published += 1
        load = Load(events=events, agents=len(agents), seed=self._published)
        stored: list[int] = []

        async def main(process: Process) -> None:
            client = Client()
            await client.connect(f"nats://nats:{NATS_PORT}", allow_reconnect=False)
            gate, loop = asyncio.Semaphore(IN_FLIGHT), asyncio.get_running_loop()
            began_s = loop.time()
            async with asyncio.TaskGroup() as group:
                for number, event in enumerate(make_events(load)):
                    if per_s is not None:
                        await asyncio.sleep(max(0.0, began_s + number / per_s - loop.time()))
                    self.published_ns[event.id] = self.environment.now_ns
                    await gate.acquire()
                    group.create_task(_publish(client, event, agents[number % len(agents)], gate))
            await client.close()
            stored.append(events)
            process.host.environment.at(0, process.kill)

        self._start(self._publisher, main)
        yield from self.wait(lambda: stored, f"{events} events to be stored")

    def delivered(self, total: int) -> Callable[[], Mapping[str, int] | None]:
        """Answers None until so many deliveries were made in all, then what was counted at that very moment."""
        found: list[dict[str, int]] = []
        self.seen.at(total, lambda: found.append({"now_ns": self.environment.now_ns, **self.counts()}))
        return lambda: found[0] if found else None

    def kill(self, *machines: Machine) -> None:
        """SIGKILL."""
        for machine in machines:
            for process in machine.host.processes:
                if process.is_alive:
                    process.kill()

    @property
    def machines(self) -> list[Machine]:
        """The servers, then the relay."""
        redis = [] if self.redis is None else [self.redis]
        return [self.nats, self.postgres, *redis, *self._relay_machines]

    # The world's own

    def _spread(self) -> None:
        for relay in self._relay_hosts:
            others = [machine.host.name for machine in (self.nats, self.postgres, *self._mesh.agent_machines.values())]
            for name in (*others, *(() if self.redis is None else ("redis",))):
                self.network.place(relay.name, name, DISTANCE_NS)

    def _conduct(self) -> Steps:
        for machine in self.machines:
            machine.start()
        yield from self._ready()
        yield from self.play()
        yield from self._end()


async def _publish(client: Client, event: Event, agent: str, gate: asyncio.Semaphore) -> None:
    try:
        text = json.dumps(json.loads(event.text) | {"subject": agent}, separators=(",", ":"))
        answer = await client.request(
            subject_of(agent, event.type), text.encode(), timeout=30, headers={Header.MSG_ID.value: event.id}
        )
        assert "seq" in json.loads(answer.data), answer.data
    finally:
        gate.release()


def played(stage: Stage) -> None:
    """Play a scene to its end. Raises WorldFailed, also if a relay or a client ended by itself."""
    outcome = stage.run()
    ended = (*outcome.relay_exits, *outcome.client_failures)
    if ended:
        raise WorldFailed(f"expected nobody to end by itself, got {'; '.join(ended[:5])}")
