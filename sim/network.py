"""The simulated network: addresses, the state of every link, and who listens where.

A link is a pair of hosts in one direction. A cut loses every packet on it; TCP's own retransmission (`sim/tcp.py`) is
what brings the bytes over once it heals.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING, Any

from sim.environment import MS, US, Environment
from sim.errors import NotModelled

if TYPE_CHECKING:
    from sim.host import Host


BUFFER_BYTES = 128 * 1024
SMALL_BUFFERS_BYTES = (4 * 1024, 16 * 1024)
"""As kernels have them under memory pressure: what a client does not read is felt soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """How one direction of a link behaves now; times in ns, rates in bytes a second."""

    is_cut: bool = False
    latency_ns: int = 300 * US
    jitter_ns: int = 100 * US
    """Exponentially distributed, this on average, at most ten times as much."""
    bytes_per_s: int = 1_000_000_000
    split_share: float = 0.02
    """How many segments are cut at a random byte."""
    segment_bytes_max: int = 64 * 1024
    fin_delay_ns: int = 0
    """How much later the end of a stream arrives than its bytes."""
    limit_bytes: int | None = None
    """After so many bytes of one connection it is closed."""
    resets: bool = False
    """Whoever sends something is reset."""
    refuses: bool = False
    """New connections are refused."""


USUAL = LinkState()
"""A link of which nobody said how far apart its hosts are."""


def _unseen(sent_ns: int, source: str, target: str, data: bytes) -> None:
    """Nobody watches."""


class _Fares(dict[tuple[str, str], LinkState]):
    """What was looked up since something changed: every segment asks several times."""

    def __init__(self, look_up: Callable[[str, str], LinkState]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, pair: tuple[str, str]) -> LinkState:
        self[pair] = found = self._look_up(*pair)
        return found


class Network:
    """All hosts by name and address, and the links between them."""

    def __init__(self, environment: Environment, rng: random.Random) -> None:
        self.environment = environment
        self.rng = rng
        self.hosts: dict[str, Host] = {}
        self._names: dict[str, str] = {}
        self._shared: dict[str, list[str]] = {}
        self._links: dict[tuple[str, str], LinkState] = {}
        self._usual: dict[tuple[str, str], LinkState] = {}
        self.fares = _Fares(lambda *pair: self._links.get(pair) or self._usual_of(*pair))
        """How packets fare now, by the names of two hosts."""
        self.on_segment: Callable[[int, str, str, bytes], None] = _unseen
        """Told of every piece of bytes that arrives: sent when, from which host, to which, what."""
        self.buffer_bytes = BUFFER_BYTES
        """Of each send buffer, and of each receive buffer."""

    def add(self, host: Host) -> str:
        """Give a host its address."""
        address = f"10.0.{len(self.hosts) // 250}.{len(self.hosts) % 250 + 1}"
        self.hosts[address] = host
        self._names[host.name] = address
        return address

    def share_name(self, name: str, hosts: list[str]) -> None:
        """Have a name stand for several hosts: each look-up answers one of them, as a load balancer does."""
        self._shared[name] = [self._names[host] for host in hosts]

    def address_of(self, name: str) -> str:
        """The address of a host's name, or the address itself. Raises socket.gaierror."""
        if name in self.hosts:
            return name
        if name in self._shared:
            return self.rng.choice(self._shared[name])
        if name not in self._names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._names[name]

    def resolve(self, name: str, port: Any) -> list[Any]:
        """As getaddrinfo answers."""
        if not str(port).isdigit():
            raise NotModelled(f"expected a port number, got {port!r}")
        address = (self.address_of(name), int(port))
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    def link(self, source: Host, target: Host) -> LinkState:
        """How packets from one host to another fare now."""
        return self.fares[source.name, target.name]

    def place(self, one: str, other: str, latency_ns: int) -> None:
        """Say how far apart two hosts are, by name, when nothing is wrong."""
        for pair in ((one, other), (other, one)):
            self._usual[pair] = replace(USUAL, latency_ns=latency_ns, jitter_ns=latency_ns // 3)
        self.fares.clear()

    def change(self, source: str, target: str, **changes: Any) -> None:
        """Change one direction between two hosts, by name."""
        self._links[source, target] = replace(self.fares[source, target], **changes)
        self.fares.clear()

    def restore(self, source: str, target: str, changes: dict[str, Any]) -> None:
        """Take changes back in one direction, by their names."""
        usual = self._usual_of(source, target)
        self.change(source, target, **{name: getattr(usual, name) for name in changes})

    def _usual_of(self, source: str, target: str) -> LinkState:
        return self._usual.get((source, target), USUAL)

    def heal(self) -> None:
        """Make every link as usual."""
        self._links.clear()
        self.fares.clear()

    def latency_ns(self, link: LinkState) -> int:
        """One packet's time on a link."""
        jitter_ns = link.jitter_ns
        if not jitter_ns:
            return link.latency_ns
        # as `expovariate(1.0)`, less a call for every packet
        return link.latency_ns + min(int(-log(1.0 - self.rng.random()) * jitter_ns), 10 * jitter_ns)


CONNECT_RETRY_NS = tuple(after * 1000 * MS for after in (1, 3, 7, 15, 31, 63))
"""When Linux repeats a SYN, after the first (tcp_syn_retries = 6)."""
CONNECT_LIMIT_NS = 127 * 1000 * MS
"""When it gives up: ETIMEDOUT."""
