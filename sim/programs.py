"""The programs that run on simulated hosts: the relay, agents and publishers of production, and the servers.

Each is a process's main coroutine. Nothing of `system/` is changed or replaced for it: a relay is started as
`meshrelay serve` starts it, an agent is the production client with a place that outlives its process.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from faults.mesh.channels import Channel, HttpChannel, NatsChannel
from faults.pager import Pager, client_of
from faults.plan import Agent, Plan, Publisher, RelayTimes
from faults.streamwatch import StreamSeen, StreamWatch
from faults.witness import AgentWitness
from reports.history import owner_of
from sim.clock import EPOCH_NS
from sim.host import Process
from system.client import AgentClient, ClientSettings, Delivery, GapNotice, GoneNotice
from system.host import Host
from system.relay import Relay
from system.settings import Settings
from system.tokens import mint

SECRET = "the simulated world's shared secret, 32 bytes and more"
RELAY_PORT = 8080
NATS_PORT = 4222
POSTGRES_PORT = 5432
REDIS_PORT = 6379
FOR_EVER_S = 1e9
TOTALLED = ("relay_writer_redelivered_total", "relay_stale_redispatches_total")
"""Metrics that are added up over a replica's lives, for those of a life end with it."""
Program = Callable[[Process], Coroutine[Any, Any, None]]


def system_host(process: Process) -> Host:
    """What the relay and its client get from their machine."""
    clock, rng = process.host.clock, process.rng
    return Host(wall=lambda: clock.wall_ns() / 1e9, rng=rng, new_id=lambda: f"{rng.getrandbits(128):032x}")


def issuer_s(process: Process) -> float:
    """The wall clock of who issues tokens, in s: true time, whatever the clock of who asks for one shows."""
    return (EPOCH_NS + process.host.environment.now_ns) / 1e9


class PlannedSettings(Settings):
    """Settings of a simulated replica: what the environment of the real machine says is not its business."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was given and the defaults, nothing else."""
        return (init_settings,)


def relay_settings(plan: Plan, **more: Any) -> Settings:
    """A relay's settings under a plan."""
    times = plan.relay
    given: dict[str, Any] = {
        "nats_url": f"nats://nats:{NATS_PORT}",
        "postgres_dsn": f"postgresql://meshrelay:x@postgres:{POSTGRES_PORT}/mesh?sslmode=disable",
        "http_host": "0.0.0.0",
        "http_port": RELAY_PORT,
        "jwt_hs256_secret": SECRET,
        "transport": plan.transport,
        "retention_critical_s": plan.retention.critical_s,
        "retention_standard_s": plan.retention.standard_s,
        **{name: getattr(times, name) for name in RelayTimes.__struct_fields__},
        **plan.limits.given(),
    }
    if plan.has_redis:
        given["redis_url"] = f"redis://redis:{REDIS_PORT}/0"
    return PlannedSettings.model_validate(given | more)


class RelayProgram:
    """One replica: started anew in every life of its host."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.relay: Relay | None = None
        """The replica of the current life."""
        self._stopping: asyncio.Event | None = None
        self._process: Process | None = None
        self.exits: list[str] = []
        """Why replicas ended that nobody asked to end."""
        self.on_exit: Callable[[], object] | None = None
        """Told when a replica has ended by itself."""
        self._past: Counter[str] = Counter()
        """What former lives had counted of TOTALLED."""

    async def __call__(self, process: Process) -> None:
        """Serve until told to stop, or until a part fails."""
        self._process = process
        self._past.update({metric: self.counted(metric) for metric in TOTALLED})
        self.relay = relay = Relay(self._settings, system_host(process))
        self._stopping = asyncio.Event()
        await relay.start()
        relay.failed.add_done_callback(lambda _: self.stop())
        await self._stopping.wait()
        await relay.drain()
        if relay.failed.done():
            self.exits.append(repr(relay.failed.result()))
            if self.on_exit is not None:
                self.on_exit()
        process.host.environment.at(0, process.kill)

    def switch(self, transport: str) -> None:
        """Have its next life read over another transport."""
        self._settings = self._settings.model_copy(update={"transport": transport})

    def stop(self) -> None:
        """SIGTERM."""
        if self._stopping is not None and self._process is not None:
            self._process.loop.within(self._stopping.set)

    def counted(self, metric: str) -> int:
        """A counter of the current life, by its name in /metrics."""
        return 0 if self.relay is None else round(self.relay.metrics.registry.get_sample_value(metric) or 0)

    def total(self, metric: str) -> int:
        """A counter of all lives, of those in TOTALLED."""
        assert metric in TOTALLED, metric
        return self._past[metric] + self.counted(metric)

    def forget(self) -> None:
        """Let go of the last life: what it left must be buried with its world."""
        self.relay = self._stopping = self._process = None

    @property
    def is_ready(self) -> bool:
        """What its /readyz would say."""
        return bool(self.readiness()[0])

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """What its /readyz says, asked from outside."""
        if self.relay is None or self._process is None or not self._process.is_alive:
            return False, {"status": "not running"}
        answer: tuple[bool, dict[str, Any]] = self._process.loop.within(self.relay.readiness)
        return answer


class PowerProofStore:
    """An agent's cursor on its disk: what `save` has returned from survives everything."""

    def __init__(self) -> None:
        self._cursor: str | None = None

    async def load(self) -> str | None:
        """What was saved last."""
        return self._cursor

    async def save(self, cursor: str) -> None:
        """Durable from here on."""
        self._cursor = cursor


