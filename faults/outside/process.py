"""A process of a stack that others started: steered by commands, and seen only by how its own address behaves.

It has no pid here. That it is gone is seen by its address refusing, that it is frozen by its address taking a
connection, or leaving it waiting, and saying nothing; that it is back by its probe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from faults.dialects import Dialect
from faults.outside.commands import Runner
from faults.outside.file import Address, Commands
from faults.probe import Experiment, Seen, look
from faults.proof import SILENCE_S
from faults.stack import ProcessFailed
from faults.stack.process import Probe, Status

READY_S = 60.0
"""Longest wait for readiness; a container takes seconds."""
GONE_S = 5.0
"""How long an address may go on answering after the command that ended its process."""
POLL_S = 0.05
PROBE_S = 3.0


@dataclass(slots=True, kw_only=True, eq=False)
class OutsideProcess:
    """One process; what it is asked to do without waiting is done by a task, which the next look waits for."""

    name: str
    address: Address
    dialect: Dialect
    probe: Probe
    commands: Commands
    runner: Runner
    url: str = ""
    """Of a relay: its base address."""
    _asked: asyncio.Task[None] | None = None
    _starts_until_s: float = field(default=0.0)
    """Until then an address that refuses may be that of a process that starts."""

    @property
    def pid(self) -> int | None:
        """None: pids of elsewhere say nothing here."""
        return None

    async def status(self) -> Status:
        """What is seen of it now, once what was asked of it is carried out. Raises ProcessFailed."""
        await self._carried_out()
        status = await self._look()
        if status == "running":
            self._starts_until_s = 0.0
        if status == "gone" and asyncio.get_running_loop().time() < self._starts_until_s:
            return "unclear"
        return status

    async def kill(self) -> None:
        """Have it killed, and wait for some time until it is gone; `status` then tells. Raises ProcessFailed."""
        await self._end(self.commands.kill)

    async def stop(self) -> None:
        """Have it stopped, and wait for some time until it is gone; `status` then tells. Raises ProcessFailed."""
        await self._end(self.commands.stop)

    def start_nowait(self) -> None:
        """Have it started; without a command that is left to whoever runs it."""
        self._starts_until_s = asyncio.get_running_loop().time() + READY_S
        if self.commands.start is not None:
            self._ask(self.commands.start)

    def pause(self) -> None:
        """Have it frozen."""
        self._ask(self.commands.pause)

    def resume(self) -> None:
        """Have it go on."""
        self._ask(self.commands.resume)

    async def wait_ready(self) -> None:
        """Wait until it serves. Raises ProcessFailed if that takes too long."""
        await self._carried_out()
        deadline, last = asyncio.get_running_loop().time() + READY_S, "it does not serve yet"
        while True:
            try:
                async with asyncio.timeout(PROBE_S):
                    if await self.probe():
                        return
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                last = repr(error)
            if asyncio.get_running_loop().time() > deadline:
                host, port = self.address
                raise ProcessFailed(
                    f"expected {self.name} to serve at {host}:{port} within {READY_S:g} s, got: {last}; "
                    f"{self.log_tail()}"
                )
            await asyncio.sleep(POLL_S)

    def log_tail(self) -> str:
        """Where its log is."""
        return "its log is where it was started"

    async def close(self) -> None:
        """End a command that is still running."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
            await asyncio.wait([asked])

    async def _end(self, argv: Sequence[str] | None) -> None:
        assert argv is not None, f"{self.name}: not playable"
        await self._carried_out()
        self._starts_until_s = 0.0
        await self.runner.run(argv)
        deadline = asyncio.get_running_loop().time() + GONE_S
        while await self._look() != "gone":
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(POLL_S)

    def _ask(self, argv: Sequence[str] | None) -> None:
        assert argv is not None, f"{self.name}: not playable"
        self._asked = asyncio.create_task(self._do(argv, self._asked), name=f"command for {self.name}")

    async def _do(self, argv: Sequence[str], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        await self.runner.run(argv)

    async def _carried_out(self) -> None:
        asked = self._asked
        if asked is not None:
            await asked
            if self._asked is asked:
                self._asked = None

    async def _look(self) -> Status:
        """In a thread, whose times are not those of a busy event loop."""
        experiment = Experiment(size_bytes=1, wait_s=SILENCE_S)
        return read(await asyncio.to_thread(lambda: asyncio.run(look(self.address, self.dialect, experiment))))


def read(seen: Seen) -> Status:
    """What a look at a process's own address says of it; pure."""
    if seen.answered_ms is not None:
        return "running"
    if seen.ended == "refused":
        return "gone"
    # Nothing at all came, and nothing ended: whoever should answer is frozen, behind a proxy of its engine or not.
    return "stopped" if seen.ended == "open" and seen.received_bytes == 0 else "unclear"
