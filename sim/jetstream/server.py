"""The simulated NATS server: connections, subscriptions and timers around JetStream's models."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from sim.jetstream import codec
from sim.jetstream.advisory import advisories
from sim.jetstream.api import Api
from sim.jetstream.cluster import SERVERS, Cluster
from sim.jetstream.connection import PING_S, Connection
from sim.jetstream.consumer import Consumer
from sim.jetstream.disk import NatsDisk
from sim.jetstream.look_up import time_text
from sim.jetstream.push import PushConsumer
from sim.jetstream.sending import Sending
from sim.jetstream.stream import Stream

VERSION = "2.15.1"
FLUSH_S = 0.1
"""A consumer's state is written at most so often: at once after a rest, else that long after the last time."""
WRITE_S = 0.000_1
"""How long it takes to write it."""
SYNC_S = 120.0
"""How often everything is synced, unless always."""
STORE_S = (0.000_05, 0.002)
"""How long a synced store takes."""
API = "$JS.API."
DIRECT = "$JS.API.DIRECT.GET."
GET = "$JS.API.STREAM.MSG.GET."
ACK = "$JS.ACK."
FLOW = "$JS.FC."
PULL = "$JS.API.CONSUMER.MSG.NEXT."
_written = json.JSONEncoder(separators=(",", ":")).encode
_KINDS = ((ACK, "ack"), (FLOW, "flow"), (PULL, "pull"), (API, "api"))


