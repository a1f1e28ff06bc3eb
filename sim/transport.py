"""What a simulated process holds of a connection: an asyncio transport with a selector loop's manners."""

from __future__ import annotations

import asyncio
import socket
from asyncio import transports
from typing import TYPE_CHECKING, Any

from sim.errors import NotModelled
from sim.tcp import End

if TYPE_CHECKING:
    from sim.loop import HostLoop

READ_BYTES_MAX = 256 * 1024
"""What asyncio reads at once."""


KEEPALIVE = tuple(
    (socket.IPPROTO_TCP, getattr(socket, name)) for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
)
"""When the kernel asks an idle connection's other side for a sign of life: never here, which is the harsher."""


class FakeSocket:
    """What libraries ask of a socket beside its bytes: its family, its names, its options."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, end: End | None, address: tuple[str, int]) -> None:
        self._end = end
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        """The local address."""
        return self._address

    def getpeername(self) -> tuple[str, int]:
        """The remote address."""
        if self._end is None or self._end.peer is None:
            raise OSError(107, "Transport endpoint is not connected")
        return self._end.peer.address

    def fileno(self) -> int:
        """There is none."""
        return -1

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """TCP_USER_TIMEOUT counts; options that change no behaviour here are taken."""
        if (level, option) == (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", 18)):
            assert self._end is not None
            self._end.give_up_ns = int(value) * 1_000_000
        elif (level, option) not in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            *KEEPALIVE,
        ):
            raise NotModelled(f"expected no socket option {level}/{option}; the simulated kernel does not know it")


class SimSocket:
    """A socket that a program makes for itself: connected by its loop's `sock_connect`, then handed to
    `create_connection`.
    """

    def __init__(self, family: int, kind: int, proto: int, *, number: int) -> None:
        """`number` is its place in sets: one of its loop's."""
        if (family, kind) != (socket.AF_INET, socket.SOCK_STREAM) or proto not in (0, socket.IPPROTO_TCP):
            raise NotModelled(f"expected a socket of TCP over IPv4, got family {family}, type {kind}, protocol {proto}")
        self.family, self.type, self.proto = family, kind, proto
        self._number = number
        self._end: End | None = None
        self._is_closed = False

    def __hash__(self) -> int:
        return self._number

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""
        if flag:
            raise NotModelled("expected a socket that does not block; a simulated process can't wait in its kernel")

    def connected(self, end: End) -> None:
        """Its loop has connected it; what was closed meanwhile stays closed."""
        if self._is_closed:
            end.close()
        else:
            self._end = end

    def hand_on(self) -> End:
        """Its connection, to whoever makes a transport of it. Raises OSError (ENOTCONN)."""
        if self._end is None:
            raise OSError(107, "Transport endpoint is not connected")
        end, self._end = self._end, None
        return end

    def close(self) -> None:
        """Close the connection, unless it was handed on."""
        self._is_closed = True
        if self._end is not None:
            self._end.close()
            self._end = None


class SimTransport(transports._FlowControlMixin, transports.Transport):
    """One connection as asyncio shows it."""

    def __init__(self, loop: HostLoop, end: End, protocol: asyncio.BaseProtocol) -> None:
        extra = {
            "peername": end.other.address,
            "sockname": end.address,
            "socket": FakeSocket(end, end.address),
        }
        super().__init__(extra, loop)
        self._loop = loop
        self._end = end
        self.set_protocol(protocol)
        self._buffer = bytearray()
        self._is_reading = False
        self._is_closing = False
        self._is_lost = False
        self._eof_wanted = False
        self._reading_planned = False
        self._writing_planned = False
        end.owner = self

    # The kernel's side (tcp.Owner)

    def readable(self) -> None:
        """Plan a read in one of the loop's next turns."""
        if self._is_reading and not self._is_closing and not self._reading_planned:
            self._reading_planned = True
            self._loop.call_soon(self._read_ready)

    def writable(self) -> None:
        """Plan a write of what is buffered."""
        if self._buffer and not self._writing_planned:
            self._writing_planned = True
            self._loop.call_soon(self._write_ready)

    def failed(self, error: OSError) -> None:
        """A reset or timeout: noticed while reading or writing, as by a selector; else at the next of either."""
        if self._is_reading:
            self.readable()
        elif self._buffer:
            self.writable()

    # asyncio's side

    def begin_reading(self) -> None:
        """After `connection_made`, as asyncio does; unless the protocol has paused it there."""
        if not self._is_closing and not self._paused_before_start:
            self._is_reading = True
            self._look()

    _paused_before_start = False

    def _look(self) -> None:
        if self._end.unread or self._end.at_eof or self._end.error is not None:
            self.readable()

    def _read_ready(self) -> None:
        self._reading_planned = False
        if not self._is_reading or self._is_closing:
            return
        end = self._end
        if end.error is not None and not end.unread:
            self._force_close(end.error)
            return
        data = end.read(READ_BYTES_MAX)
        if data:
            self._protocol.data_received(data)  # type: ignore[attr-defined]
            self._look()
        elif end.at_eof:
            self._is_reading = False
            if not self._protocol.eof_received():  # type: ignore[attr-defined]
                self.close()

    def _write_ready(self) -> None:
        self._writing_planned = False
        if self._is_lost or not self._buffer:
            return
        if self._end.error is not None:
            self._force_close(self._end.error)
            return
        self._push()
        self._maybe_resume_protocol()  # type: ignore[attr-defined]
        if not self._buffer:
            if self._is_closing:
                self._lose(None)
            elif self._eof_wanted:
                self._end.out.finish()

    def _push(self) -> None:
        room = min(self._end.room(), len(self._buffer))
        if room:
            piece = bytes(self._buffer[:room])
            del self._buffer[:room]
            self._end.out.send(piece)

    def write(self, data: Any) -> None:
        """Send what the kernel takes, keep the rest."""
        if self._eof_wanted:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._is_lost:
            return
        if self._end.error is not None and not self._buffer:
            self._force_close(self._end.error)
            return
        if not self._buffer and len(data) <= self._end.room():
            self._end.out.send(bytes(data))  # a copy: asyncpg writes from a live buffer
            return
        self._buffer += data
        if len(self._buffer) == len(data):
            self._push()
        if self._buffer:
            self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def writelines(self, list_of_data: Any) -> None:
        """As one write."""
        self.write(b"".join(bytes(piece) for piece in list_of_data))

    def write_eof(self) -> None:
        """Close the writing half once everything is sent."""
        if not self._eof_wanted and not self._is_closing:
            self._eof_wanted = True
            if not self._buffer:
                self._end.out.finish()

    def can_write_eof(self) -> bool:
        """Yes, as TCP can."""
        return True

    def is_closing(self) -> bool:
        """Whether it is closing or closed."""
        return self._is_closing

    def close(self) -> None:
        """Stop reading, send what is buffered, then end."""
        if self._is_closing:
            return
        self._is_closing, self._is_reading = True, False
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        """End at once; what is buffered is lost."""
        self._force_close(None)

    def is_reading(self) -> bool:
        """Whether bytes are handed on."""
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        self._is_reading, self._paused_before_start = False, True

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._look()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand on to another protocol from now on."""
        if isinstance(protocol, asyncio.BufferedProtocol):
            raise NotModelled("expected a streaming protocol, got a BufferedProtocol")
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken."""
        return len(self._buffer)

    def _force_close(self, error: OSError | None) -> None:
        if self._is_lost:
            return
        self._buffer.clear()
        self._is_closing, self._is_reading = True, False
        self._lose(error)

    def _lose(self, error: OSError | None) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: OSError | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._end.close()
