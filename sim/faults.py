"""The fault vocabulary, played on the simulated network and hosts; each kind by name, none passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from faults.vocabulary import (
    Bandwidth,
    ClockSkew,
    Cut,
    Direction,
    Down,
    Fault,
    HalfOpen,
    Kill,
    Latency,
    LimitData,
    LinkFaultBase,
    Pause,
    PowerLoss,
    ResetPeer,
    Restart,
    Slicer,
    SlowClose,
    Timeout,
)
from sim.environment import MS, US
from sim.errors import NotModelled
from sim.host import Host
from sim.network import Network
from sim.tcp import End

Pair = tuple[Host, Host]
"""Client and server: *upstream* is from the first to the second."""


def link_changes(fault: Fault) -> dict[str, Any]:
    """How a fault on a link changes its state. Raises NotModelled for one that has no state."""
    match fault:
        case Cut() | Timeout():
            return {"is_cut": True}
        case Latency():
            return {"latency_ns": fault.latency_ms * MS, "jitter_ns": fault.jitter_ms * MS // 2}
        case Bandwidth():
            return {"bytes_per_s": fault.rate_kb_s * 1000}
        case Slicer():
            size = fault.average_size_bytes
            return {"segment_bytes_max": size, "bytes_per_s": max(1, size * 1_000_000 // fault.delay_us)}
        case SlowClose():
            return {"fin_delay_ns": fault.delay_ms * MS}
        case LimitData():
            return {"limit_bytes": fault.limit_bytes}
        case ResetPeer():
            return {"resets": True, "latency_ns": 300 * US + fault.timeout_ms * MS}
        case Down():
            return {"refuses": True}
    raise NotModelled(f"expected a fault that changes a link, got {fault.kind}")


@dataclass(slots=True)
class LinkPlayer:
    """Plays faults on links; `heal` ends all of them."""

    network: Network

    def begin(self, fault: Fault, pairs: Iterable[Pair]) -> dict[str, Any]:
        """Begin a fault between these pairs; answers what it hit, as its proof."""
        assert isinstance(fault, LinkFaultBase)
        pairs = list(pairs)
        hit = [end for pair in pairs for end in connections(pair)]
        if isinstance(fault, HalfOpen):
            for end in hit:
                end.out.is_silenced = end.other.out.is_silenced = True
            return {"connections": len(hit)}
        for client, server in pairs:
            for source, target in _ways(fault.direction, client, server):
                self.network.change(source.name, target.name, **link_changes(fault))
        if isinstance(fault, Down):
            _reset(hit)
        return {"pairs": len(pairs), "connections": len(hit)}

    def end(self, fault: Fault, pairs: Iterable[Pair]) -> None:
        """Lift a fault; two on one link at a time would lift each other, so a plan has at most one."""
        assert isinstance(fault, LinkFaultBase)
        if isinstance(fault, HalfOpen):
            return
        for pair in pairs:
            if isinstance(fault, Timeout):
                _reset(connections(pair))
            for source, target in (pair, pair[::-1]):
                self.network.restore(source.name, target.name, link_changes(fault))


def connections(pair: Pair) -> list[End]:
    """The clients' ends of the connections between two hosts."""
    client, server = pair
    ends = [end for process in client.processes for end in process.ends]
    return [end for end in ends if end.peer is not None and end.peer.host is server]


def _reset(ends: list[End]) -> None:
    for end in ends:
        error = ConnectionResetError(104, "Connection reset by peer")
        end.fail(error)
        end.other.fail(error)


def _ways(direction: Direction, client: Host, server: Host) -> list[Pair]:
    ways = {Direction.UPSTREAM: [(client, server)], Direction.DOWNSTREAM: [(server, client)]}
    return ways.get(direction, [(client, server), (server, client)])


class Machine:
    """One server, relay, agent or publisher: its host, and how its process is started."""

    def __init__(self, host: Host, start: Callable[[], None]) -> None:
        self.host = host
        self.start = start
        self._skew_ns = 0
        self.is_down = False
        """Killed or without power, until the fault is lifted: nobody is to start it before."""
        self.on_power_loss: Callable[[], None] = _nothing
        """What its disk loses with the power."""
        self.stop: Callable[[Callable[[], None]], None] | None = None
        """How it is asked to end; calls back once it has. None: as a kill."""
        self.switch: Callable[[str], None] = _refuse_to_switch
        """Changes the transport that its next life reads over."""

    def begin(self, fault: Fault) -> dict[str, Any]:
        """Begin a fault on the process; answers its proof."""
        alive = [process for process in self.host.processes if process.is_alive]
        match fault:
            case Pause():
                for process in alive:
                    process.pause()
            case Kill():
                self.is_down = True
                for process in alive:
                    process.kill()
            case PowerLoss():
                self.is_down = True
                self.host.lose_power()
                self.on_power_loss()
            case Restart():
                if fault.transport is not None:
                    self.switch(fault.transport)
                if self.stop is None:
                    for process in alive:
                        process.kill()
                    self.start()
                else:
                    self.stop(self.start)
            case ClockSkew():
                self._skew(fault.skew_ms * MS)
            case _:
                raise NotModelled(f"expected a fault on a process, got {fault.kind}")
        return {"processes": len(alive)}

    @property
    def is_running(self) -> bool:
        """Whether a process of it is alive."""
        return any(process.is_alive for process in self.host.processes)

    def heal(self) -> None:
        """Set its clock right, and have it up, running and started."""
        self.host.clock.step(-self._skew_ns)
        self._skew_ns = 0
        self.is_down = False
        for process in self.host.processes:
            if process.is_paused and process.is_alive:
                process.resume()
        self.host.power_up()
        if not self.is_running:
            self.start()

    def end(self, fault: Fault) -> None:
        """Lift it."""
        match fault:
            case Pause():
                for process in self.host.processes:
                    if process.is_alive:
                        process.resume()
            case Kill():
                self.is_down = False
                self.start()
            case PowerLoss():
                self.is_down = False
                self.host.power_up()
                self.start()
            case ClockSkew():
                self._skew(-fault.skew_ms * MS)

    def _skew(self, by_ns: int) -> None:
        self.host.clock.step(by_ns)
        self._skew_ns += by_ns


def _refuse_to_switch(transport: str) -> None:
    raise NotModelled(f"expected a replica of the relay to switch to {transport}, got something else")


def _nothing() -> None:
    """A host that keeps nothing loses nothing."""