class NatsServer:
    """One life of the server process; the next one is made of the same disk."""

    def __init__(
        self,
        *,
        name: str,
        now_ns: Callable[[], int],
        rng: random.Random,
        disk: NatsDisk,
        sync_always: bool = True,
        replicas: int = 1,
        ping_s: float = PING_S,
        asked: Counter[str] | None = None,
    ) -> None:
        """`ping_s` is how often a client that says nothing is asked for a sign of life.

        `asked` counts what clients publish, by what it is for; it may outlive the process.
        """
        self._name = name
        self._asked_for: Counter[str] = Counter() if asked is None else asked
        self._now_ns = now_ns
        self._rng = rng
        self._disk = disk
        self._sync_always = sync_always
        self._ping_s = ping_s
        self._api = Api(
            disk, self._consumer_gone, self._serve, draw=rng.random, is_heard=self._is_heard, replicas=replicas
        )
        self.cluster = Cluster(self, rng)
        self._unwritable: dict[str, None] = {}
        """Streams of which a write failed."""
        self._unstored: dict[int, tuple[asyncio.TimerHandle, Stream, codec.Pub]] = {}
        self._taken = 0
        self._is_retired = False
        self._connections: dict[int, Connection] = {}
        self._served = 0
        self._stored_at = 0.0
        self._wakes: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._flushed_at: dict[tuple[str, str], float] = {}
        self._flushes: dict[tuple[str, str], asyncio.TimerHandle] = {}
        disk.restart(now_ns())

    def protocol(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        self._served += 1
        return Connection(self, self._served, ping_s=self._ping_s)

    def start(self) -> None:
        """Begin to sync, and to serve consumers, on the running loop."""
        self.restart_consumers()
        if not self._sync_always:
            asyncio.get_running_loop().call_later(SYNC_S, self._sync)

    def stop(self) -> None:
        """Drop all connections."""
        for connection in tuple(self._connections.values()):
            connection.transport.abort()

    def retire(self) -> None:
        """Tell every client that this server is about to end (lame duck mode); without JetStream from now on."""
        self._is_retired = True
        for connection in tuple(self._connections.values()):
            connection.transport.write(self.info(connection.number, ldm=True))

    def info(self, client_id: int, **more: Any) -> bytes:
        """The INFO line for a client."""
        fields = {
            "server_id": f"N{self._name.upper()}",
            "server_name": self._name,
            "version": VERSION,
            "proto": 1,
            "headers": True,
            "max_payload": codec.MAX_PAYLOAD,
            "jetstream": True,
            "client_id": client_id,
        }
        return codec.info(fields | more)

    @property
    def client_count(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def consumer_count(self) -> int:
        """How many consumers there are, of all kinds."""
        return len(self._disk.consumers) + len(self._api.pushing)

    def joined(self, connection: Connection) -> None:
        """A client has connected."""
        self._connections[connection.number] = connection

    def left(self, connection: Connection) -> None:
        """A client is gone."""
        self._connections.pop(connection.number, None)
        for subject in connection.subjects:
            self.listening_changed(subject)

    # What clients publish

    def published(self, command: codec.Pub) -> bool:
        """Take a message; answers whether anybody or anything took an interest."""
        subject = command.subject
        self._asked_for[kind_of(subject)] += 1
        if self._is_retired:  # it still listens for what is asked of its API, and answers nothing
            return self.route(subject, command.reply, command.headers, command.data) or subject.startswith(API)
        if subject.startswith(ACK):
            return self.cluster.serves_consumers and self._acknowledged(subject, command)
        if subject.startswith(FLOW):
            return self._flow_controlled(subject)
        if subject.startswith(PULL):
            return self.cluster.serves_consumers and self._pulled(subject, command)
        if subject.startswith(DIRECT):
            found = self._api.direct(subject, command.data, self._now_ns())
            return [self.route(command.reply, "", *one) for one in found].count(True) > 0
        if subject.startswith(API):
            return self._asked(subject, command)
        stream = next((one for one in self._disk.streams.values() if one.takes(subject)), None)
        if not self.cluster.has_leader:
            stream = None
        if stream is not None:
            self._take(stream, command)
        return self.route(subject, command.reply, command.headers, command.data) or stream is not None

    def route(self, subject: str, reply: str, headers: bytes, data: bytes) -> bool:
        """Send a message to all subscriptions that match; answers whether there was one."""
        heard = False
        for connection in tuple(self._connections.values()):
            heard = connection.deliver(subject, reply, headers, data) or heard
        return heard

    def _reply(self, inbox: str, answer: dict[str, Any]) -> None:
        if inbox:
            self.route(inbox, "", b"", _written(answer).encode())

    def _asked(self, subject: str, command: codec.Pub) -> bool:
        refused = None
        if subject.startswith(GET) and not self.cluster.has_leader:
            return False
        if not (self.cluster.decides and self.cluster.serves_consumers):
            refused = self._api.refusal(subject)
        self._reply(command.reply, refused or self._api.answer(subject, command.data, self._now_ns()))
        return True

    # Streams

    def _take(self, stream: Stream, command: codec.Pub) -> None:
        """A store, its sync included, takes its time, and one comes after the other."""
        if not self.cluster.has_quorum:
            refused = self.cluster.propose(stream, command)
            if refused is not None:
                self._reply(command.reply, refused)
            return
        loop = asyncio.get_running_loop()
        self._stored_at = max(self._stored_at, loop.time()) + self._rng.uniform(*STORE_S)
        self._taken += 1
        planned = loop.call_at(self._stored_at, self._store_taken, self._taken)
        self._unstored[self._taken] = (planned, stream, command)

    def _store_taken(self, number: int) -> None:
        _, stream, command = self._unstored.pop(number)
        self.store(stream, command)

    def store(self, stream: Stream, command: codec.Pub, *, is_answered: bool = True) -> None:
        """Store a message, with or without a PubAck, and give it to whoever waits for it.

        On a full disk nothing is stored and nothing answered, not even a refusal; nor by this process ever again.
        """
        if self._disk.is_full:
            self._unwritable[stream.name] = None
        if stream.name in self._unwritable:
            return
        answer, stored = stream.publish(command.subject, command.headers, command.data, self._now_ns())
        if self._sync_always:
            stream.sync()
        if is_answered:
            self._reply(command.reply, answer)
        if stored is not None:
            waiting: list[Consumer | PushConsumer] = [*self._disk.consumers.values(), *self._api.pushing.values()]
            for consumer in waiting:
                if consumer.stream is stream:
                    self._serve(consumer)

    # Consumers

    def _pulled(self, subject: str, command: codec.Pub) -> bool:
        stream, consumer = subject[len(PULL) :].split(".")
        found = self._disk.consumers.get((stream, consumer))
        if found is None:
            return False
        found.stream.expire(self._now_ns())
        self._send(found.pull(command.reply, command.data, self._mono_ns(), self._is_heard))
        self._tell_given_up(found)
        self._wake_later(found)
        self._flush_later(found)
        return True

    def _acknowledged(self, subject: str, command: codec.Pub) -> bool:
        _, _, stream, consumer, _, stream_seq, consumer_seq, *_ = subject.split(".")
        found = self._disk.consumers.get((stream, consumer))
        if found is None:
            return False
        is_answered = found.ack(int(stream_seq), int(consumer_seq), command.data, self._mono_ns())
        if command.reply and is_answered:
            self.route(command.reply, "", b"", b"")
        self._serve(found)
        return True

    def _flow_controlled(self, subject: str) -> bool:
        _, _, stream, consumer, _ = subject.split(".")
        found = self._api.pushing.get((stream, consumer))
        if found is None:
            return False
        found.answered(subject)
        self._serve(found)
        return True

    def listening_changed(self, subject: str) -> None:
        """Somebody has begun or ceased to listen: push consumers wait for that."""
        for consumer in tuple(self._api.pushing.values()):
            if codec.matches(subject, consumer.subject):
                self._serve(consumer)

    def _serve(self, consumer: Consumer | PushConsumer) -> None:
        if not self.cluster.serves_consumers:
            return
        self._send(consumer.deliver(self._mono_ns(), self._is_heard))
        self._wake_later(consumer)
        if isinstance(consumer, Consumer):
            self._tell_given_up(consumer)
            self._flush_later(consumer)

    def _tell_given_up(self, consumer: Consumer) -> None:
        if consumer.given_up:
            event_id = f"{self._rng.getrandbits(64):016x}"
            for subject, data in advisories(consumer, time_text(self._now_ns()), event_id):
                self.route(subject, "", b"", data)

    def _send(self, sendings: list[Sending]) -> None:
        for one in sendings:
            self._deliver(one)

    def _deliver(self, one: Sending) -> None:
        """To the inbox's subscription, under the stored message's own subject."""
        for connection in tuple(self._connections.values()):
            connection.deliver(one.inbox, one.reply, one.headers, one.data, shown=one.subject or one.inbox)

    def _wake_later(self, consumer: Consumer | PushConsumer) -> None:
        key = (consumer.stream.name, consumer.name)
        planned = self._wakes.pop(key, None)
        if planned is not None:
            planned.cancel()
        due_ns = consumer.next_deadline_ns()
        delays_ns = [] if due_ns is None else [due_ns - self._mono_ns()]
        if isinstance(consumer, Consumer) and consumer.waits_for_room:
            expiry_ns = consumer.stream.next_expiry_ns()
            delays_ns += [] if expiry_ns is None else [expiry_ns - self._now_ns()]
        if delays_ns:
            delay_s = max(0.000_001, min(delays_ns) / 1e9)
            self._wakes[key] = asyncio.get_running_loop().call_later(delay_s, self._woken, consumer)

    def _woken(self, consumer: Consumer | PushConsumer) -> None:
        key = (consumer.stream.name, consumer.name)
        self._wakes.pop(key, None)
        if isinstance(consumer, PushConsumer):
            if self._api.pushing.get(key) is not consumer:
                return
            if consumer.is_over(self._mono_ns()):
                del self._api.pushing[key]
                return
        elif self._disk.consumers.get(key) is not consumer:
            return
        elif consumer.is_over(self._mono_ns()):
            del self._disk.consumers[key]
            return
        consumer.stream.expire(self._now_ns())
        self._serve(consumer)

    def _mono_ns(self) -> int:
        """What requests and ack waits go by: Go's timers don't follow steps of the wall clock."""
        return round(asyncio.get_running_loop().time() * 1e9)

    def _is_heard(self, subject: str) -> bool:
        return any(connection.hears(subject) for connection in self._connections.values())

    def _consumer_gone(self, consumer: Consumer) -> None:
        self._send(consumer.end_requests(409, "Consumer Deleted"))

    # What a cluster does to itself

    def take_unstored(self) -> list[tuple[Stream, codec.Pub]]:
        """Everything that was taken and is not stored; it will not be, from here."""
        taken = list(self._unstored.values())
        self._unstored.clear()
        for planned, _, _ in taken:
            planned.cancel()
        return [(stream, command) for _, stream, command in taken]

    def drop_clients(self, is_there: Callable[[int], bool]) -> None:
        """Cut off the clients whose numbers are those of a server that is gone."""
        for connection in tuple(self._connections.values()):
            if is_there(connection.number):
                self.left(connection)
                connection.transport.close()

    def stop_consumers(self, steps_down: Callable[[], bool]) -> None:
        """Consumers have no leader: their requests end in a status if it steps down, else without a word."""
        self._api.pushing.clear()  # in the memory of a server that is gone, or that has lost the stream
        for key, consumer in tuple(self._disk.consumers.items()):
            if consumer.config.get("mem_storage") and self._rng.randrange(SERVERS) == 0:
                del self._disk.consumers[key]  # in the memory of the one that is gone: without a word
                continue
            ended = consumer.end_requests(409, "Leadership Change")
            if steps_down():
                self._send(ended)
            consumer.restart()

    def restart_consumers(self) -> None:
        """Consumers have a leader again."""
        for consumer in tuple(self._disk.consumers.values()):
            self._serve(consumer)

    # The disk

    def _flush_later(self, consumer: Consumer) -> None:
        key = (consumer.stream.name, consumer.name)
        if key not in self._flushes:
            loop = asyncio.get_running_loop()
            rested_at = self._flushed_at.get(key, -FLUSH_S) + FLUSH_S
            self._flushes[key] = loop.call_at(max(loop.time() + WRITE_S, rested_at), self._flush, key)

    def _flush(self, key: tuple[str, str]) -> None:
        del self._flushes[key]
        self._flushed_at[key] = asyncio.get_running_loop().time()
        consumer = self._disk.consumers.get(key)
        if consumer is None or consumer.stream.name in self._unwritable:
            return
        if not self._disk.is_full:
            consumer.flush()
            if self._sync_always:
                consumer.sync()

    def _sync(self) -> None:
        self._disk.sync()
        asyncio.get_running_loop().call_later(SYNC_S, self._sync)


def kind_of(subject: str) -> str:
    """What a published message is for: `ack`, `flow`, `pull`, `api`, or an event or a reply (`message`)."""
    return next((kind for prefix, kind in _KINDS if subject.startswith(prefix)), "message")
