"""Lock waits, cancellation, deadlock, disconnects, crashes and recovery of the simulated server."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from system import sql
from system.database import Database
from system.migrate import migrate
from tests.sim.postgres.arms import WAITS, Action, Arm, Kind, SimulatedArm
from tests.sim.postgres.harness import WAIT_S, Simulated, connect, simulated
from tests.sim.postgres.real import RealArm, RealServer
from tests.system.harness import eventually

BASE = 1 << 48


async def _begin(dsn: str) -> Any:
    """A stream with a leader; answers a connection."""
    connection = await connect(dsn)
    await connection.execute(sql.INIT_STATE, "s", "tag", "created", 0)
    await connection.execute(sql.TAKE_LEASE, "s", "me", 100.0)
    return connection


def _write(before: int, after: int, event_id: str | None = None) -> list[Any]:
    events = [[str(BASE + after)], ["ann"], ["1"], [event_id], ["note"], ["{}"]] if event_id else [[]] * 6
    return ["s", 1, BASE + before, BASE + after, *events, *[[]] * 6, None, 100.0, 100.0]


async def _blocked(simulation: Simulated, count: int = 1) -> None:
    await eventually(lambda: len(simulation.server.waiting_pids) == count, f"{count} sessions wait")


async def test_a_writer_waits_and_looks_again() -> None:
    """The second of two writers with one fence waits, then finds the watermark moved and writes nothing."""
    async with simulated() as simulation:
        first, second = await _begin(simulation.dsn), await connect(simulation.dsn)
        await first.execute("BEGIN")
        assert (await first.fetchrow(sql.WRITE_BATCH, *_write(0, 1, "a")))["count"] == 1
        task = asyncio.create_task(second.fetchrow(sql.WRITE_BATCH, *_write(0, 1, "b")))
        await _blocked(simulation)
        assert (await first.fetchrow(sql.READ_STATE, "s"))["watermark"] == BASE + 1
        await first.execute("COMMIT")
        assert (await task)["count"] == 0
        assert await second.fetch(sql.READ_STORED, "b") == []
        await first.close()
        await second.close()


async def test_a_failed_block_ends_with_rollback() -> None:
    """After an error everything is refused with 25P02, locks are free at once, and COMMIT answers ROLLBACK."""
    async with simulated() as simulation:
        first, second = await _begin(simulation.dsn), await connect(simulation.dsn)
        await first.execute("BEGIN")
        await first.execute(sql.TAKE_LEASE, "s", "me", 100.0)
        with pytest.raises(asyncpg.UniqueViolationError):
            await first.execute(sql.NEW_EPOCH, "s", 2, "tag", "why", "created", 0, 4)
        assert len(await second.fetch(sql.RENEW_LEASE, "s", 1, 100.0)) == 1
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await first.fetch(sql.READ_EPOCHS)
        assert await first.execute("COMMIT") == "ROLLBACK"
        assert (await first.fetchrow(sql.READ_STATE, "s"))["fence"] == 1
        await first.close()
        await second.close()


async def test_a_timeout_cancels_and_leaves_the_connection_usable() -> None:
    """A client's time limit sends a CancelRequest; the statement leaves nothing behind."""
    async with simulated() as simulation:
        first, second = await _begin(simulation.dsn), await connect(simulation.dsn)
        await first.execute("BEGIN")
        await first.execute(sql.RENEW_LEASE, "s", 1, 50.0)
        with pytest.raises(TimeoutError):
            await second.fetch(sql.WRITE_BATCH, *_write(0, 1, "a"), timeout=0.1)
        assert await second.fetch(sql.READ_STORED, "a") == []
        await first.execute("ROLLBACK")
        assert (await second.fetchrow(sql.WRITE_BATCH, *_write(0, 1, "a")))["count"] == 1
        await first.close()
        await second.close()


