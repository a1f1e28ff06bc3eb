"""Partitions of a simulated network against loopback's: cut both ways or one way, half-open, timed out, reset.

On loopback a socket is made deaf by a packet filter of one instruction, which drops every segment that comes to it, as
a partition would; the kernel at the other end retransmits, gives up, or is reset, by its own rules. Needs Linux.
"""

from __future__ import annotations

import asyncio
import copy
import ctypes
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from tests.sim.test_tcp_conformance import Noting, _until
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.conformance
SO_ATTACH_FILTER, SO_DETACH_FILTER, TCP_SYNCNT, TCP_USER_TIMEOUT = 26, 27, 7, 18
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A classic BPF program: return 0 bytes of the packet."""
LIMIT_S = 15.0


class Ends(Protocol):
    """A client and a server that can be made deaf, in either world."""

    client: Noting
    server: Noting

    @property
    def accepted(self) -> int:
        """Connections that the server has taken so far."""

    async def connect(self) -> None:
        """Connect them. Raises OSError."""

    def deafen(self, who: str) -> None:
        """From here on nothing that is sent to the client, the server or the listener arrives."""

    def heal(self) -> None:
        """Everybody hears again."""

    def give_up_after(self, seconds: float) -> None:
        """Have the client's kernel give up what is unacknowledged for so long."""

    def reset(self) -> None:
        """Have the server's side reset the connection."""


class Loopback:
    """Two sockets of this machine."""

    def __init__(self) -> None:
        self.client: Noting
        self.server: Noting
        self._deaf: list[Any] = []
        self._made: list[Noting] = []
        self._listener: Any = None

    @property
    def accepted(self) -> int:
        """As `Ends` says."""
        return len(self._made)

    async def connect(self) -> None:
        """As `Ends` says; two SYNs at most."""
        loop = asyncio.get_running_loop()
        if self._listener is None:
            self._listener = await loop.create_server(self._accept, "127.0.0.1", 0)
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_SYNCNT, 1)
        try:
            await loop.sock_connect(sock, self._listener.sockets[0].getsockname())
        except BaseException:  # a cancellation too
            sock.close()
            raise
        _, self.client = await loop.create_connection(Noting, sock=sock)
        await _until(lambda: bool(self._made) and self._made[-1].transport is not None)
        self.server = self._made[-1]

    def deafen(self, who: str) -> None:
        """By a filter on the socket."""
        sock = {"listener": lambda: self._listener.sockets[0]}.get(who, lambda: self._socket(who))()
        program = ctypes.create_string_buffer(DROP_ALL)
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))
        self._deaf.append(sock)

    def heal(self) -> None:
        """Without the filters."""
        for sock in self._deaf:
            sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self._deaf.clear()

    def give_up_after(self, seconds: float) -> None:
        """TCP_USER_TIMEOUT."""
        self._socket("client").setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, round(seconds * 1000))

    def reset(self) -> None:
        """A close that lingers for no time."""
        self._socket("server").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.transport.abort()

    async def close(self) -> None:
        """Leave nothing behind."""
        for noting in (getattr(self, "client", None), *self._made):
            if noting is not None and noting.transport is not None:
                noting.transport.abort()
        if self._listener is not None:
            self._listener.close()

    def _accept(self) -> Noting:
        self._made.append(Noting())
        return self._made[-1]

    def _socket(self, who: str) -> Any:
        return getattr(self, who).transport.get_extra_info("socket")


class Simulated:
    """Two hosts of a simulated network."""

    def __init__(self, world: SmallWorld) -> None:
        self.client: Noting
        self.server: Noting
        self._world = world
        self._made: list[Noting] = []
        world.start(world.b, self._serve)

    @property
    def accepted(self) -> int:
        """As `Ends` says."""
        return len(self._made)

    async def connect(self) -> None:
        """As `Ends` says; seven SYNs."""
        await asyncio.sleep(0.01)
        _, self.client = await asyncio.get_running_loop().create_connection(Noting, "b", 80)
        await _until(lambda: bool(self._made) and self._made[-1].transport is not None)
        self.server = self._made[-1]

    def deafen(self, who: str) -> None:
        """By a cut of the way there."""
        self._world.cut(*(("b", "a") if who == "client" else ("a", "b")), both=False)

    def heal(self) -> None:
        """Both ways."""
        self._world.network.heal()

    def give_up_after(self, seconds: float) -> None:
        """TCP_USER_TIMEOUT."""
        sock = self.client.transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, round(seconds * 1000))

    def reset(self) -> None:
        """By whatever stands between, with the next byte."""
        self._world.network.change("b", "a", resets=True)
        self.server.transport.write(b"x")

    async def _serve(self, process: Any) -> None:
        def accept() -> Noting:
            self._made.append(Noting())
            return self._made[-1]

        await process.loop.create_server(accept, "0.0.0.0", 80)
        await asyncio.sleep(1e6)


