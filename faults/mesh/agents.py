"""An agent's client on the real stack: woken, put to sleep, crashed and frozen, each life in a process of its own.

What is known of it here is what its part of the history says; nothing else passes from its process to this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from faults.mesh.births import Births, Child
from faults.mesh.life import FAILED, Life
from faults.plan import Agent
from faults.recorder import Recorder
from faults.schedule import What
from faults.stack import ProcessFailed
from faults.stack.process import Status, status_of
from reports import history
from reports.parts import trim
from system.cursor import Cursor

CRASH_DOWN_S = 0.2
"""Between a crash and the next life."""
FAILED_DOWN_S = 1.0
"""Between the end of a life that the client itself gave up and the next one."""
FAILURES_MAX = 100
"""Noted failures of the client; each is a finding, and more of them say nothing new."""
ALIVE_S = 10.0
"""How long an agent that is to be hit may take to be alive; it is between two lives for a second at most."""
POLL_S = 0.02

LifeOf = Callable[[Agent, int], Life]
"""All that the next life of a client needs to know, by its number."""


class _Seen(msgspec.Struct):
    """What is read here of a record."""

    kind: str
    conn: str | None = None
    cursor: str | None = None


class Follower:
    """Reads what is new in a client's part of the history."""

    def __init__(self, part: Path) -> None:
        self.saved_seq = 0
        """The sequence of the cursor that was saved last: everything up to it has been handled."""
        self.saved_epoch = ""
        """The epoch of that cursor: of another one, its sequence says nothing."""
        self.delivered = 0
        self.conn: str | None = None
        """The connection that is tried or open."""
        self._part = part
        self._read_bytes = 0
        self._decode = msgspec.json.Decoder(_Seen).decode

    def forget(self) -> None:
        """The cursor is lost: what was handled counts for nothing until one is saved again."""
        self.saved_seq, self.saved_epoch = 0, ""

    def read(self) -> None:
        """Take in every whole line that was added."""
        if not self._part.exists():
            return
        with self._part.open("rb") as file:
            file.seek(self._read_bytes)
            lines = file.read().splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            self._read_bytes += len(line)
            self._take(self._decode(line))

    def _take(self, seen: _Seen) -> None:
        match seen.kind:
            case "deliver":
                self.delivered += 1
            case "saved":
                place = Cursor.parse(seen.cursor or "")
                self.saved_seq, self.saved_epoch = place.seq, place.epoch
            case "connect":
                self.conn = seen.conn
            case "disconnect":
                self.conn = None


