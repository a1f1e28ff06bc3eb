"""A start while Postgres dies: at whichever statement its answer is lost, nobody waits long for it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sim.environment import US
from sim.host import Process
from sim.postgres.disk import PostgresDisk
from sim.postgres.server import PostgresServer
from system.database import Database, DatabaseUnavailable
from system.migrate import LIMIT_S, migrate
from tests.sim.worlds import SmallWorld

pytestmark = pytest.mark.sim
DSN = "postgresql://meshrelay:any@b:5432/mesh?sslmode=disable"


@pytest.mark.parametrize(
    "last", [b"SELECT number", b"BEGIN", b"advisory", b"CREATE TABLE IF NOT", b"INSERT INTO schema", b"COMMIT"]
)
def test_a_start_ends_soon_wherever_its_answer_is_lost(last: bytes) -> None:
    """The server hears a statement, acknowledges the bytes, and loses its power before it answers: there is nothing to
    send again, so no kernel ever says that it is gone. A ROLLBACK would not be answered either.
    """
    world = SmallWorld()
    disk = PostgresDisk()

    async def server(process: Process) -> None:
        postgres = PostgresServer(name="postgres", now_ns=process.host.clock.wall_ns, rng=random.Random(1), disk=disk)
        await process.loop.create_server(postgres.protocol, "0.0.0.0", 5432)
        postgres.start()

    heard: list[bytes] = []

    def hear(_: int, source: str, __: str, data: bytes) -> None:
        if source == "a" and last in data and not heard:
            heard.append(data)
            world.environment.at(US, world.b.lose_power)

    async def start(_: Process) -> Any:
        database = Database(DSN, size_max=1, timeout_s=5.0)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(DatabaseUnavailable):
            await migrate(database)
        return asyncio.get_running_loop().time() - began_s

    world.start(world.b, server)
    world.run(5.0)
    world.network.on_segment = hear
    took_s = world.result_of(start, 400.0)
    assert heard, f"expected {last!r} to be said"
    assert took_s <= 2 * LIMIT_S
