"""The scale question: what the ADR's options cost as agents become more, on the real stack.

One run is one option and one number of agents on servers of its own: everybody connects, is idle for a while, receives
events at a steady rate; then everything is killed with a backlog in the stream, started again, and all come back at
once. Events are published to NATS directly, so that what is measured is the read path with what feeds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats
import psutil
from nats.aio.client import Client
from nats.js.api import Header

from faults.bench.child import Child, running
from faults.bench.figures import percentile
from faults.bench.ground import DRAIN, QUIET, TOKEN_TTL_S
from faults.bench.load import Load, agent_name, make_events
from faults.bench.spending import Spent, spent
from faults.stack import EmbeddedStack, RelayProcess
from faults.stack.process import ManagedProcess
from faults.transports import TransportName
from system.event import Event, subject_of
from system.host import Host
from system.tokens import mint

SIZES = (10, 50, 100, 500, 1_000)
LARGE = 5_000
"""For option A alone: what the ADR's '50+' would grow into."""
GAPS = (100, 1_000, 10_000)
"""Events that an agent missed, for the time of a replay."""
RATE_PER_S = 400
EVENTS = 2_000
"""Of the steady part of a run; more if that is less than one an agent."""
BACKLOG_EACH = 5
"""Events that wait for each agent when everything comes back."""
LEASE_S = "2"
"""Else whoever comes back waits for the dead leader's thirty seconds, with every option, and nothing else is seen."""
IDLE_S = 5.0
WARM_UP = 10
"""Agents that connect first, and stay: what a process takes once is nobody's."""
BOOKMARK = 1
"""The frame with which a session goes live."""
MARK = '"number":'
"""In the data of every event once, and in no frame of the relay's own."""
IN_FLIGHT = 256
LIMIT_S = 120.0
PERCENTILES = (50.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRun:
    """One run of one option at one size."""

    transport: str
    agents: int
    run: int
    deliveries: int
    """Of the steady part."""
    steady: dict[str, Spent]
    """By process, what the steady part took."""
    idle: dict[str, Spent]
    """By process, what `idle_s` of nothing took."""
    idle_s: float
    connected: dict[str, Spent]
    """By process, what connecting all agents took; its memory is theirs."""
    connect_s: float
    consumers: int
    """JetStream consumers that are there for these agents."""
    latency_ms: dict[str, float]
    """Publish to delivery, by percentile, from when an event was due."""
    herd_s: float
    """From the start of everything to the last agent's last event."""
    backlog: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRun:
    """How long one agent's replay of a gap took."""

    transport: str
    gap: int
    run: int
    replay_s: float


@dataclass(slots=True, kw_only=True)
class Scene:
    """A stack with one relay over one option, and the means to publish and to open streams."""

    stack: EmbeddedStack
    relay: RelayProcess
    servers: dict[str, ManagedProcess]
    nc: Client
    published: int = 0

    @property
    def processes(self) -> dict[str, ManagedProcess]:
        """Everything that is measured, by its name."""
        return {"relay": self.relay, **self.servers}

    def requests(self, agents: Sequence[str], cursor: str) -> list[str]:
        """The HTTP requests that open these agents' streams."""
        return [
            f"GET /v1/agents/{agent}/events?cursor={cursor} HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {self._token(agent)}\r\nAccept: text/event-stream\r\n\r\n"
            for agent in agents
        ]

    def _token(self, agent: str) -> str:
        return mint(self.stack.jwt_secret, sub=agent, scope="stream", ttl_s=TOKEN_TTL_S, now=Host.real().wall())

    async def publish(self, agents: Sequence[str], events: int, *, per_s: float | None = None) -> None:
        """Publish so many events to the agents in turn, each stored before this returns; at a rate, or at once."""
        gate = asyncio.Semaphore(IN_FLIGHT)
        started_ns = time.monotonic_ns()
        self.published += 1
        async with asyncio.TaskGroup() as group:
            load = Load(events=events, agents=len(agents), seed=self.published)
            for number, event in enumerate(make_events(load)):
                due_ns = time.monotonic_ns() if per_s is None else started_ns + round(number * 1e9 / per_s)
                await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
                await gate.acquire()
                group.create_task(self._publish(event, agents[number % len(agents)], due_ns, gate))

    async def _publish(self, event: Event, agent: str, due_ns: int, gate: asyncio.Semaphore) -> None:
        try:
            document = json.loads(event.text)
            document["subject"] = agent
            document["data"]["sent_ns"] = due_ns
            text = json.dumps(document, separators=(",", ":"))
            answer = await self.nc.request(
                subject_of(agent, event.type), text.encode(), timeout=30, headers={Header.MSG_ID.value: event.id}
            )
            assert "seq" in json.loads(answer.data), answer.data
        finally:
            gate.release()

    async def consumers(self) -> int:
        """How many JetStream consumers there are now."""
        state = json.loads((await self.nc.request("$JS.API.STREAM.INFO.MESH_EVENTS", timeout=10)).data)["state"]
        return int(state["consumer_count"])

    async def kill_all(self) -> None:
        """SIGKILL of everything at once."""
        await self.nc.close()
        for process in self.processes.values():
            if process.is_running():
                await process.kill()

    async def start_all(self) -> None:
        """Start everything at once, and wait until it serves."""
        for process in self.processes.values():
            process.start_nowait()
        for process in self.processes.values():
            await process.wait_ready(LIMIT_S)


@asynccontextmanager
async def scene(transport: TransportName) -> AsyncIterator[Scene]:
    """Servers of its own, and a relay that leads. Raises PartUnavailable, ProcessFailed."""
    async with EmbeddedStack.start() as stack:
        servers: dict[str, ManagedProcess] = {"nats": stack.nats, "postgres": stack.postgres}
        settings = QUIET | DRAIN | {"TRANSPORT": transport.value, "LEASE_S": LEASE_S}
        if transport is TransportName.REDIS:
            redis = stack.add_redis()
            await redis.start()
            servers["redis"] = redis
            settings["REDIS_URL"] = redis.url
        relay = stack.add_relay("relay", settings)
        relay.start_nowait()
        await relay.wait_ready()
        nc = await nats.connect(stack.nats_url, allow_reconnect=False)
        try:
            yield Scene(stack=stack, relay=relay, servers=servers, nc=nc)
        finally:
            with contextlib.suppress(Exception):  # the server may have been killed under it
                await nc.close()


async def measure_scale(transport: TransportName, agents: int, run: int) -> ScaleRun:
    """One run. Raises PartUnavailable, ProcessFailed, ChildFailed, psutil.Error."""
    names = [agent_name(number) for number in range(agents)]
    each = max(1, EVENTS // agents)
    async with scene(transport) as stage, running("reader") as reader:
        await _open(reader, stage, [f"warm-{number}" for number in range(WARM_UP)], "earliest", frames=BOOKMARK)
        await _settled(stage)
        before, there = spent(stage.processes), await stage.consumers()
        began_s = time.monotonic()
        await _open(reader, stage, names, "earliest", frames=BOOKMARK)
        connect_s = time.monotonic() - began_s
        await _settled(stage)
        connected = _since(stage, before)
        await reader.do("count", mark=MARK)
        idle_from, idle_began_s = spent(stage.processes), time.monotonic()
        await asyncio.sleep(IDLE_S)
        idle, idle_s = _since(stage, idle_from), time.monotonic() - idle_began_s
        consumers = await stage.consumers() - there
        steady_from = spent(stage.processes)
        delays_ms = await _deliver(stage, reader, names, each)
        steady = _since(stage, steady_from)
        await reader.do("close")
        herd_s = await _herd(stage, reader, names, each)
    return ScaleRun(
        transport=transport.value,
        agents=agents,
        run=run,
        deliveries=each * agents,
        steady=steady,
        idle=idle,
        idle_s=idle_s,
        connected=connected,
        connect_s=connect_s,
        consumers=consumers,
        latency_ms={f"p{percent:g}": percentile(delays_ms, percent) for percent in PERCENTILES},
        herd_s=herd_s,
        backlog=BACKLOG_EACH * agents,
    )


async def measure_replay(transport: TransportName, runs: int, gaps: Sequence[int] = GAPS) -> list[ReplayRun]:
    """So many runs of each gap, of agents of their own. Raises as `measure_scale`."""
    found = []
    async with scene(transport) as stage, running("reader") as reader:
        await reader.do("count", mark=MARK)
        for gap in gaps:
            for run in range(1, runs + 1):
                name = f"gap-{gap}-{run}"
                await _open(reader, stage, [name], "earliest", frames=0)
                reading = asyncio.create_task(reader.do("read", frames=gap, timeout_s=LIMIT_S))
                await stage.publish([name], gap)
                await reading  # it is where replays read from
                await reader.do("close")
                began_s = time.monotonic()
                await _open(reader, stage, [name], "earliest", frames=gap)
                found.append(
                    ReplayRun(transport=transport.value, gap=gap, run=run, replay_s=time.monotonic() - began_s)
                )
                await reader.do("close")
    return found


def values_of(run: ScaleRun) -> dict[str, float]:
    """A run's costs by name, for 1,000 deliveries, an agent, or an hour of an agent; `.<process>` is its part."""
    found: dict[str, float] = {}
    thousands = run.deliveries / 1_000
    for process, one in run.steady.items():
        found[f"cpu_ms.{process}"] = one.cpu_s * 1_000 / thousands
        if one.network_bytes is not None:
            found[f"network_kb.{process}"] = one.network_bytes / 1_000 / thousands
    for process, one in run.idle.items():
        found[f"idle_cpu_s.{process}"] = one.cpu_s / run.idle_s * 3_600 / run.agents
    for process, one in run.connected.items():
        found[f"memory_kb.{process}"] = one.memory_bytes / 1_024 / run.agents
    for cost in ("cpu_ms", "network_kb", "idle_cpu_s", "memory_kb"):
        parts = [value for name, value in found.items() if name.startswith(f"{cost}.")]
        if len(parts) == len(run.steady):
            found[cost] = sum(parts)
    found |= {f"latency_ms.{name}": value for name, value in run.latency_ms.items()}
    return found | {"connect_s": run.connect_s, "herd_s": run.herd_s, "consumers": float(run.consumers)}


def sizes_of(transport: TransportName, sizes: Sequence[int]) -> Iterator[int]:
    """The sizes at which an option is measured: the largest only where the ADR has it grow."""
    yield from (size for size in sizes if size < LARGE or transport is TransportName.JETSTREAM)


async def _open(reader: Child, stage: Scene, names: Sequence[str], cursor: str, *, frames: int) -> None:
    await reader.do(
        "open",
        address=["127.0.0.1", stage.relay.port],
        requests=stage.requests(names, cursor),
        frames=frames,
        timeout_s=LIMIT_S,
    )


async def _settled(stage: Scene) -> None:
    """Wait until connecting costs nothing more: whoever connects is answered before all is done for it."""
    assert stage.relay.pid is not None
    process = psutil.Process(stage.relay.pid)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        before = sum(process.cpu_times()[:2])
        await asyncio.sleep(0.5)
        if sum(process.cpu_times()[:2]) - before <= 0.05:
            return
    raise TimeoutError(f"expected the relay to come to rest within {LIMIT_S} s of connecting all agents")


async def _deliver(stage: Scene, reader: Child, names: Sequence[str], each: int) -> list[float]:
    """Deliver events at the steady rate; answers each one's time in ms."""
    total = each * len(names)
    reading = asyncio.create_task(
        reader.do("read", frames=total, of_all=True, delays=True, timeout_s=total / RATE_PER_S + LIMIT_S)
    )
    await stage.publish(names, total, per_s=RATE_PER_S)
    delays_ns: list[int] = (await reading)["delays_ns"]
    assert len(delays_ns) == total, (len(delays_ns), total)
    return [delay / 1e6 for delay in delays_ns]


async def _herd(stage: Scene, reader: Child, names: Sequence[str], each: int) -> float:
    """Kill everything with a backlog in the stream, start it, let all come back; answers the time of it in s."""
    await stage.relay.kill()
    await stage.publish(names, BACKLOG_EACH * len(names))
    await stage.kill_all()
    began_s = time.monotonic()
    await stage.start_all()
    await _open(reader, stage, names, "earliest", frames=each + BACKLOG_EACH)
    return time.monotonic() - began_s


def _since(stage: Scene, before: Mapping[str, Spent]) -> dict[str, Spent]:
    return {name: now.since(before[name]) for name, now in spent(stage.processes).items()}
