"""One connection of the simulated server: feeds its session, and resumes it when what it waits for has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from sim.postgres import codec
from sim.postgres.engine import waits_for_itself
from sim.postgres.errors import ServerError
from sim.postgres.session import Session
from sim.postgres.settings import PostgresSettings, Range
from sim.postgres.waits import Durable, Ended, Received, Wait, Waiting, Worked


class Host(Protocol):
    """What a connection needs of its server."""

    settings: PostgresSettings
    not_modelled: list[str]

    def after(self, delay_s: float, action: Callable[[], None]) -> int:
        """Call the action later; answers a number to cancel it by."""

    def cancel_timer(self, number: int) -> None:
        """Forget a timer."""

    def draw(self, seconds: Range) -> float:
        """A duration of this range."""

    def open(self, backend: Backend) -> Session:
        """The session of a new connection."""

    def close(self, backend: Backend) -> None:
        """Forget a connection."""

    def make_durable(self, lsn: int, done: Callable[[], None]) -> None:
        """Go on when the log is durable up to this position, if the settings wait for it."""

    def count_wait(self) -> int:
        """The number of a wait that begins."""

    def wake(self) -> None:
        """Let those go on that waited for transactions which have ended."""


class Backend(asyncio.Protocol):
    """One connection: feeds its session, and resumes it when what it waits for has come."""

    def __init__(self, server: Host, pid: int) -> None:
        self.pid = pid
        self.secret = 0
        self.admitted = False
        self.lock_timeout_s = 0.0
        self.statement_timeout_s = 0.0
        """Of the session, as it asked at its start; 0: none."""
        self.wait: Wait | None = None
        self.waits = 0
        """Rises with every wait of the server for a transaction: who has waited longest has the lowest."""
        self.woken = False
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._work: Waiting[None] | None = None
        self._timer = 0
        self._lock_timer = 0
        self._statement_timer = 0
        self._paused = False
        self._stepping = False
        self._gone = False

    # from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._session = self._server.open(self)
        self._work = self._session.main()
        self._resume()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._session is None or self._work is None:
            return
        self._session.feed(data)
        if isinstance(self.wait, Received) and not self._paused:
            self._resume()

    def pause_writing(self) -> None:
        """The client does not read: no further message is looked at."""
        self._paused = True

    def resume_writing(self) -> None:
        """The client reads again."""
        self._paused = False
        if isinstance(self.wait, Received):
            self._resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; a statement under way goes on: the server does not look at the socket while it works."""
        self._gone = True
        if isinstance(self.wait, Received):
            self._finish()

    # from the server

    def interrupt(self, error: ServerError) -> None:
        """Fail the statement that is under way, if any; a commit can't be interrupted."""
        if isinstance(self.wait, Worked | Ended):
            self._clear_wait()
            self._resume(error)

    def look_again(self) -> None:
        """What the session waited for has ended, as far as it goes."""
        if isinstance(self.wait, Ended):
            self._clear_wait()
            self._resume()

    def look_for_deadlock(self) -> None:
        """Fail the statement if it waits, over others, for itself."""
        transaction = None if self._session is None else self._session.transaction
        if transaction is not None and waits_for_itself(transaction):
            self.interrupt(ServerError("40P01", "deadlock detected"))

    def end(self, error: ServerError) -> None:
        """End the session with a FATAL error; a written commit stands."""
        if isinstance(self.wait, Durable):
            self._clear_wait()
            self._resume()
        if self._work is not None and self._transport is not None and self.admitted:
            self._transport.write(codec.error_response(error.fields()))
        self._finish()

    def abandon(self) -> None:
        """The process is dead: nothing is undone, for nothing is left to undo it in."""
        self._work = self._session = self.wait = None
        if self._transport is not None:
            self._transport.abort()

    # stepping

    def _resume(self, error: ServerError | None = None) -> None:
        """Run the session until it waits again."""
        work, session = self._work, self._session
        assert work is not None
        assert session is not None
        assert not self._stepping, "one step at a time"
        self._stepping = True
        self.wait = None
        try:
            wait = next(work) if error is None else work.throw(error)
        except StopIteration:
            self._stepping = False
            self._send(session.take_output())
            self._finish()
            return
        except BaseException as error:
            self._stepping = False
            self._server.not_modelled.append(str(error))
            self._send(session.take_output())
            self._finish()
            raise
        self._stepping = False
        self._send(session.take_output())
        self._arrange(wait, session)
        self._server.wake()

    def _arrange(self, wait: Wait, session: Session) -> None:
        """Have the session resumed when what it waits for has come."""
        self.wait = wait
        if self.statement_timeout_s:
            self._limit_statement(isinstance(wait, Worked | Ended))
        match wait:
            case Received():
                if self._gone:
                    self._finish()
            case Worked():
                self._timer = self._server.after(self._server.draw(self._server.settings.statement_s), self._resume)
            case Durable(lsn):
                self._server.make_durable(lsn, self._committed)
            case Ended(other):
                assert session.transaction is not None
                session.transaction.waits_for = other
                self.woken = False
                self.waits = self._server.count_wait()
                self._timer = self._server.after(self._server.settings.deadlock_timeout_s, self.look_for_deadlock)
                if self.lock_timeout_s:
                    late = ServerError("55P03", "canceling statement due to lock timeout")
                    self._lock_timer = self._server.after(self.lock_timeout_s, lambda: self.interrupt(late))

    def _committed(self) -> None:
        if isinstance(self.wait, Durable):
            self._resume()

    def _limit_statement(self, is_busy: bool) -> None:
        """Let the time limit run while a statement does; a commit has none."""
        if not is_busy:
            self._server.cancel_timer(self._statement_timer)
            self._statement_timer = 0
        elif self.statement_timeout_s and not self._statement_timer:
            late = ServerError("57014", "canceling statement due to statement timeout")
            self._statement_timer = self._server.after(self.statement_timeout_s, lambda: self.interrupt(late))

    def _clear_wait(self) -> None:
        self._server.cancel_timer(self._timer)
        self._server.cancel_timer(self._lock_timer)
        if self._session is not None and self._session.transaction is not None:
            self._session.transaction.waits_for = None

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None and not self._gone:
            self._transport.write(data)

    def _finish(self) -> None:
        """The session is over: roll back what is open, tell those that wait for it, and hang up."""
        work, self._work = self._work, None
        if work is None:
            return
        self._clear_wait()
        self._limit_statement(False)
        work.close()
        self.wait = self._session = None
        self._server.close(self)
        if self._transport is not None:
            self._transport.close()
        self._server.wake()
