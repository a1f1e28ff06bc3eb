"""asyncio's handles without what debug mode needs of them: one is made for everything that ever happens."""

from __future__ import annotations

import contextvars
from asyncio import events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.loop import HostLoop


class SimHandle(events.Handle):
    """A callback that a loop will run."""

    __slots__ = ()
    _repr = _source_traceback = None  # debug mode's
    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _context: contextvars.Context

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: HostLoop,
        context: contextvars.Context | None = None,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        """As asyncio's."""
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


class SimTimer(events.TimerHandle):
    """A callback that a loop will run at a time of its clock, in s."""

    __slots__ = ()
    _repr = _source_traceback = None  # debug mode's
    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _context: contextvars.Context
    _scheduled: bool

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: HostLoop,
        context: contextvars.Context | None = None,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False
        self._when = when
        self._scheduled = False

    def cancel(self) -> None:
        """As asyncio's."""
        if not self._cancelled:
            self._loop._timer_handle_cancelled(self)
            self._cancelled = True
            self._callback = self._args = None  # type: ignore[assignment]
