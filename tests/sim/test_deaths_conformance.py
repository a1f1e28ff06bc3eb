"""What a simulated kernel says for a server that is killed or listens no more, against loopback's."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.sim.test_endings_conformance import told
from tests.sim.test_tcp_conformance import Noting, _until
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.conformance
LIMIT_S = 10.0
CHILD = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=4)
print(listener.getsockname()[1], flush=True)
manner = sys.argv[1]
if "deaf" not in manner:
    connection, _ = listener.accept()
    if manner == "served":
        connection.recv(8, socket.MSG_WAITALL)
        connection.sendall(b"an answer")
sys.stdin.read()
"""
"""A server that accepts nothing, or one client; reads what it says and answers, or does not read."""
MANNERS = "served", "unread", "deaf", "deaf to one who waits"


@pytest.mark.parametrize("manner", MANNERS)
async def test_a_killed_server_s_clients_are_told_as_by_a_real_kernel(manner: str) -> None:
    """After SIGKILL the kernel ends what was accepted and read, resets what had bytes unread or was never accepted,
    and refuses whoever comes then.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, manner, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    port = int(await child.stdout.readline())

    async def kill() -> None:
        child.kill()
        assert await child.wait() == -signal.SIGKILL

    async with asyncio.timeout(LIMIT_S):
        real = await _outliving("127.0.0.1", port, manner, kill)
    assert await asyncio.get_running_loop().run_in_executor(None, _outliving_simulated, manner) == real


async def _outliving(address: str, port: int, manner: str, kill: Callable[[], Awaitable[None]]) -> Any:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(Noting, address, port)
    if manner != "deaf to one who waits":
        client.transport.write(b"question")
    await (_until(lambda: len(client.received) == 9) if manner == "served" else asyncio.sleep(0.2))
    before = list(client.notes)
    await kill()
    await client.lost
    late = await told(loop.create_connection(Noting, address, port))
    return before, client.notes, late


def _outliving_simulated(manner: str) -> Any:
    world = SmallWorld()

    class Server(Noting):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if manner == "unread":
                transport.pause_reading()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"an answer")

    async def serve(process: Any) -> None:
        await process.loop.create_server(Server, "0.0.0.0", 80, backlog=4)
        await asyncio.sleep(1e6)

    server = world.start(world.b, serve)

    async def kill() -> None:
        server.kill()

    async def play(_: Any) -> Any:
        await asyncio.sleep(0.01)
        if "deaf" in manner:
            server.pause()
        return await _outliving("b", 80, manner, kill)

    return world.result_of(play, 60.0)


async def test_a_listener_that_closes_resets_whom_it_had_not_accepted() -> None:
    """Their connection was the kernel's; with the listener it goes, by a reset."""
    with socket.create_server(("127.0.0.1", 0), backlog=4) as deaf:
        _, client = await asyncio.get_running_loop().create_connection(Noting, "127.0.0.1", deaf.getsockname()[1])
        deaf.close()
        async with asyncio.timeout(LIMIT_S):
            await client.lost
    world = SmallWorld()

    async def serve(process: Any) -> None:
        await process.loop.create_server(Noting, "0.0.0.0", 80, backlog=4)
        await asyncio.sleep(1e6)

    server = world.start(world.b, serve)

    async def play(_: Any) -> Any:
        await asyncio.sleep(0.5)
        server.pause()  # so that it is the kernel which answers
        _, dialled = await asyncio.get_running_loop().create_connection(Noting, "b", 80)
        await asyncio.sleep(1.0)
        server.host.close_port(80)
        await dialled.lost
        return dialled.notes

    simulated = await asyncio.get_running_loop().run_in_executor(None, world.result_of, play, 60.0)
    assert simulated == client.notes == ["made", ("lost", "ConnectionResetError")]
