"""Auto-ack: tells the relay how far the agent has come, at most once in an interval.

An ack is a courtesy, never the agent's place: failing, it is tried again with the newest cursor, or dropped if the
relay says that it will never take it.
"""

from __future__ import annotations

import asyncio
import random

import msgspec

from system.client.backoff import backoff_s
from system.client.errors import TokenUnavailable
from system.client.observer import Observer
from system.client.settings import ClientSettings
from system.client.wire import NO_ANSWER, RelayHttp, acks_path
from system.cursor import Cursor

NEVER_TAKEN = (400, 410)
"""What the relay says of a cursor that it will never take; anything else is of the way to it, or of the token."""


class _Acked(msgspec.Struct):
    acked: str


BOOKMARK_INTERVALS = 720
"""A bookmark alone is acknowledged after so many intervals (an hour, at 5 s each): an index already spares a restarted
agent the reading of what is not addressed to it, while every event of the mesh moves the bookmarks of all agents."""


class Acker:
    """Posts the newest saved cursor; `run` is a task of the client's run."""

    def __init__(
        self,
        relay: RelayHttp,
        agent: str,
        *,
        interval_s: float,
        settings: ClientSettings,
        observer: Observer,
        rng: random.Random,
    ) -> None:
        self._relay = relay
        self._path = acks_path(agent)
        self._observer = observer
        self._interval_s = interval_s
        self._settings = settings
        self._rng = rng
        self._newest: Cursor | None = None
        self._due = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None

    def note(self, cursor: Cursor, *, of_event: bool = True) -> None:
        """This cursor is saved, so it may be acknowledged: soon if it is an event's, some time if a bookmark's."""
        self._newest = cursor
        if of_event:
            self._due.set()
        elif self._later is None:
            delay_s = self._interval_s * BOOKMARK_INTERVALS
            self._later = asyncio.get_running_loop().call_later(delay_s, self._due.set)

    async def run(self) -> None:
        """Post acks until cancelled, in each interval one; less often while they fail."""
        failures = 0
        while True:
            await self._due.wait()
            failures = 0 if await self._post() else failures + 1
            pause_s = self._interval_s
            if failures:
                base_s, max_s = self._settings.backoff_base_s, self._settings.backoff_max_s
                pause_s += backoff_s(self._rng, attempt=failures - 1, base_s=base_s, max_s=max_s)
            await asyncio.sleep(pause_s)

    async def flush(self, timeout_s: float) -> None:
        """Post what is due now; give up after the timeout."""
        is_due = self._due.is_set() or self._later is not None
        self._forget_later()
        if not is_due or self._newest is None:
            return
        cursor = self._newest
        try:
            async with asyncio.timeout(timeout_s):
                await self._post()
        except TimeoutError:
            self._observer.ack_failed(str(cursor), f"no answer within {timeout_s} s")

    async def _post(self) -> bool:
        """Whether the relay confirmed it."""
        cursor = self._newest
        assert cursor is not None
        body = msgspec.json.encode({"cursor": str(cursor)})
        try:
            answer = await self._relay.exchange(
                "POST", self._path, headers={"Content-Type": "application/json"}, content=body
            )
        except (*NO_ANSWER, TokenUnavailable) as error:
            self._observer.ack_failed(str(cursor), repr(error))
            return False
        if answer.status != 200:
            self._observer.ack_failed(str(cursor), f"status {answer.status}: {answer.explained()}")
            if answer.status in NEVER_TAKEN and answer.problem():
                self._settle(cursor)
            return False
        try:
            acked = msgspec.json.decode(answer.body, type=_Acked).acked
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._observer.ack_failed(str(cursor), f"unreadable answer: {error}")
            return False
        self._settle(cursor)
        self._observer.acked(acked)
        return True

    def _settle(self, cursor: Cursor) -> None:
        if self._newest == cursor:
            self._due.clear()
            self._forget_later()

    def _forget_later(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