async def test_a_deadlock_has_a_victim() -> None:
    """Two sessions that wait for each other: one gets 40P01 after deadlock_timeout, the other goes on."""
    async with simulated(deadlock_timeout_s=0.05) as simulation:
        first, second = await _begin(simulation.dsn), await connect(simulation.dsn)
        await first.execute(sql.WRITE_BATCH, *_write(0, 1, "a"))
        for connection in (first, second):
            await connection.execute("BEGIN")
        await first.execute(sql.RENEW_LEASE, "s", 1, 100.0)
        await second.execute(sql.SWEEP, "s", 1, -100.0, 10, None)
        tasks = [
            asyncio.create_task(first.fetch(sql.SWEEP, "s", 1, -100.0, 10, None)),
            asyncio.create_task(second.fetch(sql.RENEW_LEASE, "s", 1, 100.0)),
        ]
        answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT_S)
        victims = [isinstance(answer, asyncpg.DeadlockDetectedError) for answer in answers]
        assert sorted(victims) == [False, True], answers
        assert not isinstance(answers[victims.index(False)], BaseException)
        first.terminate()
        second.terminate()


async def test_a_dropped_connection_rolls_back() -> None:
    """What an abandoned session did in a block is undone, at once if it was idle, else after its statement."""
    async with simulated() as simulation:
        first, second, third = (
            await _begin(simulation.dsn),
            await connect(simulation.dsn),
            await connect(simulation.dsn),
        )
        await first.execute("BEGIN")
        await first.execute(sql.WRITE_BATCH, *_write(0, 1, "a"))
        await second.execute("BEGIN")
        waiting = asyncio.create_task(second.fetch(sql.WRITE_BATCH, *_write(0, 2, "b")))
        await _blocked(simulation)
        second.terminate()
        await asyncio.gather(waiting, return_exceptions=True)
        first.terminate()
        await eventually(lambda: len(simulation.server.pids) == 1, "both sessions are over")
        assert (await third.fetchrow(sql.WRITE_BATCH, *_write(0, 3, "c")))["count"] == 1
        found = await third.fetch(sql.READ_STORED_MANY, ["a", "b", "c"])
        assert [row["id"] for row in found] == ["c"]
        await third.close()


async def _abandon_in_mid_statement(dsn: str, arm: Arm) -> bool:
    """Drop a connection whose statement waits for a lock, then free it; answers whether the statement took effect."""
    await (await _begin(dsn)).close()
    await arm.open(2)
    await arm.perform(Action(session=0, text="BEGIN"))
    await arm.perform(Action(session=0, text=sql.RENEW_LEASE, args=("s", 1, 50.0)))
    step = await arm.perform(Action(session=1, text=sql.WRITE_BATCH, args=tuple(_write(0, 1, "a"))))
    assert step == {1: WAITS}
    await arm.perform(Action(session=1, kind=Kind.DROP))
    await arm.perform(Action(session=0, text="COMMIT"))
    found = bool(await arm.sessions[0].fetch(sql.READ_STORED, "a"))
    await arm.close()
    return found


@pytest.mark.stack
@pytest.mark.conformance
async def test_what_was_abandoned_is_finished(fresh_database: str) -> None:
    """A statement whose client is gone goes on and commits, in both arms."""
    database = Database(fresh_database, size_max=1, timeout_s=WAIT_S)
    await migrate(database)
    await database.close()
    server = RealServer(fresh_database)
    assert await _abandon_in_mid_statement(fresh_database, RealArm(server))
    await server.close()
    async with simulated() as simulation:
        assert await _abandon_in_mid_statement(simulation.dsn, SimulatedArm(simulation))


async def _restarted(simulation: Simulated) -> Any:
    await simulation.start()
    return await connect(simulation.dsn)


async def test_a_kill_loses_only_what_was_not_committed() -> None:
    """Committed rows are there after SIGKILL, an open transaction's are not, and indexes serve as before."""
    async with simulated() as simulation:
        first, second = await _begin(simulation.dsn), await connect(simulation.dsn)
        await first.execute(sql.WRITE_BATCH, *_write(0, 1, "a"))
        await first.execute("BEGIN")
        await first.execute(sql.WRITE_BATCH, *_write(1, 2, "b"))
        before = list(simulation.server.dump())
        simulation.kill()
        with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await second.fetch(sql.READ_EPOCHS)
        first.terminate()
        connection = await _restarted(simulation)
        assert list(simulation.server.dump()) == before
        assert [row["pos"] for row in await connection.fetch(sql.READ_PAGE, "s", "ann", 0, 9)] == [None, BASE + 1]
        assert (await connection.fetchrow(sql.WRITE_BATCH, *_write(1, 2, "b")))["count"] == 1
        await connection.close()