class MeshAgent:
    """One client: takes orders, keeps a life running while it is awake, and tells what became of its lives.

    It can be steered as a process of the stack: killed, frozen, stopped and started again.
    """

    def __init__(self, agent: Agent, *, part: Path, births: Births, life_of: LifeOf, recorder: Recorder) -> None:
        self.name = agent.name
        self.is_awake = False
        self.failures: list[str] = []
        """What ended lives that nobody wanted to end."""
        self.seen = Follower(part)
        self._agent = agent
        self._part = part
        self._births = births
        self._life_of = life_of
        self._recorder = recorder
        self._orders: asyncio.Queue[What] = asyncio.Queue()
        self._lives = 0
        self._child: Child | None = None
        self._has_lost = False
        """A crash has taken its cursor with it."""
        self._living_task: asyncio.Task[None] | None = None
        self._is_free = asyncio.Event()
        """Clear while a fault keeps it down."""
        self._is_free.set()

    @property
    def pid(self) -> int | None:
        """Its living process; None between two lives and while it sleeps."""
        return None if self._child is None else self._child.pid

    def order(self, what: What) -> None:
        """Wake, sleep or crash; carried out in order, as soon as the last order is."""
        self._orders.put_nowait(what)

    def failed(self) -> BaseException | None:
        """What ended the running of lives itself, which is a bug here or the nursery's end."""
        living = self._living_task
        return living.exception() if living is not None and living.done() and not living.cancelled() else None

    async def run(self) -> None:
        """Carry out orders until cancelled; its process then ends with the nursery."""
        try:
            while True:
                what = await self._orders.get()
                if what is What.WAKE and self._living_task is None:
                    self.is_awake = True
                    self._living_task = asyncio.create_task(self._live(), name=f"agent {self.name}")
                elif what is What.SLEEP and self._living_task is not None:
                    self.is_awake = False
                    self._is_free.set()
                    if self._child is not None:
                        self._child.stop()
                    await self._living_task
                    self._living_task = None
                elif what is What.CRASH and self._child is not None:
                    self._has_lost = self._agent.forgets
                    self._child.kill()
        finally:
            if self._living_task is not None:
                self._living_task.cancel()
                await asyncio.wait([self._living_task])

    async def _live(self) -> None:
        """Lives, one after the other, until it is to sleep."""
        while self.is_awake:
            code = await self._one_life()
            if self.is_awake:
                await asyncio.sleep(FAILED_DOWN_S if code == FAILED else CRASH_DOWN_S)
                await self._is_free.wait()

    async def _one_life(self) -> int:
        trim(self._part)
        self._lives += 1
        life = self._life_of(self._agent, self._lives)
        self._child = child = await self._births.begin(life)
        if not self.is_awake:
            child.stop()  # the order to sleep came while it was born
        self._recorder.record(history.Process, name=self.name, what="started", pid=child.pid)
        code = await child.ended
        self._child = None
        self._ended(life, child.pid, code)
        return code

    def _ended(self, life: Life, pid: int, code: int) -> None:
        """Write down what a process can't write of its own end, and take from it what its crash takes."""
        self.seen.read()
        if self.seen.conn is not None:
            self._recorder.record(history.Disconnect, agent=self.name, conn=self.seen.conn, why=_how(code))
            self.seen.conn = None
        what = "killed" if code == -9 else "exited"
        self._recorder.record(history.Process, name=self.name, what=what, pid=pid)
        if code not in (0, -9, -15) and len(self.failures) < FAILURES_MAX:
            told = Path(life.failure)
            self.failures.append(told.read_text() if told.exists() else f"its process ended with code {code}")
        if self._has_lost:
            self._has_lost = False
            Path(life.cursor).unlink(missing_ok=True)
            self.seen.forget()

    # Steered as a process, by faults

    async def wait_ready(self) -> None:
        """Wait until it lives, unless it is to sleep. Raises ProcessFailed."""
        deadline = asyncio.get_running_loop().time() + ALIVE_S
        while self._child is None and self.is_awake:
            if asyncio.get_running_loop().time() > deadline:
                raise ProcessFailed(f"expected agent {self.name} to live within {ALIVE_S:g} s; see agents.log")
            await asyncio.sleep(POLL_S)

    async def kill(self) -> int:
        """SIGKILL its process, and keep it down until `start_nowait`; answers its code. Raises ProcessFailed."""
        child = self._living()
        self._is_free.clear()
        child.kill()
        return await child.ended

    async def stop(self) -> int:
        """Ask its process to end, and keep it down until `start_nowait`; answers its code. Raises ProcessFailed."""
        child = self._living()
        self._is_free.clear()
        child.stop()
        return await child.ended

    def start_nowait(self) -> None:
        """Let it live again, unless it is to sleep."""
        self._is_free.set()

    async def status(self) -> Status:
        """What is seen of its process now."""
        return status_of(self.pid)

    def pause(self) -> None:
        """SIGSTOP its process. Raises ProcessFailed."""
        self._living().pause()

    def resume(self) -> None:
        """SIGCONT its process, if it has one still."""
        if self._child is not None:
            self._child.resume()

    def _living(self) -> Child:
        if self._child is None:
            raise ProcessFailed(f"expected agent {self.name} to live, but it has no process now")
        return self._child


def _how(code: int) -> str:
    return "crashed" if code == -9 else f"its process ended with code {code}"
