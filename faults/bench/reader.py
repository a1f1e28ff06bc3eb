"""The receiving end, as a process of its own: many SSE connections read by plain sockets, frames counted.

It is told what to do by lines of JSON on its standard input, does one thing at a time, answers each with a line, and
ends with its input. It looks for one mark in each frame and parses nothing, so that it costs little next to what it
measures; the
relay and the baseline have the same reader.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BUFFER_BYTES = 256 * 1024
FRAME_MARK = b"\nevent: "
"""In every frame once, and nowhere else: JSON on one line has no line feed. A longer mark is found faster."""
CHUNK_END = b"\n\r\n"
"""With what a relay's write ends; so the last byte has been read."""
SENT = re.compile(rb'"sent_ns":(\d+)')
TAIL_BYTES = 40
"""Longer than either pattern."""


class ReadFailed(Exception):
    """The peer closed a connection, or what was expected did not come in time."""


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    frames: int = 0
    tail: bytes = b""
    """The last bytes, in which a pattern may have begun."""

    def has(self, frames: int) -> bool:
        """Whether so many frames have come, and nothing is left of the last write."""
        return self.frames >= frames and self.tail.endswith(CHUNK_END)


class Reader:
    """A group of connections."""

    def __init__(self) -> None:
        self._connections: dict[int, _Connection] = {}
        self._poll = select.epoll()
        self._buffer = bytearray(BUFFER_BYTES)
        self._read_bytes = 0
        self._mark = FRAME_MARK
        self._delays_ns: list[int] | None = None

    def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command and answer it. Raises ReadFailed, OSError."""
        match command.pop("do"):
            case "open":
                return self._open(**command)
            case "read":
                return self._read(**command)
            case "count":
                return self._count(**command)
            case "close":
                return self._close()
            case other:
                raise ReadFailed(f"expected open, read, count or close, got {other!r}")

    def _open(self, *, address: list[Any], requests: list[str], frames: int, timeout_s: float) -> dict[str, Any]:
        """Connect once for each request, send it, and read until each connection has so many frames."""
        started_ns = time.monotonic_ns()
        opened = []
        for request in requests:
            sock = socket.create_connection((address[0], address[1]), timeout_s)
            sock.sendall(request.encode())
            sock.setblocking(False)
            self._connections[sock.fileno()] = _Connection(sock)
            self._poll.register(sock, select.EPOLLIN)
            opened.append(sock.fileno())
        return {"started_ns": started_ns} | self._read(frames=frames, timeout_s=timeout_s, of=opened)

    def _read(
        self,
        *,
        frames: int,
        timeout_s: float,
        of: Sequence[int] | None = None,
        of_all: bool = False,
        delays: bool = False,
    ) -> dict[str, Any]:
        """Read until each connection (of these, if given), or all together, have so many frames more.

        With `delays`, also how long ago each event said that it was sent.
        """
        self._read_bytes = 0
        self._delays_ns = [] if delays else None
        goals = {number: self._connections[number].frames + frames for number in of or self._connections}
        waiting = sum(not self._connections[number].has(goal) for number, goal in goals.items())
        deadline = time.monotonic() + timeout_s
        total = 0
        while not self._has_all(total, frames) if of_all else waiting:
            ready = self._poll.poll(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ReadFailed(f"expected {frames} frames within {timeout_s} s; {total} came in all, {waiting} wait")
            for number, _ in ready:
                connection, goal = self._connections[number], goals.get(number, 0)
                was_waiting = not connection.has(goal)
                total += self._take(connection)
                waiting += (not connection.has(goal)) - was_waiting
        answer = {"at_ns": time.monotonic_ns(), "frames": total, "bytes": self._read_bytes}
        return answer if self._delays_ns is None else answer | {"delays_ns": self._delays_ns}

    def _count(self, *, mark: str) -> dict[str, Any]:
        """From now on count what has this mark, of at most TAIL_BYTES, instead of every frame."""
        self._mark = mark.encode()
        return {"mark": mark}

    def _has_all(self, total: int, frames: int) -> bool:
        return total >= frames and all(one.has(0) for one in self._connections.values())

    def _take(self, connection: _Connection) -> int:
        """Read what one connection has; answers the frames that it completed."""
        try:
            length = connection.sock.recv_into(self._buffer)
        except BlockingIOError:
            return 0
        if length == 0:
            raise ReadFailed("a connection was closed by its server")
        self._read_bytes += length
        buffer = self._buffer
        mark = self._mark
        edge = connection.tail[1 - len(mark) :] + buffer[: min(length, len(mark) - 1)]
        came = buffer.count(mark, 0, length) + edge.count(mark)
        connection.frames += came
        if self._delays_ns is None:
            connection.tail = (connection.tail + buffer[max(0, length - TAIL_BYTES) : length])[-TAIL_BYTES:]
            return came
        now_ns = time.monotonic_ns()
        text = connection.tail + buffer[:length]
        end = 0
        for found in SENT.finditer(text):
            if found.end() < len(text):  # else its digits may go on
                self._delays_ns.append(now_ns - int(found[1]))
                end = found.end()
        connection.tail = bytes(text[max(end, len(text) - TAIL_BYTES) :])
        return came

    def _close(self) -> dict[str, Any]:
        for connection in self._connections.values():
            self._poll.unregister(connection.sock)
            connection.sock.close()
        closed = len(self._connections)
        self._connections.clear()
        return {"closed": closed}


def main() -> None:
    """Serve commands until the input ends."""
    reader = Reader()
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            try:
                answer = reader.do(json.loads(line))
            except (ReadFailed, OSError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