class AgentProgram(AgentWitness):
    """One agent: its client, its work, and what it saw."""

    def __init__(self, agent: Agent, plan: Plan, recorder: Any, url: str) -> None:
        super().__init__(agent.name, recorder, agent.types)
        self.failures: list[str] = []
        self._agent = agent
        self._url = url
        self._store = PowerProofStore()
        self._settings = client_settings(agent, plan.relay)
        self.is_awake = False
        """Whether it wants to be connected."""
        self._client: AgentClient | Pager | None = None
        self._process: Process | None = None
        self._conn_of_life: int | None = None

    async def __call__(self, process: Process) -> None:
        """One life of its process: it ends by `stop`, or with a failure of the client."""
        self.life += 1
        self._process = process
        host = system_host(process)

        async def token() -> str:
            self.granted(self._agent.token_ttl_s)
            return mint(
                SECRET, sub=owner_of(self.name), scope="stream", ttl_s=self._agent.token_ttl_s, now=issuer_s(process)
            )

        self._client = client_of(
            self._agent, self._url, token, self, self._store, host, settings=self._settings, witness=self
        )
        try:
            await self._client.run()
        except Exception as error:  # a life's root: whatever ends it by itself is a finding
            self.failures.append(f"{type(error).__name__}: {error}")
        process.host.environment.at(0, process.kill)

    def stop(self) -> None:
        """Ask the client to end."""
        if self._client is not None and self._process is not None and self._process.is_alive:
            self._process.loop.within(self._client.stop)

    def forget(self) -> None:
        """Let go of the last life."""
        self._client = self._process = None

    def connecting(self, conn: int, presented: str | None, resync: bool) -> None:
        """A connection is tried."""
        self._conn_of_life = conn
        super().connecting(conn, presented, resync)

    def closed(self, conn: int, why: str) -> None:
        """The connection is over."""
        self._conn_of_life = None
        super().closed(conn, why)

    def crash(self) -> None:
        """SIGKILL; who forgets has lost its disk with it."""
        if self._process is not None and self._process.is_alive:
            self._process.kill()
            if self._agent.forgets:
                self._store = PowerProofStore()
                self.forgot()

    def died(self) -> None:
        """Its process is over; if it had no time to say so, whoever writes the history knows it of its connection."""
        if self._conn_of_life is not None:
            self.closed(self._conn_of_life, "crashed")

    async def on_event(self, delivery: Delivery) -> None:
        """Work."""
        if self._agent.handler_ms:
            await asyncio.sleep(self._agent.handler_ms / 1000)
        self.handled(delivery)

    async def on_gap(self, notice: GapNotice) -> None:
        """Lesser events are gone: go on."""

    async def on_gone(self, notice: GoneNotice) -> None:
        """A real agent would fetch its state anew; this one has none."""


def client_settings(agent: Agent, times: RelayTimes) -> ClientSettings:
    """An agent's client under a plan."""
    return ClientSettings(
        start_from=agent.start_from,
        heartbeat_s=times.heartbeat_s,
        connect_timeout_s=2.0,
        response_timeout_s=5.0,
        backoff_base_s=times.retry_min_ms / 500,
        backoff_max_s=times.retry_max_ms / 333,
        ack_interval_s=agent.ack_interval_s,
        ack_flush_timeout_s=1.0,
    )


def channel(publisher: Publisher, process: Process, plan: Plan, epoch: str) -> Channel:
    """How a publisher reaches the relay or NATS; `epoch` is what the relay's cursors begin with."""
    if publisher.via == "nats":
        return NatsChannel(f"nats://nats:{NATS_PORT}", epoch)
    ttl_s = plan.duration_s + plan.converge_within_s + 86_400
    token = mint(SECRET, sub=publisher.name, scope="publish", ttl_s=ttl_s, now=issuer_s(process))
    return HttpChannel(f"http://relay:{RELAY_PORT}", token)


def observer(told: Callable[[StreamSeen], None], agents: Sequence[str]) -> Program:
    """Looks at the stream and pg-writer's consumer now and then, over a connection of its own."""

    async def look(process: Process) -> None:
        watch = StreamWatch(f"nats://nats:{NATS_PORT}")
        while True:
            seen = await watch.look(agents)
            if seen is not None:
                told(seen)
            await asyncio.sleep(1.0)

    return look


@contextmanager
def quiet_logs(hear: Callable[[Mapping[str, Any]], object]) -> Iterator[None]:
    """No logs for the length of a `with`, for they cost more than all else; `hear` is told each line's fields."""

    def drop(_: Any, __: str, fields: Any) -> Any:
        hear(fields)
        raise structlog.DropEvent

    before = structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in ("nats", "aiohttp", "asyncio", "asyncpg")}
    structlog.configure(
        processors=[drop],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        structlog.configure(**before)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
