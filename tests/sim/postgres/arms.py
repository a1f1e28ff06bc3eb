"""Arms, real and simulated, that perform the same actions of several sessions; no answer depends on timing.

An action is over when every session is done or seen to wait for another one's lock, and every connection that was
ended is seen to be gone: in `pg_locks` and `pg_stat_activity` of the real server, in the model's own lists.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import asyncpg

from sim.postgres.statements import REGISTRY
from system.database import SERVER_SETTINGS, is_transient
from tests.sim.postgres.harness import WAIT_S, Simulated

CANCEL_REQUEST = 80877102
LAST = "the last"
"""As a parameter: what the session's last sweep answered."""
Answers = dict[int, Any]
"""By session what it answered, or WAITS."""
WAITS = "waits"
NOTICES = -1
"""No session: under it are the warnings and notices that came with an action."""
ASKED_WHEN_LOST = "ROLLBACK"
"""What an idle session runs after its end, to hear of it."""


class Kind(Enum):
    """What is done to a session, or to the server."""

    RUN = "run"
    CANCEL = "cancel"
    """A CancelRequest, as asyncpg sends it at a time limit."""
    TERMINATE = "terminate"
    """pg_terminate_backend."""
    DROP = "drop"
    """The client aborts its connection; the server may be in mid-statement."""
    CRASH = "crash"
    """SIGKILL of one backend: the server ends all others and recovers."""
    KILL = "kill"
    """SIGKILL of the whole server, and a start."""
    STOP = "stop"
    """A fast shutdown, and a start."""


ENDS = Kind.CRASH, Kind.KILL, Kind.STOP
"""Of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that happens; of a server's end the session tells whose backend is killed."""

    session: int
    kind: Kind = Kind.RUN
    text: str = ""
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        said = f"{' '.join(self.text.split())[:60]} {self.args}" if self.kind is Kind.RUN else self.kind.value
        return f"{self.session}: {said}"


