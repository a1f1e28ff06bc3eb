"""What the simulated NATS server does not model fails loudly, by its name."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sim.errors import NotModelled
from sim.jetstream.connection import Connection
from sim.jetstream.disk import NatsDisk
from sim.jetstream.server import NatsServer


class Wire(asyncio.Transport):
    """Takes what the server writes, and loses it."""

    def write(self, data: Any) -> None:
        """Lost."""


async def test_a_verbose_client_is_refused_by_name() -> None:
    """Its +OK after each command was left out without a word."""
    server = NatsServer(name="nats", now_ns=lambda: 0, rng=random.Random(1), disk=NatsDisk())
    connection = Connection(server, 1)
    connection.connection_made(Wire())
    connection.data_received(b'CONNECT {"verbose": false}\r\n')
    with pytest.raises(NotModelled, match="not verbose"):
        connection.data_received(b'CONNECT {"verbose": true}\r\n')
    connection.connection_lost(None)
