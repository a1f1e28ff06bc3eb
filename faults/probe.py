"""One connection that asks a server for an answer and takes the times. It draws no conclusion; `proof.py` does."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from faults.dialects import Dialect

RECEIVED_BYTES_MAX = 1024 * 1024
"""A hundred times what is asked for; more is a server that does not speak the dialect."""


class Ending(enum.StrEnum):
    """Who ends the connection once the answer is there."""

    NONE = "none"
    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What a probe is to do."""

    size_bytes: int
    """To travel each way at least."""
    ending: Ending = Ending.NONE
    wait_s: float
    """How long to watch the connection at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a probe saw; times in ms since it began to connect, None if it did not happen."""

    sent_bytes: int = 0
    received_bytes: int = 0
    connected_ms: float | None = None
    answered_ms: float | None = None
    """The whole answer was there."""
    asked_to_end_ms: float | None = None
    ended_ms: float | None = None
    ended: Literal["open", "eof", "reset", "refused"] = "open"
    """How the connection was when the probe turned away."""


async def look(address: tuple[str, int], dialect: Dialect, experiment: Experiment) -> Seen:
    """Connect, ask, and watch until the experiment is over; what goes wrong is part of what is seen."""
    watch = _Watch(dialect, experiment)
    try:
        async with asyncio.timeout(experiment.wait_s):
            await watch.run(address)
    except TimeoutError:
        pass  # still open: the silence is the observation
    except ConnectionRefusedError:
        watch.end("refused")
    except OSError:  # ConnectionResetError, BrokenPipeError, and their platform-specific relatives
        watch.end("reset")
    finally:
        watch.abort()
    return watch.seen()


class _Watch:
    """A probe's connection and what was seen of it so far."""

    def __init__(self, dialect: Dialect, experiment: Experiment) -> None:
        self._dialect = dialect
        self._experiment = experiment
        self._now: Callable[[], float] = asyncio.get_running_loop().time
        self._began = self._now()
        self._writer: asyncio.StreamWriter | None = None
        self._sent_bytes = 0
        self._received = b""
        self._times_ms: dict[str, float] = {}
        self._ended: Literal["open", "eof", "reset", "refused"] = "open"

    async def run(self, address: tuple[str, int]) -> None:
        reader, self._writer = await asyncio.open_connection(*address)
        self._stamp("connected_ms")
        request = self._dialect.request(self._experiment.size_bytes)
        self._send(request)
        while True:
            chunk = await reader.read(65536)
            if not chunk:
                self.end("eof")
                return
            self._received += chunk
            if len(self._received) > RECEIVED_BYTES_MAX:
                return
            if "answered_ms" not in self._times_ms and self._dialect.is_answered(request, self._received):
                self._stamp("answered_ms")
                if self._experiment.ending is Ending.NONE:
                    return
                self._ask_to_end(self._writer)

    def _send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)
        self._sent_bytes += len(data)

    def _ask_to_end(self, writer: asyncio.StreamWriter) -> None:
        self._stamp("asked_to_end_ms")
        if self._experiment.ending is Ending.SERVER:
            self._send(self._dialect.farewell())
        else:
            writer.write_eof()

    def end(self, how: Literal["eof", "reset", "refused"]) -> None:
        self._ended = how
        self._stamp("ended_ms")

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    def _stamp(self, name: str) -> None:
        self._times_ms[name] = round((self._now() - self._began) * 1000, 3)

    def seen(self) -> Seen:
        return Seen(
            sent_bytes=self._sent_bytes, received_bytes=len(self._received), ended=self._ended, **self._times_ms
        )
