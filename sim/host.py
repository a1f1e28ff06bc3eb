"""Simulated machines and their processes: what starts, pauses, is killed, or loses power with all that it held.

A kill is what SIGKILL is: no `finally`, no flush; the kernel closes the sockets. Power loss is worse: nobody says
goodbye, and what was written and not synced is gone. Tasks of the dead are kept until the world ends, for to forget
them would run their `finally` blocks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from sim.clock import HostClock
from sim.environment import Environment
from sim.loop import HostLoop
from sim.network import CONNECT_LIMIT_NS, CONNECT_RETRY_NS, Network
from sim.tcp import End, connected
from sim.transport import FakeSocket, SimTransport

FIRST_PORT = 32_768


class Process:
    """One life of a program on a host."""

    def __init__(
        self, host: Host, name: str, *, rng: random.Random, report: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.host = host
        self.name = name
        self.rng = rng
        self.is_paused = False
        self.is_alive = True
        self._report = report
        self.ends: dict[End, None] = {}
        self.buried: list[Any] = []
        self.on_end: Callable[[], object] | None = None
        """Told once, when it is dead."""
        self.loop = HostLoop(host.environment, self)  # type: ignore[abstract]

    def report(self, context: dict[str, Any]) -> None:
        """Take what no code of the process caught."""
        self._report(self.name, context)

    def pause(self) -> None:
        """SIGSTOP: nothing of it runs; its kernel still acknowledges."""
        self.is_paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.is_paused = False
        self.loop.go_on()

    def kill(self) -> None:
        """SIGKILL: the kernel closes what it had open."""
        if self.is_alive:
            for end in self._die():
                end.close()

    def lose_power(self) -> None:
        """Its host is switched off."""
        for end in self._die():
            end.vanish()

    def _die(self) -> tuple[End, ...]:
        self.is_alive = False
        self.host.close_ports(self)
        self.buried += self.loop.pending()
        for task in self.buried:
            task._log_destroy_pending = False
        self.loop.die()
        if self.on_end is not None:
            self.on_end()
        return tuple(self.ends)


class _Listener:
    def __init__(self, process: Process, protocol_factory: Callable[[], asyncio.BaseProtocol], backlog: int) -> None:
        self.process = process
        self.protocol_factory = protocol_factory
        self._backlog = backlog
        self._waiting: dict[End, None] = {}

    @property
    def is_full(self) -> bool:
        """Whether a SYN is dropped, as Linux does while more than the backlog wait to be accepted."""
        return len(self._waiting) > self._backlog

    def accept(self, end: End) -> None:
        """Make the transport and tell the protocol, in the server's own turn."""
        self._waiting[end] = None
        end.is_accepted = False
        self.process.loop.call_soon(self._accepted, end)

    def close(self) -> None:
        """Accept no more; those that waited to be accepted are reset (inet_csk_listen_stop)."""
        for end in self._waiting:
            end.close()
        self._waiting.clear()

    def _accepted(self, end: End) -> None:
        if end not in self._waiting:
            return
        del self._waiting[end]
        end.is_accepted = True
        loop = self.process.loop
        protocol = self.protocol_factory()
        transport = SimTransport(loop, end, protocol)
        loop.call_soon(protocol.connection_made, transport)
        loop.call_soon(transport.begin_reading)


