"""The simulated PostgreSQL server: connections and timers around sessions, and nothing of their meaning."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from sim.errors import NotModelled
from sim.postgres import codec
from sim.postgres.backend import Backend
from sim.postgres.disk import PostgresDisk
from sim.postgres.engine import Engine
from sim.postgres.errors import ServerError, fatal
from sim.postgres.schema import Tables
from sim.postgres.session import Door, Session
from sim.postgres.settings import PostgresSettings, Range, duration_s
from sim.postgres.tables import Transaction
from sim.postgres.waits import Ended

PARAMETERS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "default_transaction_read_only": "off",
    "in_hot_standby": "off",
    "integer_datetimes": "on",
    "IntervalStyle": "postgres",
    "is_superuser": "on",
    "scram_iterations": "4096",
    "search_path": '"$user", public',
    "server_encoding": "UTF8",
    "server_version": "18.4",
    "standard_conforming_strings": "on",
    "TimeZone": "UTC",
}
"""What every session is told of; its user and application name come on top."""
SETTABLE = {
    "user": None,
    "database": None,
    "client_encoding": ("'utf-8'", "utf-8", "UTF8"),
    "application_name": None,
    "enable_seqscan": ("off", "on"),
    "enable_bitmapscan": ("off", "on"),
    "jit": ("off", "on"),
    "plan_cache_mode": ("auto", "force_generic_plan", "force_custom_plan"),
    "lock_timeout": None,
    "statement_timeout": None,
}
"""Start-up parameters, with the values that may be asked for (None: any); all but the last two change nothing here."""


ADMINISTRATOR = fatal("57P01", "terminating connection due to administrator command")


class PostgresServer:
    """One life of a server process; the next one is made of the same disk."""

    def __init__(
        self,
        *,
        name: str,
        now_ns: Callable[[], int],
        rng: random.Random,
        disk: PostgresDisk,
        settings: PostgresSettings | None = None,
        asked: Counter[str] | None = None,
    ) -> None:
        """`asked` counts statements; it may outlive the process."""
        self.name = name
        self.settings = settings or PostgresSettings()
        self.not_modelled: list[str] = []
        """What came and is not modelled: the texts of statements, or what failed in a session."""
        self._now_ns = now_ns
        self._rng = rng
        self._disk = disk
        self._life = disk.take_over()
        self._engine = Engine(disk, self.settings, asked)
        self._backends: dict[int, Backend] = {}
        self._pids = 0
        self._waits = 0
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._timer_number = 0
        self._state = "down"
        if self.settings.fsync:
            disk.sync_all()  # recovery ends with a checkpoint

    @property
    def tables(self) -> Tables:
        """The tables, for checks from outside."""
        return self._engine.tables

    @property
    def engine(self) -> Engine:
        """The database, for checks from outside."""
        return self._engine

    @property
    def parameters(self) -> dict[str, str]:
        """The settings that every session is told of."""
        return PARAMETERS

    @property
    def is_ready(self) -> bool:
        """Whether recovery is over and sessions are taken."""
        return self._state == "up"

    @property
    def pids(self) -> list[int]:
        """All sessions."""
        return list(self._backends)

    @property
    def waiting_pids(self) -> list[int]:
        """Sessions that wait for another one's transaction, and are not being woken."""
        return [one.pid for one in self._backends.values() if isinstance(one.wait, Ended) and not one.woken]

    def protocol(self) -> asyncio.Protocol:
        """A new connection, for `loop.create_server`."""
        self._pids += 1
        return Backend(self, self._pids)

    def start(self) -> None:
        """Recover, then take sessions."""
        self._state = "starting up"
        self.after(self.draw(self.settings.recovery_s), self._up)

    def stop(self) -> None:
        """End the process as a kill would: no answer, no rollback, no timer is left."""
        self._state = "down"
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for backend in list(self._backends.values()):
            backend.abandon()
        self._backends.clear()

    def shut_down(self) -> None:
        """A fast shutdown: every session ends with FATAL 57P01, commits under way are kept; then `stop`."""
        self._state = "shutting down"
        for backend in list(self._backends.values()):
            backend.end(ADMINISTRATOR)
        self._disk.sync_all()
        self.stop()

    def terminate(self, pid: int) -> None:
        """`pg_terminate_backend`: end a session as an administrator does."""
        self._backends[pid].end(ADMINISTRATOR)

    def look_for_deadlock(self, pid: int) -> None:
        """What a waiting session does after `deadlock_timeout`, at a moment of the caller's choice."""
        self._backends[pid].look_for_deadlock()

    def dump(self) -> Iterable[tuple[str, Any]]:
        """Every committed row with its table's name, in the order of primary keys."""
        reader = Transaction(0)
        snapshot = self._engine.snapshot(reader)
        rows = [(name, row) for name, table in self.tables.by_name.items() for row in table.rows(snapshot)]
        self._engine.release(snapshot)
        return rows

    def check(self) -> None:
        """Raises NotModelled if anything came that is not modelled."""
        if self.not_modelled:
            raise NotModelled(f"the simulated server {self.name} does not model: {self.not_modelled}")

    # what sessions need

    def after(self, delay_s: float, action: Callable[[], None]) -> int:
        """Call the action later, unless the process ends first; answers a number to cancel it by."""
        self._timer_number += 1
        number = self._timer_number

        def fire() -> None:
            if self._timers.pop(number, None) is not None and self._disk.is_open(self._life):
                action()

        self._timers[number] = asyncio.get_running_loop().call_later(delay_s, fire)
        return number

    def cancel_timer(self, number: int) -> None:
        """Forget a timer, if it is still there."""
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()

    def draw(self, seconds: Range) -> float:
        """A duration of this range."""
        return self._rng.uniform(*seconds)

    def open(self, backend: Backend) -> Session:
        """The session of a new connection."""
        self._backends[backend.pid] = backend
        door = Door(
            greet=lambda start, password: self._greet(backend, start, password),
            wants_password=self.settings.password is not None,
            cancel=self._cancel,
            on_unknown=self._on_unknown,
        )
        return Session(self._engine, door, self._now_ns)

    def close(self, backend: Backend) -> None:
        """Forget a connection."""
        self._backends.pop(backend.pid, None)

    def make_durable(self, lsn: int, done: Callable[[], None]) -> None:
        """Sync the log up to a position, then go on; or go on at once, where the settings don't wait for it."""
        settings = self.settings
        if settings.fsync and settings.synchronous_commit:

            def synced() -> None:
                self._disk.sync(lsn)
                done()

            self.after(self.draw(settings.commit_s), synced)
            return
        later = settings.wal_writer_s if settings.fsync else settings.writeback_s
        self.after(self.draw(later), lambda: self._disk.sync(lsn))
        done()

    def count_wait(self) -> int:
        """The number of a wait that begins."""
        self._waits += 1
        return self._waits

    def wake(self) -> None:
        """Let those go on, in a drawn order, that waited for transactions which have ended."""
        if not self._engine.ended:
            return
        ended, self._engine.ended = self._engine.ended, []
        waiting = [
            backend
            for backend in self._backends.values()
            if isinstance(backend.wait, Ended) and any(backend.wait.transaction is one for one in ended)
        ]
        if waiting:
            waiting.sort(key=lambda backend: backend.waits)
            self._rng.shuffle(waiting)
            for backend in waiting:
                backend.woken = True
            self.after(self.draw(self.settings.wake_s), lambda: self._go_on(waiting))

    def _go_on(self, backends: Iterable[Backend]) -> None:
        for backend in backends:
            backend.look_again()

    def _up(self) -> None:
        self._state = "up"

    def _greet(self, backend: Backend, start: codec.StartUp, password: str | None) -> Iterable[bytes]:
        if self._state != "up":
            raise fatal("57P03", f"the database system is {self._state}")
        user = start.parameters.get("user", "")
        if password != self.settings.password or user != self.settings.user:
            raise fatal("28P01", f'password authentication failed for user "{user}"')
        if sum(one.admitted for one in self._backends.values()) >= self.settings.max_connections:
            raise fatal("53300", "sorry, too many clients already")
        for name, value in start.parameters.items():
            values = SETTABLE.get(name, ())
            if values is not None and value not in values:
                raise NotModelled(f"expected start-up parameters among {list(SETTABLE)}, got {name}={value}")
        backend.lock_timeout_s = duration_s(start.parameters.get("lock_timeout", "0"))
        backend.statement_timeout_s = duration_s(start.parameters.get("statement_timeout", "0"))
        backend.admitted = True
        backend.secret = self._rng.getrandbits(31)
        yield codec.AUTHENTICATION_OK
        told = PARAMETERS | {
            "application_name": start.parameters.get("application_name", ""),
            "session_authorization": user,
        }
        for name, value in told.items():
            yield codec.parameter_status(name, value)
        yield codec.backend_key(backend.pid, backend.secret)

    def _on_unknown(self, text: str) -> None:
        """Remember the text, and raise in the loop itself: the client gets its answer and keeps its connection."""
        self.not_modelled.append(text)
        self.after(0.0, self.check)

    def _cancel(self, request: codec.Cancel) -> None:
        backend = self._backends.get(request.pid)
        if backend is not None and backend.admitted and backend.secret == request.secret:
            backend.interrupt(ServerError("57014", "canceling statement due to user request"))