class Arm:
    """Some sessions of one server; a step of one of them may wait for another's."""

    def __init__(self, dsn: str, *, lock_timeout: str = "") -> None:
        """`lock_timeout` as PostgreSQL writes it: every wait then ends by itself, and is awaited."""
        self.sessions: list[Any] = []
        self.pending: dict[int, asyncio.Task[Any]] = {}
        self.settings = SERVER_SETTINGS | ({"lock_timeout": lock_timeout} if lock_timeout else {})
        self._dsn = dsn
        self._waits_end = bool(lock_timeout)
        self._lasts: dict[int, datetime | None] = {}
        self._notices: list[tuple[str, str, str]] = []
        self._ghosts: list[int] = []
        """Backends whose clients are gone while their statements wait."""

    async def open(self, sessions: int) -> None:
        """Have so many sessions, those that are there already among them."""
        alive = [one for one in self.sessions if not one.is_closed()]
        self.sessions = [*alive, *[await self.connect() for _ in range(sessions - len(alive))]]

    async def connect(self) -> Any:
        """One more connection."""
        connection = await asyncpg.connect(self._dsn, timeout=WAIT_S, server_settings=self.settings)
        connection.add_log_listener(self._notice)
        return connection

    def _notice(self, _: Any, message: Any) -> None:
        self._notices.append((message.severity, message.sqlstate, message.message))

    def pids(self) -> list[int]:
        """Of the sessions' backends, as far as they are connected."""
        return [one.get_server_pid() for one in self.sessions if not one.is_closed()]

    @property
    def waiting(self) -> list[int]:
        """Sessions whose statements wait."""
        return list(self.pending)

    async def perform(self, action: Action) -> Answers:
        """Do what the action says; answers what finished, by session, which sessions wait, and notices if there are."""
        answers = await self._do(action)
        await asyncio.sleep(0)  # asyncpg tells of notices in the loop's next turn
        if self._notices and action.kind not in ENDS:  # who is told of a crash in time is not promised
            answers[NOTICES] = [*self._notices]
        self._notices.clear()
        return answers

    async def _do(self, action: Action) -> Answers:
        if action.kind is Kind.RUN:
            given = [self._lasts.get(action.session) if arg == LAST else arg for arg in action.args]
            assert action.session not in self.pending, action
            self.pending[action.session] = asyncio.create_task(self._run(action.session, action.text, given))
        elif action.kind is Kind.CANCEL:
            await _request_cancel(self._dsn, self.sessions[action.session])
            if action.session in self.pending:
                await self.cancelled(self.pending[action.session])
        elif action.kind in (Kind.TERMINATE, Kind.DROP):
            return await self._end_session(action)
        else:
            return await self._end_server(action)
        return await self.settle()

    async def settle(self) -> Answers:
        """Wait until every session is done or waits for another one."""
        deadline = time.monotonic() + WAIT_S
        while True:
            # who is done is seen first: an end that comes later may free those that are seen waiting
            done = [number for number, task in self.pending.items() if task.done()]
            if len(done) == len(self.pending) and not self._ghosts:
                break
            alive, waiting = await self.look(closely=bool(self._ghosts))
            ghosts = [pid for pid in self._ghosts if pid in alive]
            unsettled = [pid for pid in ghosts if pid not in waiting]
            for number, session in enumerate(self.sessions):
                if number in self.pending and number not in done and session.get_server_pid() not in waiting:
                    unsettled.append(number)
            if not unsettled and not (self._waits_end and len(done) < len(self.pending)):
                self._ghosts = ghosts
                break
            assert time.monotonic() < deadline, f"expected an end of {list(self.pending)}"
            await asyncio.sleep(0.000_3)
        finished = {number: self.pending.pop(number).result() for number in done}
        return finished | dict.fromkeys(self.pending, WAITS)

    async def look(self, *, closely: bool = True) -> tuple[list[int], list[int]]:
        """The pids of all backends, if looked at closely, and of those that wait for another one and go on doing so."""
        raise NotImplementedError

    async def cancelled(self, statement: asyncio.Task[Any]) -> None:
        """Wait until a CancelRequest that was answered has had its effect."""

    async def close(self) -> None:
        """Leave nothing behind."""
        for task in self.pending.values():
            task.cancel()
        await asyncio.gather(*self.pending.values(), return_exceptions=True)
        self.pending.clear()
        for connection in self.sessions:
            connection.terminate()

    async def terminate(self, pid: int) -> None:
        """pg_terminate_backend."""
        raise NotImplementedError

    async def end_server(self, kind: Kind, pid: int) -> None:
        """End the server; of a crash, this backend."""
        raise NotImplementedError

    async def start_server(self) -> None:
        """Have it serve again."""
        raise NotImplementedError

    async def _end_session(self, action: Action) -> Answers:
        """End a session's connection from either side; answers what it was told, and gets it a new one."""
        number = action.session
        connection = self.sessions[number]
        pid, task = connection.get_server_pid(), self.pending.pop(number, None)
        told: Any = None
        if action.kind is Kind.DROP:
            connection._transport.abort()  # `terminate` would say goodbye first
            await asyncio.gather(*filter(None, [task]), return_exceptions=True)
            connection.terminate()
            self._ghosts.append(pid)
        else:
            await self.terminate(pid)
            await until(connection.is_closed, "the session is ended")
            told = (await task) if task is not None else await self._run(number, ASKED_WHEN_LOST, ())

            async def is_gone() -> bool:
                return pid not in (await self.look())[0]

            await until(is_gone, "its backend is gone")
        self.sessions[number] = await self.connect()
        answers = await self.settle()
        return answers | ({number: told} if told is not None else {})

    async def _end_server(self, action: Action) -> Answers:
        connections, tasks = self.sessions, dict(self.pending)
        self.pending.clear()
        self._ghosts.clear()
        await self.end_server(action.kind, connections[action.session].get_server_pid())
        await until(lambda: all(one.is_closed() for one in connections), "every session is ended")
        answers = {number: _end_told(await task) for number, task in tasks.items()}
        await self.start_server()
        await self.open(len(connections))
        return answers

    async def _run(self, session: int, text: str, args: Sequence[Any]) -> Any:
        """What a statement answers: rows, a tag, an error by its fields, or that the connection is lost."""
        connection = self.sessions[session]
        known = REGISTRY.get(text)
        try:
            if known is None or not known.columns:
                return await connection.execute(text, *args)
            rows = await connection.fetch(text, *args)
        except Exception as error:  # each is an answer, to be compared with the other arm's
            return failure(error)
        if rows and "last" in rows[-1].keys():  # noqa: SIM118  a record's `in` looks at its values
            self._lasts[session] = rows[-1]["last"]
        return [tuple(_timeless(name, value) for name, value in row.items()) for row in rows]


