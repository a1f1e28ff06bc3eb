"""The rules of `database.py`: time limits, thrown-away connections, two kinds of failure, and no lost cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import asyncpg
import pytest

from faults.stack import EmbeddedStack
from system.database import IDLE_MAX_S, Database, DatabaseUnavailable, is_transient
from system.link import heed_cancellation
from tests.system.conftest import StartRelay
from tests.system.harness import event, eventually


class Connection:
    """A connection that notes whether it was thrown away."""

    def __init__(self) -> None:
        self.terminated = False
        self.closing = asyncio.Event()
        self.closing.set()

    def terminate(self) -> None:
        """Throw it away."""
        self.terminated = True

    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self.terminated

    async def close(self) -> None:
        """Say goodbye, once the server lets it."""
        await self.closing.wait()
        self.terminated = True


class Server:
    """What is dialled: remembers every connection, and can be made to hang or fail."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def connection(self) -> Connection:
        """The last one."""
        return self.connections[-1]

    async def dial(self) -> Connection:
        """A new connection."""
        await self.gate.wait()
        self.connections.append(Connection())
        return self.connection


@pytest.fixture
def server() -> Server:
    """A server that answers at once."""
    return Server()


@pytest.fixture
def database(server: Server, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database of one connection, with short time limits."""
    monkeypatch.setattr("system.database.SERVER_SLACK_S", 0.02)
    made = Database("", size_max=1, timeout_s=0.05)
    made._dial = server.dial  # type: ignore[method-assign]
    return made


async def lent(connection: Any) -> Any:
    """The connection that is lent."""
    return connection


async def hang(_: Any) -> None:
    """A statement that is never answered."""
    await asyncio.Event().wait()


def failing(error: BaseException) -> Any:
    """A statement that fails like this."""

    async def work(_: Any) -> None:
        raise error

    return work


async def test_a_result_comes_back_and_the_connection_is_kept(database: Database, server: Server) -> None:
    """Success costs nothing: the connection is given back as it is."""

    async def work(connection: Any) -> int:
        assert connection is server.connection
        return 7

    assert [await database.use(work) for _ in range(3)] == [7, 7, 7]
    assert [one.terminated for one in server.connections] == [False]


@pytest.mark.parametrize("error", [asyncpg.UniqueViolationError("x"), asyncpg.PostgresSyntaxError("x")])
async def test_a_plain_server_error_passes_and_the_connection_is_kept(
    database: Database, server: Server, error: Exception
) -> None:
    """What the server said of the statement is for the caller; the connection is as good as before."""
    with pytest.raises(type(error)):
        await database.use(failing(error))
    assert await database.use(lent) is server.connections[0]


UNAVAILABLE = [
    ConnectionResetError("x"),
    TimeoutError(),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.InternalClientError("cannot switch to state"),
    asyncpg.ConnectionDoesNotExistError("x"),
    asyncpg.AdminShutdownError("x"),
    asyncpg.CannotConnectNowError("x"),
    asyncpg.TooManyConnectionsError("x"),
    asyncpg.DiskFullError("x"),
    asyncpg.QueryCanceledError("x"),
    asyncpg.DeadlockDetectedError("x"),
    asyncpg.ReadOnlySQLTransactionError("x"),
    asyncpg.UndefinedTableError("x"),
]


@pytest.mark.parametrize("error", UNAVAILABLE, ids=lambda error: type(error).__name__)
async def test_a_lost_connection_is_unavailable_and_thrown_away(
    database: Database, server: Server, error: Exception
) -> None:
    """Whatever says 'the server or the connection failed' becomes one kind, and nobody gets that connection again."""
    with pytest.raises(DatabaseUnavailable, match=type(error).__name__):
        await database.use(failing(error))
    assert server.connection.terminated
    assert await database.use(lent) is server.connections[1]


async def test_a_connection_that_was_lost_meanwhile_is_not_lent(database: Database, server: Server) -> None:
    """An idle connection that the server has closed, or that was idle for too long, makes room for a new one."""
    first = await database.use(lent)
    first.terminated = True
    second = await database.use(lent)
    assert second is server.connections[1]
    database._idle[0] = (second, asyncio.get_running_loop().time() - IDLE_MAX_S - 1)
    assert await database.use(lent) is server.connections[2]
    assert second.terminated


async def test_no_more_connections_than_agreed(database: Database, server: Server) -> None:
    """Who comes when all are lent waits, and is served in turn."""
    gate = asyncio.Event()

    async def work(connection: Any) -> Any:
        await gate.wait()
        return connection

    tasks = [asyncio.create_task(database.use(work, timeout_s=60)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == [server.connections[0]] * 3
    assert len(server.connections) == 1


def test_the_real_error_may_be_hidden_behind_another() -> None:
    """asyncpg raises InterfaceError over the reset that caused it: the chain is looked at, but not for ever."""
    outer = ValueError("x")
    outer.__context__ = ValueError("y")
    outer.__context__.__cause__ = ConnectionResetError()
    assert is_transient(outer)
    loop = ValueError("z")
    loop.__cause__ = loop
    assert not is_transient(loop)


async def test_silence_has_a_limit(database: Database, server: Server) -> None:
    """No answer, and no connection to be had, are unavailable within the limit; a silent connection is thrown away."""
    with pytest.raises(DatabaseUnavailable):
        await database.use(hang)
    await eventually(lambda: server.connection.terminated, "it to be thrown away")
    server.gate.clear()
    with pytest.raises(DatabaseUnavailable):
        await database.use(hang)
    assert len(server.connections) == 1


async def test_a_bug_is_not_unavailable(database: Database, server: Server) -> None:
    """An error of ours passes as it is, and the connection, which may hold half a statement, is thrown away."""
    with pytest.raises(ZeroDivisionError):
        await database.use(failing(ZeroDivisionError()))
    assert server.connection.terminated


async def test_a_statement_that_was_given_up_keeps_its_place(database: Database, server: Server) -> None:
    """It may still run: its connection is not for others until it is over, and there is no new one in its stead. Then
    it is as good as any.
    """
    gate = asyncio.Event()

    async def work(_: Any) -> None:
        await gate.wait()

    task = asyncio.create_task(database.use(work))
    await eventually(lambda: server.connections, "a start")
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    next_one = asyncio.create_task(database.use(lent))
    await asyncio.sleep(0)
    assert (len(server.connections), next_one.done()) == (1, False)
    gate.set()
    assert await next_one is server.connections[0]


async def test_a_cancellation_that_meets_a_result_is_not_lost(database: Database) -> None:
    """A part of the relay is cancelled in the very moment in which its statement is answered: it ends.

    Python 3.11's `asyncio.wait_for` returned the result and forgot the cancellation: one drain in five hung until its
    deadline, without handing back the lease.
    """
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.Event()

    async def work(_: Any) -> int:
        waiting.set()
        return await answered

    task = asyncio.create_task(database.use(work, timeout_s=60))
    await waiting.wait()
    answered.set_result(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_a_library_swallowed_is_heeded() -> None:
    """A loop that awaits such a library ends at its next turn; one that was not cancelled goes on."""
    turns = 0

    async def part() -> None:
        nonlocal turns
        while True:
            heed_cancellation()
            turns += 1
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass  # as wait_for does when its result is there

    task = asyncio.create_task(part())
    await asyncio.sleep(0)
    heed_cancellation()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert turns == 1


async def test_closing_ends_whatever_the_server_does(database: Database, server: Server) -> None:
    """A connection that can't say goodbye is cut within the limit, and so is one that is lent; twice is harmless."""
    tasks = [asyncio.create_task(database.use(hang, timeout_s=60))]
    await asyncio.sleep(0)
    await database.close(within_s=0.01)
    assert server.connections[0].terminated
    with contextlib.suppress(asyncio.CancelledError):
        tasks[0].cancel()
        await tasks[0]
    (await database.use(lent)).closing.clear()
    await database.close(within_s=0.01)
    assert server.connections[1].terminated
    await database.close()


@pytest.mark.stack
async def test_on_the_real_server(fresh_database: str) -> None:
    """After a time-out, a violation and a cancellation, in turn, the next statements see a sound connection, and none
    of what was given up has been committed.
    """
    database = Database(fresh_database, size_max=1, timeout_s=3.0)
    try:
        await database.execute("CREATE TABLE t (n int PRIMARY KEY)")
        await database.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(asyncpg.UniqueViolationError):
            await database.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(DatabaseUnavailable):
            await database.execute("INSERT INTO t SELECT 2 FROM pg_sleep(30)")
        task = asyncio.create_task(database.execute("INSERT INTO t SELECT 3 FROM pg_sleep(30)"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for number in range(10, 14):
            await database.execute("INSERT INTO t SELECT $1::int", number)
        assert [row["n"] for row in await database.fetch("SELECT n FROM t ORDER BY n")] == [1, 10, 11, 12, 13]
    finally:
        await database.close()


@pytest.mark.stack
@pytest.mark.parametrize(
    ("shut", "opened", "said"),
    [
        (
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            "ALTER DATABASE {name} ALLOW_CONNECTIONS true",
            "not currently",
        ),
        (
            "ALTER DATABASE {name} RENAME TO {name}_away",
            "ALTER DATABASE {name}_away RENAME TO {name}",
            "does not exist",
        ),
        ("ALTER ROLE {name} NOLOGIN", "ALTER ROLE {name} LOGIN", "not permitted to log in"),
        (
            "REVOKE CONNECT ON DATABASE {name} FROM public",
            "GRANT CONNECT ON DATABASE {name} TO public",
            "permission denied",
        ),
    ],
    ids=["55000", "3D000", "28000", "42501"],
)
async def test_a_door_that_is_shut_is_unavailable(
    stack: EmbeddedStack, fresh_database: str, shut: str, opened: str, said: str
) -> None:
    """Somebody is at work on the database, and lets nobody in: try again, with what Postgres said, where the process
    ended before. The same errors of a statement are bugs still.
    """
    name = fresh_database.rpartition("/")[2]
    admin = await asyncpg.connect(stack.postgres_dsn)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'")
    database = Database(re.sub(r"//[^@/]*@", f"//{name}:pw@", fresh_database), size_max=2, timeout_s=5)
    try:
        assert await database.fetch("SELECT 1")
        for error in ("55000", "28000", "3D000", "42501"):
            with pytest.raises(asyncpg.PostgresError) as found:
                await database.execute(f"DO $$BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{error}'; END$$")
            assert found.value.sqlstate == error
        await database.close()
        await admin.execute(shut.format(name=name))
        with pytest.raises(DatabaseUnavailable, match=said):
            await database.fetch("SELECT 1")
        await admin.execute(opened.format(name=name))
        assert await database.fetch("SELECT 1")
    finally:
        await database.close()
        await admin.execute(f"DROP ROLE {name}")
        await admin.close()


@pytest.mark.stack
async def test_a_relay_outlives_a_door_that_is_shut(start_relay: StartRelay) -> None:
    """ALLOW_CONNECTIONS false and every connection ended, as for a restore: the process lives, and goes on after it."""
    relay = await start_relay(idle_check_s=1)
    name = relay.dsn.rpartition("/")[2]
    admin = await asyncpg.connect(re.sub(r"/[^/]*$", "/postgres", relay.dsn))
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await relay.publish(event("e1"))
        await asyncio.sleep(1)
        assert relay.relay.health()[0]
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    finally:
        await admin.close()
    await relay.settled()
    assert [row["id"] for row in await relay.rows("SELECT id FROM agent_events")] == ["e1"]
