"""All open sessions of a replica: their limits, heartbeats and bookmarks, their tokens' end, and the paced drain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import structlog

from system.host import Host
from system.metrics import Metrics
from system.settings import Settings
from system.stream_session import StreamSession

log = structlog.get_logger(__name__)

BEAT_SLACK = 0.2
"""A heartbeat comes up to this share of its interval early, so that many sessions are served in one turn."""
EXPIRY_TIMER_MAX_S = 86_400.0
"""Timers never sleep longer, so that a step of the wall clock is noticed within a day."""


class AtCapacity(Exception):
    """A limit on sessions is reached: 503 for the replica's, 429 for the agent's own."""

    def __init__(self, status: int, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class Sessions:
    """The registry; every session is opened through it."""

    def __init__(self, settings: Settings, host: Host, metrics: Metrics) -> None:
        self._settings = settings
        self._host = host
        self._metrics = metrics
        self._open: dict[StreamSession, None] = {}
        self._per_agent: dict[str, int] = {}
        self._opened = asyncio.Event()
        self._emptied = asyncio.Event()
        self._head_moved = asyncio.Event()
        self.draining = False
        self.replica = ""
        """Tells this replica's sessions from those of others, in logs."""
        self._number = 0

    @contextlib.contextmanager
    def opened(self, session: StreamSession, expires_at: float) -> Iterator[None]:
        """Register a session until it ends; closes it when its token expires. Raises AtCapacity."""
        self._admit(session.agent)
        self._number += 1
        session.began(f"{self.replica}.{self._number}")
        self._open[session] = None
        self._opened.set()
        self._per_agent[session.agent] = self._per_agent.get(session.agent, 0) + 1
        self._metrics.opened.inc()
        self._metrics.sessions.set(len(self._open))
        timer = _Expiry(self._host.wall, expires_at, session)
        try:
            yield
        finally:
            timer.cancel()
            del self._open[session]
            self._per_agent[session.agent] -= 1
            if not self._per_agent[session.agent]:
                del self._per_agent[session.agent]
            if not self._open:
                self._opened.clear()
                self._emptied.set()
            self._metrics.sessions.set(len(self._open))
            self._metrics.closed.labels(session.reason or "client_left").inc()
            session.ended()

    def close_all(self, reason: str) -> None:
        """Close every session at once."""
        for session in list(self._open):
            session.close(reason)

    def head_moved(self) -> None:
        """Have live sessions told of the new head, soon."""
        self._head_moved.set()

    async def beat(self) -> None:
        """Heartbeats, for ever: on every session that nothing was written to for the interval."""
        loop = asyncio.get_running_loop()
        interval_s = self._settings.heartbeat_s
        while True:
            await self._opened.wait()
            now = loop.time()
            due = now + interval_s
            for session in list(self._open):
                session_due = session.wrote_at + interval_s
                if session_due <= now + interval_s * BEAT_SLACK:
                    session.beat()
                    session_due = now + interval_s
                due = min(due, session_due)
            await asyncio.sleep(due - now)

    async def mark(self) -> None:
        """Bookmarks, for ever: the head's cursor to every live session, within the interval of its move."""
        while True:
            await self._head_moved.wait()
            await asyncio.sleep(self._settings.bookmark_s)
            self._head_moved.clear()
            for session in list(self._open):
                session.mark()

    async def drain(self, within_s: float) -> None:
        """Close all sessions, evenly over the time, so that their clients don't arrive elsewhere as one herd."""
        self.draining = True
        sessions = list(self._open)
        if not sessions:
            return
        log.info("sessions.draining", count=len(sessions), within_s=within_s)
        pieces = max(1, min(len(sessions), round(within_s / 0.05)))
        for piece in range(pieces):
            if piece:
                await asyncio.sleep(within_s / pieces)
            for session in sessions[piece::pieces]:
                session.close("drain")

    async def wait_empty(self, within_s: float) -> bool:
        """Wait until every session has flushed and gone; False if the time was not enough."""
        if self._open:
            self._emptied.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._emptied.wait()
        return not self._open

    def _admit(self, agent: str) -> None:
        settings = self._settings
        if self.draining:
            self._metrics.refused.labels("draining").inc()
            raise AtCapacity(503, "this replica is draining; connect again to reach another", 1)
        if len(self._open) >= settings.sessions_max:
            self._metrics.refused.labels("replica").inc()
            raise AtCapacity(503, f"this replica has {settings.sessions_max} streams open, its limit", 5)
        if self._per_agent.get(agent, 0) >= settings.sessions_per_agent_max:
            self._metrics.refused.labels("agent").inc()
            raise AtCapacity(
                429, f"{agent} has {settings.sessions_per_agent_max} streams open, its limit; close one first", 5
            )


class _Expiry:
    """Closes a session when its token expires by the host's wall clock."""

    __slots__ = ("_expires_at", "_handle", "_session", "_wall")

    def __init__(self, wall: Callable[[], float], expires_at: float, session: StreamSession) -> None:
        self._wall = wall
        self._expires_at = expires_at
        self._session = session
        self._handle: asyncio.TimerHandle | None = None
        self._check()

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _check(self) -> None:
        left_s = self._expires_at - self._wall()
        if left_s <= 0:
            self._session.close("token_expired")
        else:
            self._handle = asyncio.get_running_loop().call_later(min(left_s, EXPIRY_TIMER_MAX_S), self._check)
