"""A full disk, on the real servers and in the models: what is refused, what goes on, and what is there afterwards.

The real disks are small ones (tmpfs); a machine that can't mount one can't run these tests, and says so.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import nats.errors
import pytest

from faults.stack import EmbeddedStack, disks
from sim.jetstream.disk import NatsDisk
from system import sql
from system.database import Database
from system.migrate import migrate
from tests.sim.jetstream.arms import simulated as simulated_nats
from tests.sim.jetstream.ground import Ground, RealGround, SimulatedGround
from tests.sim.jetstream.stage import Stage, connected
from tests.sim.postgres.harness import WAIT_S, connect, simulated

pytestmark = [pytest.mark.stack, pytest.mark.conformance]

ROOM_MAX = 100
"""Messages that may still fit into the block that the server has open."""


class FullGround(Ground):
    """A NATS server whose disk can be filled."""

    @abc.abstractmethod
    def fill(self) -> None:
        """Leave no room."""

    @abc.abstractmethod
    def free(self) -> None:
        """Give it back."""


class RealFull(RealGround, FullGround):
    """A process of this machine over a small disk."""

    def __init__(self, stack: EmbeddedStack) -> None:
        super().__init__(stack.nats)
        self._disk = stack.disks["nats"]

    def fill(self) -> None:
        """Leave no room."""
        assert self._disk.fill()["is_refused"]

    def free(self) -> None:
        """Give it back."""
        assert self._disk.free() > 0


class SimulatedFull(SimulatedGround, FullGround):
    """A simulated server's."""

    @classmethod
    def of(cls, ground: SimulatedGround) -> SimulatedFull:
        """The same server, whose disk can be filled."""
        ground.__class__ = cls
        assert isinstance(ground, cls)
        return ground

    @property
    def disk(self) -> NatsDisk:
        """What outlives it."""
        return self._disk

    def fill(self) -> None:
        """Leave no room."""
        self.disk.is_full = True

    def free(self) -> None:
        """Give it back."""
        self.disk.is_full = False


async def unanswered(what: Awaitable[Any]) -> bool:
    """Whether no answer comes to a publish, not even a refusal."""
    try:
        await what
    except (nats.errors.TimeoutError, TimeoutError):
        return True
    return False


async def handle_two(at: Stage) -> None:
    """Pull two messages and acknowledge them; how many more are pending depends on how many still fitted."""
    place = len(at.seen)
    for message in await at.hear(1.0, batch=2):
        await at.done(message, b"+ACK")
    at.seen[place:] = [(data, words) for _, data, words, *_ in at.seen[place:]]


async def floor(at: Stage) -> None:
    """Note how far the consumer has come."""
    info = await at.js.consumer_info(at.stream, "c")
    assert info.delivered is not None
    assert info.ack_floor is not None
    at.see("consumer", info.delivered.stream_seq, info.ack_floor.stream_seq)


async def nats_runs_full(ground: FullGround) -> list[Any]:
    """A stream on a disk that fills up, is given room, and is restarted; what a client sees."""
    at = Stage(await connected(ground.url), "full", ground)
    await at.make_stream()
    await at.make_consumer(ack_wait=60.0)
    await at.fill(6, size=500)
    await handle_two(at)
    await asyncio.sleep(1.5)
    ground.fill()
    room = 0
    while not await unanswered(at.js.publish(at.subject, b"x" * 500, timeout=0.5)):
        room += 1
        assert room < ROOM_MAX
    last = [await unanswered(at.js.publish(at.subject, size * b"x", timeout=0.5)) for size in (0, 1, 5_000)]
    at.see("unanswered", last)
    state = (await at.js.stream_info(at.stream)).state
    at.see("state", state.messages - room, state.last_seq - room)
    at.see("read", (await at.js.get_msg(at.stream, 3)).data)
    await handle_two(at)
    await floor(at)
    ground.free()
    at.see("with room", await unanswered(at.js.publish(at.subject, b"y", timeout=0.5)))
    await at.restart()
    ack = await at.js.publish(at.subject, b"z")
    at.see("restarted", ack.seq - room)
    await floor(at)
    await handle_two(at)
    await at.clean()
    return at.seen


