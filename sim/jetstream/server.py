"""The simulated NATS server: connections, subscriptions and timers around JetStream's models."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any, cast

from sim.jetstream import codec
from sim.jetstream.api import Api
from sim.jetstream.consumer import Consumer, Sending
from sim.jetstream.disk import NatsDisk
from sim.jetstream.stream import Stream

VERSION = "2.15.1"
MAX_PAYLOAD = 1024 * 1024
FLUSH_S = 0.1
"""A consumer's state is written at most so often."""
SYNC_S = 120.0
"""How often everything is synced, unless always."""
STORE_S = (0.000_05, 0.002)
"""How long a synced store takes."""
API = "$JS.API."
ACK = "$JS.ACK."
PULL = "$JS.API.CONSUMER.MSG.NEXT."


class NatsServer:
    """One life of the server process; the next one is made of the same disk."""

    def __init__(
        self, *, name: str, now_ns: Callable[[], int], rng: random.Random, disk: NatsDisk, sync_always: bool = True
    ) -> None:
        self._name = name
        self._now_ns = now_ns
        self._rng = rng
        self._disk = disk
        self._sync_always = sync_always
        self._api = Api(disk, self._consumer_gone)
        self._connections: dict[int, _Connection] = {}
        self._served = 0
        self._stored_at = 0.0
        self._wakes: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._is_flush_planned = False
        disk.restart(now_ns())

    def protocol(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        self._served += 1
        return _Connection(self, self._served)

    def start(self) -> None:
        """Begin to sync, on the running loop."""
        if not self._sync_always:
            asyncio.get_running_loop().call_later(SYNC_S, self._sync)

    def stop(self) -> None:
        """Drop all connections."""
        for connection in tuple(self._connections.values()):
            connection.transport.abort()

    def info(self, client_id: int) -> bytes:
        """The INFO line for a client."""
        fields = {
            "server_id": f"N{self._name.upper()}",
            "server_name": self._name,
            "version": VERSION,
            "proto": 1,
            "headers": True,
            "max_payload": MAX_PAYLOAD,
            "jetstream": True,
            "client_id": client_id,
        }
        return codec.info(fields)

    def joined(self, connection: _Connection) -> None:
        """A client has connected."""
        self._connections[connection.number] = connection

    def left(self, connection: _Connection) -> None:
        """A client is gone."""
        self._connections.pop(connection.number, None)

    # What clients publish

    def published(self, command: codec.Pub) -> bool:
        """Take a message; answers whether anybody or anything took an interest."""
        subject = command.subject
        if subject.startswith(ACK):
            self._acknowledged(subject, command)
            return True
        if subject.startswith(PULL):
            return self._pulled(subject, command)
        if subject.startswith(API):
            answer = self._api.answer(subject, command.data, self._now_ns())
            self._reply(command.reply, answer)
            return True
        stream = next((one for one in self._disk.streams.values() if one.takes(subject)), None)
        if stream is not None:
            self._store_later(stream, command)
        return self.route(subject, command.reply, command.headers, command.data) or stream is not None

    def route(self, subject: str, reply: str, headers: bytes, data: bytes) -> bool:
        """Send a message to all subscriptions that match; answers whether there was one."""
        heard = False
        for connection in tuple(self._connections.values()):
            heard = connection.deliver(subject, reply, headers, data) or heard
        return heard

    def _reply(self, inbox: str, answer: dict[str, Any]) -> None:
        if inbox:
            self.route(inbox, "", b"", json.dumps(answer, separators=(",", ":")).encode())

    def _store_later(self, stream: Stream, command: codec.Pub) -> None:
        """A store, its sync included, takes its time, and one comes after the other."""
        loop = asyncio.get_running_loop()
        self._stored_at = max(self._stored_at, loop.time()) + self._rng.uniform(*STORE_S)
        loop.call_at(self._stored_at, self._store, stream, command)

    def _store(self, stream: Stream, command: codec.Pub) -> None:
        answer, stored = stream.publish(command.subject, command.headers, command.data, self._now_ns())
        if self._sync_always:
            stream.sync()
        self._reply(command.reply, answer)
        if stored is not None:
            for consumer in tuple(self._disk.consumers.values()):
                if consumer.stream is stream:
                    self._serve(consumer)

    # Consumers

    def _pulled(self, subject: str, command: codec.Pub) -> bool:
        stream, consumer = subject[len(PULL) :].split(".")
        found = self._disk.consumers.get((stream, consumer))
        if found is None:
            return False
        found.stream.expire(self._now_ns())
        asked = json.loads(command.data) if command.data.strip() else {}
        self._send(found.pull(command.reply, asked, self._now_ns()))
        self._wake_later(found)
        self._flush_later()
        return True

    def _acknowledged(self, subject: str, command: codec.Pub) -> None:
        _, _, stream, consumer, _, seq, *_ = subject.split(".")
        found = self._disk.consumers.get((stream, consumer))
        if found is not None:
            found.ack(int(seq), command.data, self._now_ns())
            self._serve(found)
        if command.reply:
            self.route(command.reply, "", b"", b"")

    def _serve(self, consumer: Consumer) -> None:
        self._send(consumer.deliver(self._now_ns()))
        self._wake_later(consumer)
        self._flush_later()

    def _send(self, sendings: list[Sending]) -> None:
        for one in sendings:
            self._deliver(one)

    def _deliver(self, one: Sending) -> None:
        """To the inbox's subscription, under the stored message's own subject."""
        for connection in tuple(self._connections.values()):
            connection.deliver(one.inbox, one.reply, one.headers, one.data, shown=one.subject or one.inbox)

    def _wake_later(self, consumer: Consumer) -> None:
        key = (consumer.stream.name, consumer.name)
        planned = self._wakes.pop(key, None)
        if planned is not None:
            planned.cancel()
        due_ns = consumer.next_deadline_ns()
        if due_ns is not None:
            delay_s = max(0.000_001, (due_ns - self._now_ns()) / 1e9)
            self._wakes[key] = asyncio.get_running_loop().call_later(delay_s, self._woken, consumer)

    def _woken(self, consumer: Consumer) -> None:
        self._wakes.pop((consumer.stream.name, consumer.name), None)
        if self._disk.consumers.get((consumer.stream.name, consumer.name)) is consumer:
            self._serve(consumer)

    def _consumer_gone(self, consumer: Consumer) -> None:
        for request in consumer.requests:
            self._deliver(Sending(request.inbox, "", codec.status(409, "Consumer Deleted"), b""))
        consumer.requests.clear()

    # The disk

    def _flush_later(self) -> None:
        if not self._is_flush_planned:
            self._is_flush_planned = True
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._is_flush_planned = False
        for consumer in self._disk.consumers.values():
            consumer.flush()

    def _sync(self) -> None:
        for stream in self._disk.streams.values():
            stream.sync()
        asyncio.get_running_loop().call_later(SYNC_S, self._sync)


class _Connection(asyncio.Protocol):
    """One client: its commands and its subscriptions."""

    def __init__(self, server: NatsServer, number: int) -> None:
        self.number = number
        self.transport: asyncio.Transport
        self._server = server
        self._parser = codec.Parser()
        self._subscriptions: dict[str, _Subscription] = {}
        self._no_responders = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server.joined(self)
        self.transport.write(self._server.info(self.number))

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        for command in self._parser.feed(data):
            self._take(command)

    def deliver(self, subject: str, reply: str, headers: bytes, data: bytes, *, shown: str = "") -> bool:
        """Send a message to this client's subscriptions that match; answers whether one did."""
        heard = False
        for sid, subscription in tuple(self._subscriptions.items()):
            if codec.matches(subscription.subject, subject):
                heard = True
                self.transport.write(codec.message(shown or subject, sid, reply, headers, data))
                subscription.delivered += 1
                if subscription.messages_max is not None and subscription.delivered >= subscription.messages_max:
                    del self._subscriptions[sid]
        return heard

    def _take(self, command: codec.Command) -> None:
        match command:
            case codec.Connect(options):
                self._no_responders = bool(options.get("no_responders"))
            case codec.Ping():
                self.transport.write(codec.PONG)
            case codec.Sub(subject, sid):
                self._subscriptions[sid] = _Subscription(subject)
            case codec.Unsub(sid, messages_max):
                subscription = self._subscriptions.get(sid)
                if subscription is None:
                    return
                if messages_max is None or subscription.delivered >= messages_max:
                    del self._subscriptions[sid]
                else:
                    subscription.messages_max = messages_max
            case codec.Pub():
                if not self._server.published(command) and command.reply and self._no_responders:
                    self.deliver(command.reply, "", codec.status(503), b"")


class _Subscription:
    """What a client wants to hear."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.delivered = 0
        self.messages_max: int | None = None
