"""Scenes of core NATS: subscriptions, wildcards, limits of a subscription, and what the server tells of itself."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from nats.aio.msg import Msg

from tests.sim.jetstream.stage import SHORT_S, UNTIL_S, Stage


async def wildcards(at: Stage) -> None:
    """`*` stands for one word and `>` for one or more; each subscription gets its own copy."""
    heard: list[tuple[str, str]] = []

    async def listen(pattern: str) -> None:
        async def take(message: Msg) -> None:
            heard.append((pattern, message.subject))

        await at.nc.subscribe(pattern, cb=take)

    for pattern in ("w.*", "w.>", "w.a", "*.a.b", ">"):
        await listen(pattern)
    for subject in ("w.a", "w.a.b", "w", "v.a.b"):
        await at.nc.publish(subject, b"")
    await at.nc.flush()
    await asyncio.sleep(SHORT_S / 3)
    at.see(sorted(heard))


async def limited_subscription(at: Stage) -> None:
    """A subscription for two messages is over after the second."""
    subscription = await at.nc.subscribe("limited")
    await subscription.unsubscribe(limit=2)
    for number in range(4):
        await at.nc.publish("limited", str(number).encode())
    await at.nc.flush()
    await asyncio.sleep(SHORT_S / 3)
    at.see(subscription.delivered, subscription.pending_msgs)
    await at.tries(at.nc.request("limited", b"", timeout=1.0))


async def requests(at: Stage) -> None:
    """A request is answered by who listens, headers and all."""

    async def answer(message: Msg) -> None:
        await message.respond(b"you said " + message.data)

    await at.nc.subscribe("service", cb=answer)
    got = await at.nc.request("service", b"hello", timeout=UNTIL_S)
    at.see(got.data, got.headers)
    got = await at.nc.request("service", b"", headers={"A": "b"}, timeout=UNTIL_S)
    at.see(got.data, got.headers)


async def introduction(at: Stage) -> None:
    """What the server says of itself when a client connects, and once more when it has."""
    await at.nc.flush()
    info = at.nc._server_info
    assert info is not None
    at.see(info["version"], info["headers"], info["jetstream"], info["max_payload"], info["proto"])
    at.see(info.get("connect_info"), info.get("remote_account"))
    at.see(at.nc.client_id is not None, at.nc.is_connected)


async def streamed_and_heard(at: Stage) -> None:
    """A message for a stream also goes to whoever listens, with the place for its PubAck."""
    await at.make_stream()
    subscription = await at.nc.subscribe(at.subject)
    ack = await at.js.publish(at.subject, b"both")
    message = await subscription.next_msg(timeout=UNTIL_S)
    at.see(ack.seq, message.subject, message.data, bool(message.reply))
    await at.nc.publish(at.subject, b"no reply wanted")
    message = await subscription.next_msg(timeout=UNTIL_S)
    at.see(message.data, message.reply)
    async with asyncio.timeout(UNTIL_S):  # who listens may hear of it before it is stored
        while (await at.js.stream_info(at.stream)).state.messages < 2:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.002)
    await at.state()


async def introduced_twice(at: Stage) -> None:
    """On the wire: INFO, then PONG as the first answer to CONNECT and PING, then INFO once more, and not again."""
    url = urlsplit(at.nc.connected_url.geturl() if at.nc.connected_url else "")
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "protocol": 1}
    first = json.loads((await reader.readline()).partition(b" ")[2])
    at.see(first["version"], first["max_payload"], "connect_info" in first)
    writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
    at.see(await reader.readline())
    second = json.loads((await reader.readline()).partition(b" ")[2])
    at.see(second["connect_info"], second["remote_account"], second["client_id"] == first["client_id"])
    writer.write(b"PUB nobody  0\r\n\r\nPING\r\nSUB odd.>  7\r\nPUB odd.a back 2\r\nhi\r\n")
    writer.write(b"HPUB odd.b 12 13\r\nNATS/1.0\r\n\r\nx\r\n")
    for _ in range(5):
        at.see(await reader.readline())
    writer.write(b"UNSUB 7 \r\nPUB odd.a  0\r\n\r\nPUB odd.a nobody.hears 0\r\n\r\nPING\r\n")
    at.see(await reader.readline())
    at.see(await reader.readline(), "which is the server's own, some seconds after the first")
    writer.close()


async def answers_like_acks(at: Stage) -> None:
    """On the wire: a message whose answers would be taken for acks is refused, and goes nowhere."""
    url = urlsplit(at.nc.connected_url.geturl() if at.nc.connected_url else "")
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose": false, "pedantic": false, "headers": true, "protocol": 1}\r\nPING\r\n')
    at.see(await reader.readline())
    await reader.readline()
    writer.write(b"SUB odd.> 1\r\nPUB odd.a $JS.ACK.a 1\r\nx\r\nPUB odd.a $JS.ACK 1\r\ny\r\nPING\r\n")
    for _ in range(4):
        at.see(await reader.readline())
    writer.close()
