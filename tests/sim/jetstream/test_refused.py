"""What the simulated NATS server does not model fails loudly, by its name."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from sim.errors import NotModelled
from sim.jetstream.api import Api
from sim.jetstream.connection import Connection
from sim.jetstream.disk import NatsDisk
from sim.jetstream.server import NatsServer


class Wire(asyncio.Transport):
    """Takes what the server writes, and loses it."""

    def write(self, data: Any) -> None:
        """Lost."""


async def test_unmodelled_events_are_refused_by_name() -> None:
    """Who listens for an event that never comes would wait in silence."""
    server = NatsServer(name="nats", now_ns=lambda: 0, rng=random.Random(1), disk=NatsDisk())
    connection = Connection(server, 1)
    connection.connection_made(Wire())
    connection.data_received(b"SUB $JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.> 1\r\n")
    with pytest.raises(NotModelled, match="MSG_NAKED"):
        connection.data_received(b"SUB $JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.> 2\r\n")
    connection.connection_lost(None)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"max_deliver": 3, "ack_policy": "all"}, "limit of deliveries"),
        ({"ack_policy": "explicit", "rate_limit_bps": 1}, "rate_limit_bps"),
        ({"ack_policy": "none"}, "in the memory of one server"),
    ],
)
def test_unmodelled_settings_of_a_consumer_are_refused_by_name(config: dict[str, Any], named: str) -> None:
    """A setting that the model would ignore says which it is."""
    api = Api(NatsDisk(), lambda _: None, lambda _: None, draw=lambda: 0.5)
    api.answer("$JS.API.STREAM.CREATE.S", b'{"name": "S", "subjects": ["s"]}', 0)
    asked = {"config": {"durable_name": "c", **config}}
    with pytest.raises(NotModelled, match=named):
        api.answer("$JS.API.CONSUMER.CREATE.S.c", json.dumps(asked).encode(), 0)


def test_unmodelled_headers_are_refused_by_name() -> None:
    """A header of the server's own that the model would pass over says which it is."""
    disk = NatsDisk()
    api = Api(disk, lambda _: None, lambda _: None, draw=lambda: 0.5)
    api.answer("$JS.API.STREAM.CREATE.S", b'{"name": "S", "subjects": ["s"]}', 0)
    with pytest.raises(NotModelled, match="Nats-Rollup"):
        disk.streams["S"].publish("s", b"NATS/1.0\r\nNats-Rollup: all\r\n\r\n", b"x", 0)
    disk.streams["S"].publish("s", b"NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n", b"x", 0)
    assert disk.streams["S"].last_seq == 1


def test_an_ack_that_asks_for_more_is_refused_by_name() -> None:
    """It was taken for a plain ack, and whoever waited for the next message heard nothing."""
    disk = NatsDisk()
    api = Api(disk, lambda _: None, lambda _: None, draw=lambda: 0.5)
    api.answer("$JS.API.STREAM.CREATE.S", b'{"name": "S", "subjects": ["s"]}', 0)
    api.answer("$JS.API.CONSUMER.CREATE.S.c", b'{"config": {"durable_name": "c", "ack_policy": "explicit"}}', 0)
    with pytest.raises(NotModelled, match="next message"):
        disk.consumers["S", "c"].ack(1, 1, b"+NXT", 0)
