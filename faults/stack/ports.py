"""Loopback ports that stay ours: reserved for as long as a stack lives, also while its server is down.

A port found free by binding to 0 and closing is free for others too. On Linux the reservation therefore keeps its own
socket bound, without listening and with SO_REUSEADDR, set only after the bind: a server that sets SO_REUSEADDR (NATS,
Postgres, Go and asyncio all do) can listen there, a second reservation can't have it, and no outgoing connection
gets it as its source port. The last matters most: a client that keeps dialling a dead server on an ephemeral port
would in time connect to itself. While no server listens, a client is refused, as it should be.
"""

from __future__ import annotations

import socket
import sys

LOOPBACK = "127.0.0.1"
_CAN_HOLD = sys.platform == "linux"  # BSD kernels refuse a second bind even with SO_REUSEADDR


class ReservedPort:
    """A TCP port on 127.0.0.1 that no other process is given until `release`, or the death of this process."""

    def __init__(self, number: int = 0) -> None:
        """Reserve a port of the system's choice, or this one. Raises OSError if that one is taken."""
        self._socket: socket.socket | None = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.bind((LOOPBACK, number))
        except OSError:
            self._socket.close()
            raise
        self.number: int = self._socket.getsockname()[1]
        if _CAN_HOLD:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            self.release()

    def release(self) -> None:
        """Give the port back; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
