"""Ordinary answers, as opposed to streams: how long a client may take to take one, and how many pages are under way.

A page can be many times what the socket takes at once, and whoever asks for it need not read it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from aiohttp import web

from system.metrics import Metrics
from system.sessions import AtCapacity
from system.settings import Settings

PAGE_RETRY_S = 1
"""Pages of clients that read are done within moments."""


class Answers:
    """The answers that a replica is writing."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._pages = 0
        self._per_agent: dict[str, int] = {}

    @contextlib.contextmanager
    def page(self, agent: str) -> Iterator[None]:
        """A place for one page, from before it is read until its client has taken it. Raises AtCapacity."""
        self._admit(agent)
        self._pages += 1
        self._per_agent[agent] = self._per_agent.get(agent, 0) + 1
        self._metrics.pages.set(self._pages)
        try:
            yield
        finally:
            self._pages -= 1
            self._per_agent[agent] -= 1
            if not self._per_agent[agent]:
                del self._per_agent[agent]
            self._metrics.pages.set(self._pages)

    async def deliver(self, request: web.Request, response: web.StreamResponse) -> None:
        """Write an answer, unless its handler has written it; cut the client that does not take it within the limit.

        aiohttp would write it by itself, and wait for ever. It asks for the same again afterwards, and finds it done or
        the connection lost: so no failure is raised here.
        """
        if response.prepared:
            return
        try:
            async with asyncio.timeout(self._settings.slow_client_timeout_s):
                await response.prepare(request)
                await response.write_eof()
        except ConnectionError:
            pass
        except TimeoutError:
            self._metrics.answers_cut.inc()
            if request.transport is not None:
                request.transport.abort()

    def _admit(self, agent: str) -> None:
        settings = self._settings
        if self._pages >= settings.pages_max:
            self._metrics.pages_refused.labels("replica").inc()
            text = f"this replica has {settings.pages_max} pages under way, its limit"
            raise AtCapacity(503, text, PAGE_RETRY_S)
        if self._per_agent.get(agent, 0) >= settings.pages_per_agent_max:
            self._metrics.pages_refused.labels("agent").inc()
            text = f"{agent} has {settings.pages_per_agent_max} pages under way, its limit; read one to its end first"
            raise AtCapacity(429, text, PAGE_RETRY_S)
