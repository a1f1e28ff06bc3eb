"""The event loop of one simulated process: asyncio's rules, SimPy's time.

Within a process callbacks run in the order of their registration, as asyncio promises; between processes the seed
decides. A process that is dead runs nothing more, not even a `finally`; one that is paused runs it all later.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from sim.environment import Environment, Occurrence
from sim.errors import Fenced, NotModelled
from sim.handles import SimHandle, SimTimer
from sim.transport import SimTransport

if TYPE_CHECKING:
    from sim.host import Process

CANCELLED_MAX = 256
"""Cancelled timers that are kept in the heap before it is built anew; asyncio keeps 100."""
TURNS_MAX = 16
"""That a loop takes in one step while nothing else is to happen: in one that never ends, steps must be counted too."""
_AT_ONCE = Occurrence(lambda: None)
"""In the place of a planned turn while one is taken that was not."""
TASKS_HELD = 64
"""Tasks that are held before those that are done are let go."""


class SimFuture(asyncio.Future[Any]):
    """A future whose place in sets follows from the seed, not from its address."""

    _number = 0
    """Given when it is first asked for, which is seldom."""

    def __hash__(self) -> int:
        if not self._number:
            self._number = self.get_loop().next_number()  # type: ignore[attr-defined]
        return self._number


class SimTask(asyncio.Task[Any]):
    """A task likewise: asyncio's task groups and anyio's scopes hold them in sets and cancel in their order."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: HostLoop, name: str | None, context: Any) -> None:
        self._number = loop.next_number()
        super().__init__(coro, loop=loop, name=name or f"Task-{self._number}", context=context)
        loop.hold(self)

    def __hash__(self) -> int:
        return self._number


