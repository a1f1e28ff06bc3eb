"""The fence around the simulated world: clocks and entropy come from the process that asks; the rest is refused.

It stands while a world runs, and only for code within one of its processes: whoever runs the simulation keeps the real
machine. What is fenced is fenced where the libraries look: in `time`, `os`, `random`, and a few names that they have
imported for themselves.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import socket
import sys
import threading
import time
from asyncio import events
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohappyeyeballs.impl as happy_eyeballs
import asyncpg.connection
from aiohttp import connector as aiohttp_connector
from aiohttp import web_app
from redis.asyncio import connection as redis_connection

from sim.errors import Fenced
from sim.host import Process
from sim.loop import HostLoop
from sim.transport import SimSocket

REFUSED = {
    "socket.__new__": "a real socket",
    "socket.connect": "a real socket",
    "subprocess.Popen": "a subprocess",
    "os.fork": "a fork",
    "os.system": "a shell",
}
"""Audit events (PEP 578) that mean the real machine."""

_standing: list[bool] = []
_hooked: list[bool] = []
_raised = itertools.count()
WORLDS_KEPT = 8
"""Former worlds that may lie about: to look for them takes a twentieth of a second, an eighth of a small world."""


def current_process() -> Process | None:
    """The simulated process whose code runs now, or None outside the world."""
    loop = events._get_running_loop()
    return loop.process if isinstance(loop, HostLoop) else None


@contextmanager
def fenced() -> Iterator[None]:
    """Raise the fence for the length of a `with`; one world at a time."""
    assert not _standing, "one world at a time: the fence stands already"
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked.append(True)
    before = [(owner, name, getattr(owner, name, _NOTHING)) for owner, name, _ in _PATCHES]
    state = random.getstate()
    for owner, name, value in _PATCHES:
        setattr(owner, name, value)
    was_collecting = gc.isenabled()
    gc.disable()  # the world collects at moments of its own
    if next(_raised) % WORLDS_KEPT == WORLDS_KEPT - 1:
        gc.collect()  # what is frozen is never collected, and former worlds would be kept as long as a campaign lasts
    gc.freeze()
    _standing.append(True)
    try:
        yield
    finally:
        _standing.clear()
        gc.unfreeze()
        if was_collecting:
            gc.enable()
        random.setstate(state)
        for owner, name, value in before:
            if value is _NOTHING:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


class InOrder(dict[Any, None]):
    """A set in the order of insertion, for libraries that go through a set of things hashed by address."""

    def __init__(self, given: Iterable[Any] = ()) -> None:
        super().__init__(dict.fromkeys(given))

    def add(self, one: Any) -> None:
        """As a set's."""
        self[one] = None

    def discard(self, one: Any) -> None:
        """As a set's."""
        self.pop(one, None)

    def remove(self, one: Any) -> None:
        """As a set's. Raises KeyError."""
        del self[one]


class _Sockets:
    """The module `socket` for a library that makes its sockets itself."""

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def socket(self, family: int, type: int, proto: int) -> Any:
        """A simulated one within the world, else a real one."""
        process = current_process()
        if process is None:
            return socket.socket(family, type, proto)
        return SimSocket(family, type, proto, number=process.loop.next_number())


_NOTHING = object()
CLOSES_MAX = 20
"""How often a dead coroutine is closed: each time it gets out of one `finally` that waits."""


def _clock(real: Callable[[], Any], simulated: Callable[[Process], Any]) -> Callable[[], Any]:
    def now() -> Any:
        process = current_process()
        return real() if process is None else simulated(process)

    return now


