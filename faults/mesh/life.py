"""One life of an agent's client in a process of its own: the production client, its cursor on disk, its own history.

A life ends politely with SIGTERM, by its own error, or by SIGKILL in whatever it is doing: no cursor is saved then, no
ack flushed, no record finished. The cursor's file is all that passes from one life to the next.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import time
from pathlib import Path
from typing import Any

import msgspec

from faults.mesh.store import ProcessDurableStore
from faults.pager import client_of
from faults.plan import Agent, RelayTimes
from faults.recorder import Recorder
from faults.witness import AgentWitness
from reports.history import owner_of
from system.client import ClientSettings, Delivery, GapNotice, GoneNotice
from system.host import Host
from system.tokens import mint

RELAY_HOST = "relay"
"""The name that the replicas share, as behind any load balancer."""
LINE_BYTES_MAX = 1024 * 1024
"""Of a life as a request to the nursery; an agent of a plan may have many times awake."""
FAILED = 1
"""The exit code of a life that ended by its own error."""


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """All that a life needs to know."""

    agent: Agent
    """One client of the plan's."""
    number: int
    """Which of its lives."""
    replicas: tuple[tuple[str, int], ...]
    """Where the relay's replicas are to be found."""
    secret: str
    """Signs its tokens."""
    times: RelayTimes
    began_ns: int
    """When the run began, by the machine's monotonic clock."""
    cursor: str
    """The file of its cursor."""
    part: str
    """The file of its part of the history."""
    failure: str
    """The file into which it writes what ended it, if that was an error of its own."""


class NamingLoop(asyncio.SelectorEventLoop):
    """An event loop that knows the relay's name: each look-up answers another replica, as a load balancer does."""

    def __init__(self, replicas: tuple[tuple[str, int], ...]) -> None:
        super().__init__()
        self._replicas = replicas

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """One replica for the relay's name, else as always."""
        if host != RELAY_HOST:
            return await super().getaddrinfo(host, port, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", random.choice(self._replicas))]


def live(life: Life) -> int:
    """Live it to its end; answers the process's exit code."""
    try:
        with asyncio.Runner(loop_factory=lambda: NamingLoop(life.replicas)) as runner:
            runner.run(_live(life))
    except Exception as error:  # the life's root: whatever ends it by itself is a finding
        Path(life.failure).write_text(f"{type(error).__name__}: {error}")
        return FAILED
    return 0


async def _live(life: Life) -> None:
    agent = life.agent
    with Recorder(Path(life.part), began_ns=life.began_ns) as recorder:
        witness = AgentWitness(agent.name, recorder, agent.types)
        witness.life = life.number

        async def token() -> str:
            now = time.time()
            witness.granted(agent.token_ttl_s)
            return mint(life.secret, sub=owner_of(agent.name), scope="stream", ttl_s=agent.token_ttl_s, now=now)

        client = client_of(
            agent,
            f"http://{RELAY_HOST}",
            token,
            Work(agent.handler_ms / 1000, witness),
            ProcessDurableStore(Path(life.cursor)),
            Host.real(),
            settings=client_settings(agent, life.times),
            witness=witness,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, client.stop)
        await client.run()


class Work:
    """An agent's work: it takes its time over an event."""

    def __init__(self, handler_s: float, witness: AgentWitness) -> None:
        self._handler_s = handler_s
        self._witness = witness

    async def on_event(self, delivery: Delivery) -> None:
        """Work."""
        if self._handler_s:
            await asyncio.sleep(self._handler_s)
        self._witness.handled(delivery)

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
        backoff_base_s=0.2,
        backoff_max_s=1.5,
        ack_interval_s=agent.ack_interval_s,
        ack_flush_timeout_s=1.0,  # below the shortest nap: its end must not wait for the flush
    )