class SimulatedArm(Arm):
    """Sessions of the simulated server, which finishes what is abandoned as the real one does."""

    def __init__(self, simulation: Simulated, *, lock_timeout: str = "") -> None:
        super().__init__(simulation.dsn, lock_timeout=lock_timeout)
        self.simulation = simulation

    async def look(self, *, closely: bool = True) -> tuple[list[int], list[int]]:
        """As `Arm` says."""
        server = self.simulation.server
        return server.pids, server.waiting_pids

    async def terminate(self, pid: int) -> None:
        """As `Arm` says."""
        self.simulation.server.terminate(pid)

    async def end_server(self, kind: Kind, pid: int) -> None:
        """As `Arm` says; a crash of one backend is the end of the server, as is its kill."""
        if kind is Kind.STOP:
            self.simulation.server.shut_down()
        self.simulation.kill()

    async def start_server(self) -> None:
        """As `Arm` says."""
        await self.simulation.start()

    async def choose_victim(self, session: int | None) -> Answers:
        """The deadlock check of this session, or of those without a client, and what follows."""
        pids = self._ghosts if session is None else [self.sessions[session].get_server_pid()]
        for pid in pids:
            self.simulation.server.look_for_deadlock(pid)
        return await self.settle()


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait for a condition, looking often: most come within a millisecond."""
    deadline = time.monotonic() + WAIT_S
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, f"expected within {WAIT_S:g} s: {what}"
        await asyncio.sleep(0.000_5)


def _end_told(answer: Any) -> Any:
    """By which of its errors asyncpg tells of a server's end is a matter of what it had read by then."""
    return ("lost", answer[2]) if answer[:1] == ("lost",) else answer


def failure(error: Exception) -> Any:
    """What an error tells: a server's by its fields, a lost connection by its name and the client's reading of it."""
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
        fields = (error.severity, error.sqlstate, error.message)
        return "error", *fields, error.table_name, error.column_name, error.constraint_name
    return "lost", type(error).__name__, is_transient(error)


def _timeless(name: str, value: Any) -> Any:
    """A value without what follows from the moment at which it was read."""
    if name == "now_ns" or isinstance(value, datetime) or (name == "age_us" and value is not None):
        return "a time"
    if name == "swept_ago_s":
        return None if value is None else ("ago", value > 0)
    return ("left", value > 0, math.isinf(value)) if name == "left_s" else value


async def _request_cancel(dsn: str, connection: Any) -> None:
    """A CancelRequest on a connection of its own, as asyncpg sends it; returns when the server has acted on it."""
    host, port = connection._addr  # asyncpg has no public name for it
    protocol = connection._protocol
    reader, writer = await asyncio.open_connection(host, port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    writer.write(struct.pack("!llll", 16, CANCEL_REQUEST, protocol.backend_pid, protocol.backend_secret))
    assert await asyncio.wait_for(reader.read(), WAIT_S) == b"", dsn
    writer.close()
