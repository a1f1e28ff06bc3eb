"""A publisher of the mesh: empties its outbox through its channel, in the plan's rhythm, whatever breaks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from faults.content import digest_of
from faults.mesh.channels import Channel, Result
from faults.mesh.outbox import Outbox, Settled
from faults.recorder import Recorder
from reports import history
from system.client.backoff import backoff_s

BACKOFF_BASE_S = 0.05
POLL_S = 60.0
"""Longest sleep before looking again, so that a clock that was set is noticed."""


class MeshPublisher:
    """One publisher; `run` returns when everything is published and settled."""

    def __init__(
        self,
        name: str,
        *,
        outbox: Outbox,
        channel: Channel,
        batch_max: int,
        recorder: Recorder,
        rng: random.Random,
        retry_max_s: float,
    ) -> None:
        self.name = name
        self.outbox = outbox
        self._channel = channel
        self._batch_max = batch_max
        self._recorder = recorder
        self._rng = rng
        self._retry_max_s = retry_max_s

    async def run(self, now_s: Callable[[], float]) -> None:
        """Publish until the outbox is empty; `now_s` is the time within the plan."""
        failures = 0
        try:
            while (due_in_s := self.outbox.due_in_s(now_s())) is not None:
                if due_in_s > 0:
                    await asyncio.sleep(min(due_in_s, POLL_S))
                    continue
                is_settled = await self._publish(now_s())
                failures = 0 if is_settled else failures + 1
                if failures:
                    await asyncio.sleep(
                        backoff_s(self._rng, attempt=failures, base_s=BACKOFF_BASE_S, max_s=self._retry_max_s)
                    )
        finally:
            await self._channel.close()

    async def _publish(self, now_s: float) -> bool:
        """One batch; whether every outcome is known."""
        batch = self.outbox.take(now_s, self._batch_max)
        for arrival in batch:
            self._recorder.record(
                history.Publish,
                publisher=self.name,
                id=arrival.id,
                agent=arrival.agent,
                type=arrival.type,
                digest=digest_of(arrival.event()),
            )
        results = await self._channel.send(batch)
        for arrival, result in zip(batch, results, strict=True):
            self._note(arrival.id, result)
        outcomes = [(arrival.id, result.outcome) for arrival, result in zip(batch, results, strict=True)]
        self.outbox.settle(outcomes, alone=any(result.is_final_refusal for result in results))
        return all(outcome is not Settled.UNKNOWN for _, outcome in outcomes)

    def _note(self, event_id: str, result: Result) -> None:
        self._recorder.record(
            history.Published,
            publisher=self.name,
            id=event_id,
            outcome=result.outcome.value,
            cursor=result.cursor,
            duplicate=result.duplicate,
            status=result.status,
        )