async def nats_only_acknowledges(ground: FullGround) -> list[Any]:
    """A consumer whose state finds no room, and finds it again; what it knows after a restart."""
    at = Stage(await connected(ground.url), "acked", ground)
    await at.make_stream()
    await at.make_consumer(ack_wait=60.0)
    await at.fill(8, size=500)
    await handle_two(at)
    await asyncio.sleep(1.0)
    ground.fill()
    await handle_two(at)
    await asyncio.sleep(1.0)
    ground.free()
    await handle_two(at)
    await asyncio.sleep(1.0)
    await at.restart()
    await floor(at)
    await at.clean()
    return at.seen


@pytest.mark.parametrize("scene", [nats_runs_full, nats_only_acknowledges])
async def test_nats_on_a_full_disk(scene: Callable[[FullGround], Awaitable[list[Any]]]) -> None:
    """Publishes are not answered, until a restart even once there is room; what was acknowledged is read and kept."""
    assert disks.refused() is None
    async with EmbeddedStack.start(small=True) as stack:
        expected = await scene(RealFull(stack))

    def main(ground: Ground) -> Awaitable[Any]:
        assert isinstance(ground, SimulatedGround)
        return scene(SimulatedFull.of(ground))

    assert simulated_nats(main) == expected


BASE = 1 << 48


def written(seq: int) -> list[Any]:
    """The values of a write of one event of 2 kB at this sequence, as pg-writer gives them."""
    event = [[str(BASE + seq)], ["ann"], ["1"], [f"event-{seq}"], ["note"], ['{"data":"' + "x" * 2_000 + '"}']]
    return ["s", 1, BASE + seq - 1, BASE + seq, *event, *[[]] * 6, None, 100.0, 100.0]


async def postgres_runs_full(dsn: str, fill: Callable[[], Any], free: Callable[[], Any]) -> list[Any]:
    """The relay's own statements on a disk that fills up and is given room; what a client sees."""
    connection = await connect(dsn)
    seen: list[Any] = []

    async def tries(text: str, *values: object) -> bool:
        try:
            seen.append(len(await connection.fetch(text, *values)))
        except asyncpg.PostgresError as error:
            seen.append((type(error).__name__, error.sqlstate))
            return False
        return True

    await connection.execute(sql.INIT_STATE, "s", "tag", "created", 0)
    await connection.execute(sql.TAKE_LEASE, "s", "me", 100.0)
    await tries(sql.WRITE_BATCH, *written(1))
    fill()
    seq = 2
    while await tries(sql.WRITE_BATCH, *written(seq)):  # until the pages that there are have no room
        seen.pop()
        seq += 1
        assert seq < ROOM_MAX
    await tries(sql.WRITE_BATCH, *written(seq))
    await tries(sql.READ_PAGE, "s", "ann", 0, 1)
    await tries(sql.RENEW_LEASE, "s", 1, 50.0)
    free()
    await tries(sql.WRITE_BATCH, *written(seq))
    await tries(sql.READ_STORED_MANY, ["event-1", f"event-{seq}", f"event-{seq + 1}"])
    await connection.close()
    return seen


async def test_postgres_on_a_full_disk() -> None:
    """What needs another page is refused with 53100 and undone; the rest goes on, and all does once there is room."""
    assert disks.refused() is None
    async with EmbeddedStack.start(small=True) as stack:
        database = Database(stack.postgres_dsn, size_max=1, timeout_s=WAIT_S)
        await migrate(database)
        await database.close()
        disk = stack.disks["postgres"]
        expected = await postgres_runs_full(stack.postgres_dsn, disk.fill, disk.free)
    assert expected.count(("DiskFullError", "53100")) == 2
    async with simulated() as simulation:

        def turn(*, full: bool) -> None:
            simulation.disk.is_full = full

        found = await postgres_runs_full(simulation.dsn, lambda: turn(full=True), lambda: turn(full=False))
    assert found == expected
