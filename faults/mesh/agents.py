"""An agent of the mesh: the production client with a durable cursor, woken, put to sleep and crashed by the plan.

A *life* is one `AgentClient` from its start to its end; the cursor file is all that passes from one life to the next.
A crash cancels the life in whatever it is doing: no cursor is saved, no ack flushed, as if the process had died.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from faults.mesh.store import ProcessDurableStore
from faults.plan import Agent, RelayTimes
from faults.recorder import Recorder
from faults.schedule import What
from faults.witness import AgentWitness
from reports.history import owner_of
from system.client import AgentClient, ClientSettings, Delivery, GapNotice, GoneNotice
from system.host import Host
from system.tokens import mint

CRASH_DOWN_S = 0.2
"""Between a crash and the next life."""
FAILED_DOWN_S = 1.0
"""Between the end of a life that the client itself gave up and the next one."""
FAILURES_MAX = 100
"""Noted failures of the client; each is a finding, and more of them say nothing new."""


class MeshAgent(AgentWitness):
    """One agent: takes orders, keeps its client running while awake, and records what the client sees."""

    def __init__(
        self, agent: Agent, *, base_url: str, secret: str, folder: Path, times: RelayTimes, recorder: Recorder
    ) -> None:
        super().__init__(agent.name, recorder)
        self.is_awake = False
        self.failures: list[str] = []
        """What ended lives that nobody wanted to end."""
        self._agent = agent
        self._base_url = base_url
        self._secret = secret
        self._store = ProcessDurableStore(folder / f"{agent.name}.cursor")
        self._settings = _client_settings(agent, times)
        self._orders: asyncio.Queue[What] = asyncio.Queue()
        self._client: AgentClient | None = None

    @property
    def has_life(self) -> bool:
        """Whether a client runs."""
        return self._client is not None

    def order(self, what: What) -> None:
        """Wake, sleep or crash; carried out in order, as soon as the last order is."""
        self._orders.put_nowait(what)

    async def run(self) -> None:
        """Carry out orders until cancelled."""
        living: asyncio.Task[None] | None = None
        try:
            while True:
                what = await self._orders.get()
                if what is What.WAKE and living is None:
                    self.is_awake = True
                    living = asyncio.create_task(self._live(), name=f"agent {self.name}")
                elif what is What.SLEEP and living is not None:
                    self.is_awake = False
                    if self._client is not None:
                        self._client.stop()
                    await living
                    living = None
                elif what is What.CRASH and living is not None:
                    await _end(living)
                    living = asyncio.create_task(self._live(CRASH_DOWN_S), name=f"agent {self.name}")
        finally:
            if living is not None:
                await _end(living)

    async def _live(self, after_s: float = 0.0) -> None:
        """Lives, one after the other, until it is to sleep."""
        await asyncio.sleep(after_s)
        while self.is_awake:
            self.life += 1
            self._client = AgentClient(
                self._base_url,
                owner_of(self.name),
                self._token,
                _Work(self._agent.handler_ms / 1000),
                self._store,
                Host.real(),
                settings=self._settings,
                observer=self,
            )
            try:
                await self._client.run()
            except Exception as error:  # the life's root: whatever ends it by itself is a finding
                if len(self.failures) < FAILURES_MAX:
                    self.failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(FAILED_DOWN_S)
            finally:
                self._client = None

    async def _token(self) -> str:
        return mint(
            self._secret, sub=owner_of(self.name), scope="stream", ttl_s=self._agent.token_ttl_s, now=time.time()
        )


class _Work:
    """An agent's work: it takes its time over an event."""

    def __init__(self, handler_s: float) -> None:
        self._handler_s = handler_s

    async def on_event(self, delivery: Delivery) -> None:
        """Work."""
        if self._handler_s:
            await asyncio.sleep(self._handler_s)

    async def on_gap(self, notice: GapNotice) -> None:
        """Lesser events are gone: go on."""

    async def on_gone(self, notice: GoneNotice) -> None:
        """A real agent would fetch its state anew; this one has none."""


def _client_settings(agent: Agent, times: RelayTimes) -> ClientSettings:
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


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