class HostLoop(asyncio.AbstractEventLoop):
    """The loop of one process of one host. `time` is the host's monotonic clock."""

    get_debug = bool
    """False: debug mode reads the real clock. Every future asks for it, and a type is called without a frame."""

    def __init__(self, environment: Environment, process: Process) -> None:
        self._environment = environment
        self.process = process
        self._clock = process.host.clock
        self._ready: deque[SimHandle | SimTimer] = deque()
        self._timers: list[tuple[int, int, SimTimer]] = []
        """Due at which ns of the monotonic clock."""
        self._cancelled = 0
        self._numbers = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_max = TASKS_HELD
        self._turn: Occurrence | None = None
        self._wakes: list[tuple[int, Occurrence]] = []
        """Planned, by the monotonic clock in ns, the next one last; each is nearer than those before it."""
        self._is_closed = False
        self._exception_handler: Callable[[Any, dict[str, Any]], object] | None = None

    # What the world does with it

    def next_number(self) -> int:
        """The next of this loop's serial numbers."""
        self._numbers += 1
        return self._numbers

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Keep a task until it is done: asyncio does not, and the garbage collector would end a forgotten one, and run
        its `finally`, whenever it likes.
        """
        if len(self._tasks) >= self._tasks_max:
            self._tasks = self.pending()
            self._tasks_max = TASKS_HELD + 2 * len(self._tasks)
        self._tasks.append(task)

    def pending(self) -> list[asyncio.Task[Any]]:
        """Every task that is not done, oldest first."""
        return [task for task in self._tasks if not task.done()]

    def busy_with(self) -> list[str]:
        """What is to run at this very moment: tasks by their names, callbacks by theirs."""
        now_ns = self._clock.monotonic_ns()
        due = [*self._ready, *(handle for when_ns, _, handle in sorted(self._timers) if when_ns <= now_ns + 1)]
        return list(dict.fromkeys(_name_of(handle._callback) for handle in due if not handle._cancelled))

    def start(self, coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Begin a process's main task from outside."""
        task: asyncio.Task[Any] = self.within(lambda: self.create_task(coro, name=name))
        return task

    def within(self, function: Callable[[], Any]) -> Any:
        """Call a function as if it ran in this loop."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            return function()
        finally:
            events._set_running_loop(before)

    def go_on(self) -> None:
        """After a pause: run what has become due meanwhile."""
        self._plan_turn()
        self._arm()

    def die(self) -> None:
        """Never run anything again."""
        self._is_closed = True
        self._ready.clear()
        self._timers.clear()
        self._tasks.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        for _, planned in self._wakes:
            planned.cancel()
        self._wakes.clear()

    def _plan_turn(self) -> None:
        if self._turn is None and self._ready and not self.process.is_paused and not self._is_closed:
            self._turn = self._environment.soon(self._run_turn)

    def _run_turn(self) -> None:
        if self._is_closed or self.process.is_paused:
            self._turn = None
            return
        ready = self._ready
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for _ in range(TURNS_MAX):
                for _ in range(len(ready)):
                    if not ready:
                        return  # it died in this turn
                    handle = ready.popleft()
                    if not handle._cancelled:
                        # as `Handle._run`, less a call for everything that ever happens
                        try:
                            handle._context.run(handle._callback, *handle._args)
                        except (SystemExit, KeyboardInterrupt):
                            raise
                        except BaseException as error:  # as asyncio: whatever a callback raises goes to the handler
                            self._failed(handle, error)
                if not ready or not self._environment.is_next_later() or self.process.is_paused:
                    break  # somebody else has something to do now: the seed decides who is next
        finally:
            self._turn = None  # until here, or what is called soon within the turn would plan another
            events._set_running_loop(before)
        if ready:
            self._plan_turn()
        self._arm()

    def _failed(self, handle: SimHandle | SimTimer, error: BaseException) -> None:
        message = f"Exception in callback {getattr(handle._callback, '__qualname__', 'of a loop')}"
        self.call_exception_handler({"message": message, "exception": error, "handle": handle})

    def _arm(self) -> None:
        """Plan the wake-up for the earliest timer: at the end of a turn, when most of its own are cancelled again."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
            self._cancelled -= 1
        if not timers or self._is_closed:
            return
        when_ns = timers[0][0]
        # a later one that is planned stays so: planned anew after each nearer one, it would fill the queue for days
        if not self._wakes or self._wakes[-1][0] > when_ns:
            planned = self._environment.at(self._clock.delay_until(when_ns), self._ring)
            self._wakes.append((when_ns, planned))

    def _ring(self) -> None:
        self._wakes.pop()
        if self.process.is_paused:
            return
        now_ns = self._clock.monotonic_ns()
        timers, ready = self._timers, self._ready
        while timers and timers[0][0] <= now_ns:
            handle = heappop(timers)[2]
            handle._scheduled = False
            if handle._cancelled:
                self._cancelled -= 1
            else:
                ready.append(handle)
        if not ready:
            self._arm()
        elif self._turn is None and self._environment.is_next_later():
            self._environment.steps += 1
            self._turn = _AT_ONCE
            self._run_turn()  # nobody else could come first; at its end the next wake-up is planned
        else:
            self._plan_turn()

    # asyncio's side: time and callbacks

    def time(self) -> float:
        """Seconds of the host's monotonic clock."""
        return self._clock.monotonic_s()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        """As asyncio: in the next turn, in the order of the calls."""
        handle = SimHandle(callback, args, self, context)
        if not self._is_closed:
            self._ready.append(handle)
            if self._turn is None:
                self._plan_turn()
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.TimerHandle:
        """As asyncio; `delay` in s."""
        return self.call_at(self._clock.monotonic_s() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.TimerHandle:
        """As asyncio; `when` in s of this loop's `time`."""
        handle = SimTimer(when, callback, args, self, context)
        if not self._is_closed:
            # The first moment after its time: no real loop is so quick that its clock still shows that very time, and
            # aiohttp's keep-alive timer, which looks whether it is *past* it, would be put off at one moment for ever.
            due_ns = int(when * 1e9) + 1
            self._numbers += 1
            heappush(self._timers, (due_ns, self._numbers, handle))
            handle._scheduled = True
            if self._turn is None:
                self._arm()
        return handle

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._cancelled += 1
        if self._cancelled > CANCELLED_MAX and self._cancelled * 2 > len(self._timers):
            self._timers = sorted(entry for entry in self._timers if not entry[2]._cancelled)
            self._cancelled = 0

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return SimFuture(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        """A task of this loop."""
        return SimTask(coro, loop=self, name=name, context=context)

    def get_task_factory(self) -> None:
        """None: tasks are `SimTask`s."""
        return

    def is_running(self) -> bool:
        """True for as long as the process lives."""
        return not self._is_closed

    def is_closed(self) -> bool:
        """True once the process is dead."""
        return self._is_closed

    def set_exception_handler(self, handler: Callable[[Any, dict[str, Any]], object] | None) -> None:
        """As asyncio."""
        self._exception_handler = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Hand what nobody caught to the handler, or to the process's own books; the dead complain to nobody."""
        if self._is_closed:
            return
        if self._exception_handler is not None:
            self._exception_handler(self, context)
        else:
            self.process.report(context)

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: generators end with their process."""

    # asyncio's side: the network

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        """Names and addresses of the simulated network."""
        return self.process.host.network.resolve(_text(host), port)

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        """Connect over the simulated network. Raises OSError as the kernel would."""
        sock = options.pop("sock", None)
        _refuse_options(
            "create_connection", options, {"family", "proto", "flags", "local_addr", "happy_eyeballs_delay"}
        )
        if sock is not None:
            end = sock.hand_on()
        else:
            address = self.process.host.network.address_of(_text(host))
            end = await self.process.host.connect(self, address, int(port))
        protocol = protocol_factory()
        transport = SimTransport(self, end, protocol)
        waiter = self.create_future()
        self.call_soon(protocol.connection_made, transport)
        self.call_soon(transport.begin_reading)
        self.call_soon(_set, waiter)
        await waiter
        return transport, protocol

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect a socket that the program made. Raises OSError as the kernel would."""
        host, port = address
        sock.connected(await self.process.host.connect(self, host, port))

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, backlog: int = 100, **options: Any
    ) -> Any:
        """Listen on a port of this host. Raises OSError if it is taken."""
        _refuse_options("create_server", options, {"family", "flags", "reuse_address", "start_serving"})
        return self.process.host.listen(self, protocol_factory, int(port), backlog)

    # Refused by name

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Refused: threads run on the machine's time."""
        raise Fenced(f"expected no threads in the simulated world, but {func!r} was given to an executor")

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:  # type: ignore[override]
        """Refused: signals belong to the machine."""
        raise Fenced(f"expected no signals in the simulated world, but signal {sig} was asked for; use the process")

    async def subprocess_exec(self, *args: Any, **_: Any) -> Any:
        """Refused: subprocesses belong to the machine."""
        raise Fenced(f"expected no subprocess in the simulated world, but {args[1:2]!r} was to be started")


def _refuse_options(name: str, options: dict[str, Any], known: set[str]) -> None:
    """What is known changes nothing here; anything else would."""
    odd = [key for key, value in options.items() if value and key not in known]
    if odd:
        raise NotModelled(f"expected {name} without {', '.join(odd)}; the simulated network has no such option")


def _set(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _name_of(callback: Any) -> str:
    owner = getattr(callback, "__self__", None)
    return owner.get_name() if isinstance(owner, asyncio.Task) else getattr(callback, "__qualname__", repr(type(owner)))


def _text(host: Any) -> str:
    return host.decode() if isinstance(host, bytes) else str(host)