def _entropy(real: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def drawn(size: int) -> bytes:
        process = current_process()
        return real(size) if process is None else process.rng.randbytes(size)

    return drawn


def _audit(event: str, _: tuple[Any, ...]) -> None:
    if _standing and event in REFUSED:
        process = current_process()
        if process is not None:
            raise Fenced(f"expected {process.name} to keep to the simulated world, but it reached for {REFUSED[event]}")


def _shared(name: str) -> Callable[..., Any]:
    """A function of `random` itself, drawn from the asking process."""
    real = getattr(random, name)

    def drawn(*args: Any, **options: Any) -> Any:
        process = current_process()
        return real(*args, **options) if process is None else getattr(process.rng, name)(*args, **options)

    return drawn


def _refused(real: Callable[..., Any], what: str) -> Callable[..., Any]:
    def guarded(*args: Any, **options: Any) -> Any:
        process = current_process()
        if process is not None:
            raise Fenced(f"expected {process.name} to keep to the simulated world, but it reached for {what}")
        return real(*args, **options)

    return guarded


def _mono_s(process: Process) -> float:
    return process.host.clock.monotonic_s()


def _mono_ns(process: Process) -> int:
    return process.host.clock.monotonic_ns()


def _wall_s(process: Process) -> float:
    return process.host.clock.wall_ns() / 1e9


def _wall_ns(process: Process) -> int:
    return process.host.clock.wall_ns()


_URANDOM = _entropy(os.urandom)
_PATCHES: list[tuple[Any, str, Any]] = [
    (time, "time", _clock(time.time, _wall_s)),
    (time, "time_ns", _clock(time.time_ns, _wall_ns)),
    (time, "monotonic", _clock(time.monotonic, _mono_s)),
    (time, "monotonic_ns", _clock(time.monotonic_ns, _mono_ns)),
    (time, "perf_counter", _clock(time.perf_counter, _mono_s)),
    (time, "perf_counter_ns", _clock(time.perf_counter_ns, _mono_ns)),
    (os, "urandom", _URANDOM),
    # asyncpg asks for a dozen PG… variables: a simulated host has none, whatever the real one has
    (os, "environ", {}),
    (random, "_urandom", _URANDOM),
    *((random, name, _shared(name)) for name in ("random", "uniform", "randint", "randrange", "choice", "shuffle")),
    (random, "getrandbits", _shared("getrandbits")),
    (threading.Thread, "start", _refused(threading.Thread.start, "a thread")),
    # asyncpg closes cached statements in the order of a set that hashes by address
    (asyncpg.connection, "set", InOrder),
    # asyncpg numbers its prepared statements through the whole process
    (asyncpg.connection, "_uid", 0),
    # aiohttp's client keeps connections in sets that hash by address, and took the clock by its name
    (aiohttp_connector, "set", InOrder),
    (aiohttp_connector, "monotonic", _clock(time.monotonic, _mono_s)),
    # and has its sockets made by this one
    (happy_eyeballs, "socket", _Sockets()),
    # redis-py's pool hangs up on connections in the order of a set that hashes by address
    (redis_connection, "set", InOrder),
]


class Grave(asyncio.AbstractEventLoop):
    """The loop of those whose loop is gone: whatever they begin in their last `finally` is never done."""

    def create_task(self, coro: Any, **_: Any) -> Any:
        """Nothing: the coroutine ends where it begins."""
        coro.close()
        return self.create_future()

    def create_future(self) -> asyncio.Future[Any]:
        """One that nobody will ever set."""
        return asyncio.Future(loop=self)

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        """Never."""
        return asyncio.Handle(callback, args, self)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        """Never."""
        return asyncio.TimerHandle(delay, callback, args, self)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        """Never."""
        return asyncio.TimerHandle(when, callback, args, self)

    def time(self) -> float:
        """No time passes."""
        return 0.0

    def get_debug(self) -> bool:
        """Never."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nobody's."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """As it would be anyway."""


def end_of(task: asyncio.Task[Any]) -> None:
    """Close a dead task's coroutine, within a burial: whoever still holds it, its `finally` does not run in a later
    world.
    """
    coroutine: Any = task.get_coro()
    for _ in range(CLOSES_MAX):
        try:
            coroutine.close()
        except RuntimeError:
            continue  # it waits for something more, one `finally` further out
        except BaseException:  # what its `finally` raises is nobody's
            return
        return


@contextmanager
def burial() -> Iterator[None]:
    """Forget the dead within this `with`: no loop will run them again, and what their `finally` raises is nobody's."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    before = events._get_running_loop()
    # theirs is gone, and what asks for a loop must not be given that of whoever runs the simulation
    events._set_running_loop(Grave())  # type: ignore[abstract]
    try:
        yield
        _forget_worlds()
        gc.collect()
    finally:
        events._set_running_loop(before)
        sys.unraisablehook = hook


def _forget_worlds() -> None:
    """Libraries keep what a process's own end would have freed: a megabyte and a half a world."""
    web_app._cached_build_middleware.cache_clear()
