"""Looks at the stream and at pg-writer's consumer, past all proxies: how much there is, how much is still pending."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import nats
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from faults.plan import Plan
from system.event import ALL_AGENTS, SUBJECT_PREFIX

STREAM = "MESH_EVENTS"
WRITER = "pg-writer"
ANSWER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeen:
    """One look."""

    head_seq: int
    """The last sequence in the stream."""
    pending: int
    """Events that pg-writer has not confirmed: not delivered to it, or not acknowledged by it."""
    confirmed_seq: int
    """Everything up to here is confirmed."""
    addressed: Mapping[str, int] | None = None
    """For each agent that was asked for, the last sequence of what it is to receive; None if nobody was asked for."""

    def last_for(self, agent: str) -> int:
        """Where an agent must have come to: the last sequence that is its own, or the stream's end if nobody asked.

        Option C bookmarks everybody at the stream's end; with the others a cursor moves with what the agent receives.
        """
        return self.head_seq if self.addressed is None else self.addressed[agent]


class Lag:
    """How long events waited in the stream for pg-writer, from looks at it; pure."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, int]] = deque()
        self.worst_s = 0.0
        """The longest wait seen so far, to the interval between two looks."""

    def see(self, now_s: float, seen: StreamSeen) -> None:
        """Take one look into account; times must not go back."""
        confirmed_seq = seen.confirmed_seq if seen.pending else seen.head_seq
        while self._waiting and self._waiting[0][1] <= confirmed_seq:
            self._waiting.popleft()
        if seen.head_seq > confirmed_seq and (not self._waiting or self._waiting[-1][1] < seen.head_seq):
            self._waiting.append((now_s, seen.head_seq))
        if self._waiting:
            self.worst_s = max(self.worst_s, now_s - self._waiting[0][0])


class StreamWatch:
    """One connection to NATS for looking only."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None

    async def look(self, agents: Iterable[str] = ()) -> StreamSeen | None:
        """What there is now, for these agents too; None if NATS does not answer, or lacks the stream or consumer."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._client is None or not self._client.is_connected:
                    await self.close()
                    self._client = Client()
                    await self._client.connect(self._url, allow_reconnect=False, connect_timeout=1, error_cb=_nothing)
                manager = self._client.jetstream(timeout=ANSWER_S)
                stream = await manager.stream_info(STREAM)
                consumer = await manager.consumer_info(STREAM, WRITER)
                addressed = {name: await _last_seq(manager, name) for name in agents}
                everybody = await _last_seq(manager, ALL_AGENTS) if addressed else 0
        except (nats.errors.Error, OSError, TimeoutError):
            return None
        pending = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        confirmed_seq = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
        return StreamSeen(
            head_seq=stream.state.last_seq,
            pending=pending,
            confirmed_seq=confirmed_seq,
            addressed={name: max(seq, everybody) for name, seq in addressed.items()} or None,
        )

    async def close(self) -> None:
        """Close the connection; closing twice does no harm."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(client.close(), ANSWER_S)


async def _last_seq(manager: JetStreamContext, receiver: str) -> int:
    """The last sequence of what is addressed to a receiver; 0 if the stream has nothing."""
    try:
        return int((await manager.get_last_msg(STREAM, f"{SUBJECT_PREFIX}.{receiver}.>")).seq or 0)
    except nats.js.errors.NotFoundError:
        return 0


async def _nothing(error: Exception) -> None:
    """What fails is seen by the look that needed it."""


def agents_asked_for(plan: Plan) -> tuple[str, ...]:
    """The agents whose own last events a run over other transports than option C has to know."""
    return () if plan.transports == {"cursor"} else tuple(agent.name for agent in plan.agents)
