"""The simulated network in trouble: what a cut, a half-open connection or a lost host look like from within."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sim.host import Process
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.sim


async def _echo(process: Process) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()

    def accept() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), serve)

    await loop.create_server(accept, "a", 7)
    await asyncio.sleep(1e9)


async def _ask(writer: asyncio.StreamWriter, reader: asyncio.StreamReader, count: int) -> bytes:
    writer.write(b"x" * count)
    return await reader.readexactly(count)


def _world() -> SmallWorld:
    world = SmallWorld()
    world.start(world.a, _echo, "echo")
    return world


def test_bytes_outlive_a_cut() -> None:
    """What is sent into a partition arrives once it heals, by TCP's own retries, whole and in order."""
    world = _world()

    async def client(process: Process) -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection("a", 7)
        await asyncio.sleep(1.0)
        writer.write(bytes(range(256)) * 100)
        data = await reader.readexactly(25_600)
        return data, asyncio.get_running_loop().time()

    world.start(world.b, client)
    world.run(0.5)
    world.cut("a", "b")
    world.run(30.0)
    assert "b" not in world.results
    world.network.heal()
    world.run(60.0)
    data, at_s = world.results["b"]
    assert data == bytes(range(256)) * 100
    assert 30.5 < at_s < 60.0, "after the heal, but not before TCP tries again"


def test_an_end_outlives_a_cut_also_if_it_is_said_twice() -> None:
    """Half-closed and then closed within a partition: what was sent and one end of stream arrive once it heals."""
    world = SmallWorld()

    async def server(process: Process) -> bytes:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[bytes] = loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.set_result(await reader.read(-1))

        def accept() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), serve)

        await loop.create_server(accept, "a", 7)
        return await heard

    async def client(process: Process) -> None:
        _, writer = await asyncio.open_connection("a", 7)
        await asyncio.sleep(1.0)
        writer.write(b"the last words")
        writer.write_eof()
        await asyncio.sleep(1.0)
        writer.close()

    world.start(world.a, server)
    world.start(world.b, client)
    world.run(0.5)
    world.cut("a", "b")
    world.run(30.0)
    assert "a" not in world.results
    world.network.heal()
    world.run(60.0)
    assert world.results["a"] == b"the last words"


@pytest.mark.parametrize("source", ["a", "b"])
def test_a_one_way_cut_stops_the_answers_too(source: str) -> None:
    """With one direction gone nothing is acknowledged: whichever way it is, the exchange waits for the heal."""
    world = _world()

    async def client(process: Process) -> int:
        reader, writer = await asyncio.open_connection("a", 7)
        await asyncio.sleep(1.0)
        return len(await _ask(writer, reader, 1000))

    world.start(world.b, client)
    world.run(0.5)
    world.cut(source, "b" if source == "a" else "a", both=False)
    world.run(100.0)
    assert "b" not in world.results
    world.network.heal()
    world.run(120.0)
    assert world.results["b"] == 1000


def test_a_connection_that_nobody_answers_times_out() -> None:
    """With bytes unacknowledged a cut ends in ETIMEDOUT after Linux's 15 minutes; TCP_USER_TIMEOUT makes it sooner."""
    for user_timeout_ms, bounds in ((None, (900, 1_200)), (5_000, (5, 13))):
        world = _world()

        async def client(process: Process, user_timeout_ms: int | None = user_timeout_ms) -> tuple[int | None, float]:
            reader, writer = await asyncio.open_connection("a", 7)
            if user_timeout_ms is not None:
                writer.get_extra_info("socket").setsockopt(6, 18, user_timeout_ms)
            await asyncio.sleep(1.0)
            began = asyncio.get_running_loop().time()
            try:
                await _ask(writer, reader, 10)
            except OSError as error:
                return error.errno, asyncio.get_running_loop().time() - began
            return None, 0.0

        world.start(world.b, client)
        world.run(0.5)
        world.cut("a", "b")
        world.run(2_000)
        errno, after_s = world.results["b"]
        assert errno == 110
        assert bounds[0] <= after_s <= bounds[1]


def test_power_loss_says_nothing_and_the_next_life_resets() -> None:
    """Nobody hears of a host that lost power; what is sent to it afterwards is answered by a reset once it is back."""
    world = _world()

    async def client(process: Process) -> Any:
        reader, writer = await asyncio.open_connection("a", 7)
        await _ask(writer, reader, 10)
        reading = asyncio.ensure_future(reader.read(1))
        _, pending = await asyncio.wait([reading], timeout=100.0)
        assert pending, "silence, not an end"
        writer.write(b"anybody there?")
        return await asyncio.gather(reading, return_exceptions=True)

    world.start(world.b, client)
    world.run(1.0)
    world.a.lose_power()
    world.run(150.0)
    assert "b" not in world.results
    world.a.power_up()
    world.run(200.0)
    assert [type(one) for one in world.results["b"]] == [ConnectionResetError]


def test_a_killed_process_closes_and_runs_nothing_more() -> None:
    """After SIGKILL no `finally` runs and no buffer is flushed; the kernel ends its connections; a new life listens."""
    world = _world()
    traces: list[str] = []

    async def doomed(process: Process) -> None:
        reader, writer = await asyncio.open_connection("a", 7)
        await _ask(writer, reader, 10)
        try:
            await asyncio.sleep(1e9)
        finally:
            traces.append("finally")

    process = world.start(world.b, doomed)
    world.run(1.0)
    assert len(world.a.processes[0].ends) == 1
    process.kill()
    world.run(1.0)
    assert traces == []
    assert list(world.a.processes[0].ends) == [], "the server saw the end and closed its own"


def test_a_paused_process_runs_everything_later() -> None:
    """Timers and bytes of a frozen process wait for it; its kernel still takes what is sent."""
    world = _world()
    times: list[float] = []

    async def client(process: Process) -> None:
        reader, writer = await asyncio.open_connection("a", 7)
        for _ in range(3):
            await _ask(writer, reader, 10)
            times.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1.0)

    world.start(world.b, client)
    world.run(0.5)
    world.a.processes[0].pause()
    world.run(10.0)
    assert len(times) == 1
    world.a.processes[0].resume()
    world.run(10.0)
    assert len(times) == 3
    assert times[1] > 10.0


def test_connecting_to_nobody() -> None:
    """A closed port refuses at once; a host that is off, or behind a cut, is given up after Linux's 127 s."""
    world = SmallWorld()

    async def client(process: Process) -> list[tuple[str, int]]:
        found = []
        for port in (9, 7):
            began = asyncio.get_running_loop().time()
            try:
                await asyncio.open_connection("a", port)
            except OSError as error:
                found.append((type(error).__name__, round(asyncio.get_running_loop().time() - began)))
            process.host.network.change("b", "a", is_cut=True)
        return found

    world.start(world.b, client)
    world.run(300.0)
    assert world.results["b"] == [("ConnectionRefusedError", 0), ("TimeoutError", 127)]


def test_equal_seeds_give_equal_bytes_at_equal_times() -> None:
    """Every segment, its split and its moment follow from the seed; another seed gives others."""

    def segments(seed: int) -> list[tuple[int, str, str, bytes]]:
        world = SmallWorld(seed)
        world.start(world.a, _echo, "echo")

        async def client(process: Process) -> int:
            reader, writer = await asyncio.open_connection("a", 7)
            return sum([len(await _ask(writer, reader, count)) for count in (1, 100_000, 7)])

        world.start(world.b, client)
        world.run(10.0)
        assert world.results["b"] == 100_008
        return world.segments

    first = segments(1)
    assert first == segments(1)
    assert first != segments(2)
