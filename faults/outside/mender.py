"""The mender: a small process that leaves a stack of others as it was found, once the run that plays on it is over.

When the pipe from its owner closes, for whatever reason (a normal end, an exception, Ctrl-C, SIGKILL), it heals the
proxies, lets go on what is frozen, starts what is gone, and then runs the stack's `down`, if it has one. One path
serves every way to end. It is no child of the watchdog, which would end it after seconds; `down` may take a minute.

    owner ── the stack file ─▶ mender        (before `up`)
          ── "playing" ──────▶               (what is not as it should be from now on is to be mended)
          ── end of file ────▶               code 0, or 1 with the problems on standard error
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from faults.outside.commands import Runner
from faults.outside.file import StackFile
from faults.outside.process import READY_S, OutsideProcess
from faults.outside.processes import processes_of
from faults.stack import StackError
from faults.stack.watchdog import requests
from faults.toxiproxy import CALL_S, Route, Toxiproxy, ToxiproxyFailed

PLAYING = b"playing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """The owner's side of a mender."""

    process: subprocess.Popen[bytes]
    stack: StackFile

    def playing(self) -> None:
        """From now on there may be something to mend."""
        assert self.process.stdin is not None
        self.process.stdin.write(PLAYING + b"\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Have it mend, and wait until it has. Raises StackError with what could not be mended."""
        limit_s = self.stack.up_within_s + 4 * (2 * self.stack.command_within_s + READY_S) + 20 * CALL_S
        try:
            _, told = self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise StackError(f"expected the stack to be left as it was found within {limit_s:.0f} s") from None
        if self.process.returncode != 0:
            raise StackError(f"the stack could not be left as it was found: {told.decode(errors='replace').strip()}")


@contextmanager
def mending(stack: StackFile) -> Iterator[Mending]:
    """A mender for the length of a `with`. Raises StackError at its end with what could not be mended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "faults.outside.mender"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # it must outlive a Ctrl-C that ends its owner
    )
    one = Mending(process=process, stack=stack)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(stack) + b"\n")
    process.stdin.flush()
    try:
        yield one
    except (StackError, ToxiproxyFailed, OSError) as error:
        try:
            one.end()
        except StackError as left:
            raise StackError(f"{error}; and afterwards {left}") from error
        raise
    except BaseException:
        one.end()
        raise
    one.end()


def main(owner_pid: int) -> int:
    """Wait until the owner is gone, then mend; the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    stack, is_playing = None, False
    for line in requests(owner_pid):
        if stack is None and line:
            stack = msgspec.json.decode(line, type=StackFile)
        elif line == PLAYING:
            is_playing = True
    problems = [] if stack is None else asyncio.run(mend(stack, is_playing=is_playing))
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


async def mend(stack: StackFile, *, is_playing: bool) -> list[str]:
    """Leave a stack as it was found; what could not be done, empty if all was."""
    problems: list[str] = []
    if is_playing:
        await _attempt(_heal(stack), problems)
        for process in processes_of(stack).values():
            await _attempt(_revive(process, stack), problems)
    if stack.down is not None:
        await _attempt(Runner(stack=stack).run(stack.down, within_s=stack.up_within_s), problems)
    if stack.settings_path is not None:
        stack.settings_path.unlink(missing_ok=True)
    return problems


async def _attempt(step: Awaitable[object], problems: list[str]) -> None:
    """One step; if it fails, the next ones are taken all the same."""
    try:
        await step
    except (StackError, ToxiproxyFailed, OSError) as error:
        problems.append(str(error))


async def _heal(stack: StackFile) -> None:
    nowhere = ("", 0)  # to heal a proxy takes its name alone
    routes = [Route(name=name, listen=nowhere, upstream=nowhere) for name in stack.proxies]
    await Toxiproxy(stack.toxiproxy_address).heal(routes)


async def _revive(process: OutsideProcess, stack: StackFile) -> None:
    status = await process.status()
    if status == "stopped" and process.commands.resume is not None:
        process.resume()
    elif status == "gone" and process.commands.start is not None and stack.down is None:
        process.start_nowait()
    if stack.down is None:
        await process.wait_ready()


if __name__ == "__main__":
    import os

    raise SystemExit(main(os.getppid()))