async def _bytes_outlive_a_cut(ends: Ends) -> Any:
    await ends.connect()
    ends.deafen("client")
    ends.deafen("server")
    ends.client.transport.write(b"held")
    await asyncio.sleep(0.5)
    before = ends.server.received
    ends.heal()
    await _until(lambda: ends.server.received == b"held")
    return before, ends.client.notes, ends.server.notes


async def _deaf_one_way(ends: Ends) -> Any:
    """What the client sends arrives, once; what it is answered does not, until it hears again."""
    await ends.connect()
    ends.deafen("client")
    ends.client.transport.write(b"question")
    await _until(lambda: ends.server.received == b"question")
    ends.server.transport.write(b"answer")
    await asyncio.sleep(0.7)
    before = ends.client.received, ends.server.received
    ends.heal()
    await _until(lambda: ends.client.received == b"answer")
    return before, ends.server.received, ends.client.notes, ends.server.notes


async def _silence_is_not_noticed(ends: Ends) -> Any:
    """With nothing to send nobody learns of a partition."""
    await ends.connect()
    ends.give_up_after(0.3)
    ends.deafen("client")
    ends.deafen("server")
    await asyncio.sleep(1.0)
    before = list(ends.client.notes), list(ends.server.notes)
    ends.heal()
    ends.client.transport.write(b"still there")
    await _until(lambda: ends.server.received == b"still there")
    return before, ends.client.notes, ends.server.notes


async def _unanswered_for_too_long(ends: Ends) -> Any:
    """The sender's kernel gives up; the other side hears nothing of it."""
    await ends.connect()
    ends.give_up_after(0.5)
    ends.deafen("server")
    ends.client.transport.write(b"into the void")
    await _until(lambda: ("lost", "TimeoutError") in ends.client.notes)
    return ends.client.notes, ends.server.notes, ends.server.received


async def _half_open(ends: Ends) -> Any:
    """The server has reset while the client could not hear: it believes in the connection until it writes."""
    await ends.connect()
    ends.server.transport.pause_reading()
    ends.client.transport.write(b"never read")
    await asyncio.sleep(0.2)
    ends.deafen("client")
    ends.server.transport.abort()  # with bytes unread: a reset, which nobody hears
    await asyncio.sleep(0.3)
    before = list(ends.client.notes)
    ends.heal()
    ends.client.transport.write(b"anybody?")
    await _until(lambda: len(ends.client.notes) > 1)
    return before, ends.client.notes, ends.server.notes


async def _a_listener_that_hears_nothing(ends: Ends) -> Any:
    await ends.connect()
    ends.deafen("listener")
    with pytest.raises(OSError) as caught:  # noqa: PT011  its type and number are what is compared
        await ends.connect()
    return type(caught.value).__name__, caught.value.errno


async def _given_up_while_nobody_answers(ends: Ends) -> Any:
    """A dial that was cancelled makes no connection when the listener hears again, after the SYN's next repetition."""
    await ends.connect()
    ends.deafen("listener")
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(ends.connect(), 0.3)
    ends.heal()
    await asyncio.sleep(1.5)
    return caught.value.errno, ends.accepted


async def _a_reset_on_the_way(ends: Ends) -> Any:
    await ends.connect()
    ends.reset()
    await _until(lambda: len(ends.client.notes) > 1)
    return ends.client.notes


SCENES: list[Callable[[Ends], Awaitable[Any]]] = [
    _bytes_outlive_a_cut,
    _deaf_one_way,
    _silence_is_not_noticed,
    _unanswered_for_too_long,
    _half_open,
    _a_listener_that_hears_nothing,
    _given_up_while_nobody_answers,
    _a_reset_on_the_way,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__.strip("_"))
async def test_partitions_behave_as_on_loopback(scene: Callable[[Ends], Awaitable[Any]]) -> None:
    """One scene in both worlds: what each side's protocol was told is equal, step by step."""
    loopback = Loopback()
    try:
        async with asyncio.timeout(LIMIT_S):
            real = copy.deepcopy(await scene(loopback))  # the clean-up ends connections too
    finally:
        await loopback.close()
    assert await asyncio.get_running_loop().run_in_executor(None, _simulated, scene) == real


def _simulated(scene: Callable[[Ends], Awaitable[Any]]) -> Any:
    world = SmallWorld()
    ends = Simulated(world)

    async def play(_: Any) -> Any:
        return await scene(ends)

    return world.result_of(play, 300.0)