class SimServer(asyncio.AbstractServer):
    """What `create_server` answers."""

    def __init__(self, host: Host, port: int) -> None:
        self._host = host
        self._port = port
        self.sockets = (FakeSocket(None, (host.address, port)),)

    def close(self) -> None:
        """Accept no more."""
        self._host.close_port(self._port)

    async def wait_closed(self) -> None:
        """As asyncio of Python 3.11: at once."""

    def is_serving(self) -> bool:
        """Whether it still listens."""
        return self._host.listens(self._port)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that accepts."""
        return asyncio.get_running_loop()


class Host:
    """A machine: its clocks, its kernel, and what runs on it."""

    def __init__(self, name: str, environment: Environment, network: Network, clock: HostClock) -> None:
        self.name = name
        self.environment = environment
        self.network = network
        self.clock = clock
        self.is_up = True
        self.processes: list[Process] = []
        self._ports: dict[int, _Listener] = {}
        self._next_port = FIRST_PORT
        self.address = network.add(self)

    def start(
        self,
        name: str,
        main: Callable[[Process], Coroutine[Any, Any, Any]],
        *,
        rng: random.Random,
        report: Callable[[str, dict[str, Any]], None],
    ) -> Process:
        """Start a process with this main coroutine."""
        assert self.is_up, f"{self.name} is switched off"
        process = Process(self, name, rng=rng, report=report)
        self.processes = [one for one in self.processes if one.is_alive] + [process]
        process.loop.start(main(process), name=name)
        return process

    def lose_power(self) -> None:
        """Switch it off: everything that is not on disk is gone, and nobody is told."""
        self.is_up = False
        for process in self.processes:
            if process.is_alive:
                process.lose_power()
        self.processes.clear()

    def power_up(self) -> None:
        """Switch it on again; nothing runs until it is started."""
        self.is_up = True

    def listen(self, loop: HostLoop, protocol_factory: Any, port: int, backlog: int) -> SimServer:
        """Listen on a port, 0 for any; so many connections and one more wait to be accepted. Raises OSError."""
        if port in self._ports:
            raise OSError(98, f"error while attempting to bind on address ({self.address!r}, {port}): in use")
        if port == 0:
            port = self._free_port()
        self._ports[port] = _Listener(loop.process, protocol_factory, backlog)
        return SimServer(self, port)  # type: ignore[abstract]

    def listens(self, port: int) -> bool:
        """Whether something listens there."""
        return port in self._ports

    def close_port(self, port: int) -> None:
        """Listen there no more."""
        listener = self._ports.pop(port, None)
        if listener is not None:
            listener.close()

    def close_ports(self, process: Process) -> None:
        """Close what a process listened on."""
        self._ports = {port: one for port, one in self._ports.items() if one.process is not process}

    async def connect(self, loop: HostLoop, address: str, port: int) -> End:
        """TCP's handshake. Raises ConnectionRefusedError, TimeoutError (ETIMEDOUT)."""
        end = End(self, (self.address, self._free_port()), loop.process.ends)
        established = loop.create_future()
        target = self.network.hosts.get(address)

        refused = ConnectionRefusedError(111, f"Connect call failed ({address!r}, {port})")

        def attempt() -> None:
            if established.done() or loop.is_closed() or target is None:
                return
            there, back = self.network.link(self, target), self.network.link(target, self)
            if there.is_cut or not target.is_up:
                return
            if there.refuses or back.refuses:
                settle(refused)
                return
            self.environment.at(self.network.latency_ns(there), lambda: arrives(target, back.is_cut))

        def arrives(target: Host, is_deaf: bool) -> None:
            if established.done() or loop.is_closed() or not target.is_up or is_deaf:
                return
            listener = target._ports.get(port)
            delay_ns = self.network.latency_ns(self.network.link(target, self))
            if listener is None:
                self.environment.at(delay_ns, lambda: settle(refused))
                return
            if listener.is_full:
                return
            other = End(target, (target.address, port), listener.process.ends)
            connected(end, other)
            self.environment.at(delay_ns, lambda: settle(None))
            listener.accept(other)

        def settle(error: OSError | None) -> None:
            if established.done():
                return
            if error is not None:
                established.set_exception(error)
            else:
                established.set_result(None)

        attempt()
        repeats = [self.environment.at(after_ns, attempt) for after_ns in CONNECT_RETRY_NS]
        timed_out = TimeoutError(110, f"Connect call failed ({address!r}, {port})")
        repeats.append(self.environment.at(CONNECT_LIMIT_NS, lambda: settle(timed_out)))
        try:
            await established
        except BaseException:
            end.close()
            raise
        finally:
            for repeat in repeats:
                repeat.cancel()
        return end

    def _free_port(self) -> int:
        self._next_port += 1
        return self._next_port
