"""A synchronous stop() that ends an asynchronous driver's waits, but not the work in hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Interrupted(Exception):
    """stop() was called while the driver waited for the outside."""


class Stopper:
    """Owned by one driver; an asyncio timeout that is due when asked, so that a wait costs no task."""

    def __init__(self) -> None:
        self.asked = False
        self._scope: asyncio.Timeout | None = None

    def ask(self) -> None:
        """Interrupt the wait that is going on, and every later one."""
        if self.asked:
            return
        self.asked = True
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    @contextlib.asynccontextmanager
    async def interruptible(self) -> AsyncIterator[None]:
        """Raises Interrupted at entry or within, once stop was asked for."""
        if self.asked:
            raise Interrupted
        try:
            async with asyncio.timeout(None) as scope:
                self._scope = scope
                yield
        except TimeoutError:
            if scope.expired():
                raise Interrupted from None
            raise
        finally:
            self._scope = None