@pytest.fixture(params=["safe", "fsync off", "synchronous_commit off"])
async def powered(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Simulated, bool]]:
    """A server, and whether its settings keep what it acknowledged."""
    name = str(request.param)
    settings = {name.split()[0]: False} if name != "safe" else {}
    async with simulated(**settings) as simulation:
        simulation.disk.sync_all()
        yield simulation, name == "safe"


async def test_a_loss_of_power_takes_what_was_not_synced(powered: tuple[Simulated, bool]) -> None:
    """With fsync and synchronous_commit on nothing acknowledged is lost; with either off, the last commits are."""
    simulation, safe = powered
    connection = await _begin(simulation.dsn)
    await connection.execute(sql.WRITE_BATCH, *_write(0, 1, "a"))
    assert (simulation.disk.unsynced == 0) is safe
    simulation.kill()
    simulation.disk.lose_power()
    connection.terminate()
    connection = await _restarted(simulation)
    assert bool(await connection.fetch(sql.READ_STORED, "a")) is safe
    assert bool(await connection.fetch(sql.READ_STATE, "s")) is safe
    await connection.close()


async def test_a_dead_process_writes_no_more() -> None:
    """A timer of a process that lost its disk, and that nobody stopped, changes nothing on it."""
    async with simulated(commit_s=(1.0, 1.0)) as simulation:
        old = simulation.server
        connection = await connect(simulation.dsn)
        task = asyncio.create_task(connection.execute(sql.INIT_STATE, "s", "tag", "created", 0))
        await eventually(lambda: simulation.disk.unsynced == 1, "the commit is written")
        simulation.disk.lose_power()
        simulation.stop_listening()
        await asyncio.sleep(1.2)
        assert not task.done(), "a commit that is lost must not be acknowledged"
        await simulation.start()
        old.stop()
        await asyncio.gather(task, return_exceptions=True)
        assert [name for name, _ in simulation.server.dump() if name == "event_stream"] == []


async def test_starting_and_stopping_are_told() -> None:
    """57P03 during recovery; 57P01 to everybody at a fast shutdown, with commits under way kept."""
    async with simulated(migrated=False, recovery_s=(2.0, 2.0)) as simulation:
        connection = await connect(simulation.dsn)
        simulation.server.shut_down()
        with pytest.raises((asyncpg.AdminShutdownError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await connection.fetch(sql.READ_EPOCHS)
        simulation.kill()
        await simulation.start(wait=False)
        with pytest.raises(asyncpg.CannotConnectNowError):
            await connect(simulation.dsn)


async def test_bytes_may_arrive_one_by_one() -> None:
    """A session that gets its bytes singly answers the same as one that gets them at once."""
    start = b"user\0meshrelay\0database\0postgres\0\0"
    query = b"SELECT number FROM schema_migration\0"
    sent = struct.pack("!ii", len(start) + 8, 196608) + start
    sent += b"Q" + struct.pack("!i", len(query) + 4) + query + b"X" + struct.pack("!i", 4)
    answers = []
    async with simulated() as simulation:
        for piece in (1, len(sent)):
            reader, writer = await asyncio.open_connection("127.0.0.1", simulation.port)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(sent), piece):
                writer.write(sent[at : at + piece])
                await asyncio.sleep(0)
            answer = await asyncio.wait_for(reader.read(-1), WAIT_S)
            writer.close()
            key = answer.index(b"K\0\0\0\x0c")  # each session has its own
            answers.append(answer[:key] + answer[key + 13 :])
    assert answers[0] == answers[1]
    assert b"SELECT 3\0" in answers[0]


async def test_memory_stays_flat() -> None:
    """Weeks of writing, acknowledging and sweeping leave no dead versions, and no more rows than are retained."""
    async with simulated() as simulation:
        connection = await _begin(simulation.dsn)
        sizes = []
        for round_number in range(300):
            before = round_number * 2
            await connection.execute(sql.WRITE_BATCH, *_write(before, before + 2, f"e{round_number}"))
            await connection.execute(sql.RENEW_LEASE, "s", 1, 100.0)
            await connection.fetch(sql.STORE_ACK, "s", "ann", BASE + before)
            await connection.fetch(sql.SWEEP, "s", 1, -100.0, 10, None)
            tables = simulation.server.tables.by_name.values()
            sizes.append(sum(len(list(index)) for table in tables for index in table.indexes))
        assert simulation.server.engine.dead_versions == 0
        assert max(sizes) == sizes[0]
        assert simulation.disk.unsynced == 0
        await connection.close()
