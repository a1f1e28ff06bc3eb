"""How a probe makes each kind of server answer, without logging in and without leaving a trace; pure.

A request of n bytes or more is answered with n bytes or more, so that one probe can measure either way of a link.
"""

from __future__ import annotations

import struct
from typing import Protocol

from faults.vocabulary import Link

SIZE_BYTES_MAX = 9_000
"""Postgres reads at most 10,000 bytes before log-in."""


class Dialect(Protocol):
    """A server's language, as far as a probe speaks it."""

    def request(self, size_bytes: int) -> bytes:
        """What to send so that at least `size_bytes` travel each way; at most SIZE_BYTES_MAX are asked for."""
        ...

    def is_answered(self, request: bytes, received: bytes) -> bool:
        """Whether everything that was asked for has come."""
        ...

    def farewell(self) -> bytes:
        """What to send after the answer so that the server closes the connection."""
        ...


class NatsDialect:
    """Subscribes to a subject of its own and publishes to it: the server echoes."""

    def request(self, size_bytes: int) -> bytes:
        """CONNECT, SUB, PUB with a payload of that size, PING."""
        connect = b'CONNECT {"verbose":false,"pedantic":false,"lang":"probe","version":"1","protocol":0}\r\n'
        # Not below `mesh.`, so that no stream stores it.
        return b"%sSUB probe.echo 1\r\nPUB probe.echo %d\r\n%s\r\nPING\r\n" % (connect, size_bytes, b"x" * size_bytes)

    def is_answered(self, request: bytes, received: bytes) -> bool:
        """The PONG follows the echo."""
        return b"\r\nPONG\r\n" in received

    def farewell(self) -> bytes:
        """An unknown operation: -ERR, and closed."""
        return b"BYE\r\n"


class PostgresDialect:
    """Asks for a protocol option with a long name that no server knows: its refusal repeats the name.

    PostgreSQL documentation, Frontend/Backend Protocol: StartupMessage, NegotiateProtocolVersion.
    """

    def request(self, size_bytes: int) -> bytes:
        """A StartupMessage of protocol 3.0."""
        fields = (b"user", b"probe", b"database", b"postgres", b"_pq_." + b"x" * size_bytes, b"1")
        body = struct.pack("!i", 3 << 16) + b"".join(field + b"\0" for field in fields) + b"\0"
        return struct.pack("!i", len(body) + 4) + body

    def is_answered(self, request: bytes, received: bytes) -> bool:
        """A whole AuthenticationRequest, or an error, has come."""
        position = 0
        while position + 5 <= len(received):
            kind = received[position : position + 1]
            position += 1 + struct.unpack_from("!i", received, position + 1)[0]
            if kind in b"RE" and position <= len(received):
                return True
        return False

    def farewell(self) -> bytes:
        """A query instead of a password: FATAL, and closed."""
        return b"Q\0\0\0\x05\0"


class RedisDialect:
    """Asks for an echo, which a server without room on its disk gives, too: PING it refuses then (MISCONF)."""

    def request(self, size_bytes: int) -> bytes:
        """ECHO of so many bytes."""
        return b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (size_bytes, b"x" * size_bytes)

    def is_answered(self, request: bytes, received: bytes) -> bool:
        """The whole echo has come; a server that still reads its file answers with an error instead."""
        return received.startswith(b"$") and received.endswith(b"\r\n") and len(received) >= len(request) - 14

    def farewell(self) -> bytes:
        """QUIT: +OK, and closed."""
        return b"*1\r\n$4\r\nQUIT\r\n"


class HttpDialect:
    """Asks for `/healthz` as often as it takes, one request behind the other on one connection."""

    def request(self, size_bytes: int) -> bytes:
        """Pipelined GETs of 100 bytes; an answer has more."""
        one = b"GET /healthz HTTP/1.1\r\nHost: probe\r\nX-Probe: %s\r\n\r\n" % (b"x" * 51)
        return one * max(1, -(-size_bytes // len(one)))

    def is_answered(self, request: bytes, received: bytes) -> bool:
        """As many whole responses as requests have come."""
        wanted, position = request.count(b"GET "), 0
        while wanted:
            head, end, _ = received[position:].partition(b"\r\n\r\n")
            if not end:
                return False
            position += len(head) + 4 + _content_length(head)
            if position > len(received):
                return False
            wanted -= 1
        return True

    def farewell(self) -> bytes:
        """One more request, the last by its own word."""
        return b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def dialect_of(link: Link) -> Dialect:
    """The language of the server that a link leads to."""
    match link:
        case Link.PUBLISHER_NATS | Link.RELAY_NATS:
            return NatsDialect()
        case Link.RELAY_POSTGRES:
            return PostgresDialect()
        case Link.RELAY_REDIS:
            return RedisDialect()
        case Link.AGENT_RELAY:
            return HttpDialect()
