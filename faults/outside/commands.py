"""Runs a stack file's commands: without a shell, within a limit, with their output kept for the error message."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from faults.outside.file import StackFile
from faults.stack import PartUnavailable, ProcessFailed

OUTPUT_BYTES = 2000
"""How much of its output an error tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Runs the commands of one stack."""

    stack: StackFile

    async def run(self, argv: Sequence[str], *, within_s: float | None = None) -> str:
        """Run a command to its end and return what it printed. Raises ProcessFailed unless it succeeds in time."""
        limit_s = self.stack.command_within_s if within_s is None else within_s
        words = " ".join(argv)
        # A file, not a pipe: a command may leave a server behind that holds its output open.
        with tempfile.TemporaryFile() as output:
            try:
                code = await self._code(argv, output, limit_s)
            except TimeoutError:
                raise ProcessFailed(f"expected `{words}` to end within {limit_s:g} s; {_tail(output)}") from None
            except OSError as error:
                raise ProcessFailed(f"expected to run `{words}`, got {error}") from None
            if code != 0:
                raise ProcessFailed(f"expected `{words}` to succeed, got code {code}; {_tail(output)}")
            output.seek(0)
            return output.read().decode(errors="replace")

    async def check_needs(self) -> None:
        """Look whether all programs are there. Raises PartUnavailable for the first that is not."""
        for need in self.stack.needs:
            try:
                await self.run(need.command)
            except ProcessFailed:
                raise PartUnavailable(f"`{' '.join(need.command)}`", need.install) from None

    async def _code(self, argv: Sequence[str], output: IO[bytes], limit_s: float) -> int:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=self.stack.folder,
            env=os.environ | self.stack.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is for us: what is begun here is ended here
        )
        try:
            async with asyncio.timeout(limit_s):
                return await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_BYTES))
    told = output.read().decode(errors="replace").strip()
    return f"the end of its output:\n{told}" if told else "it printed nothing"
