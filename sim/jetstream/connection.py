"""One client of the simulated NATS server: its commands and its subscriptions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from sim.errors import NotModelled
from sim.jetstream import codec
from sim.jetstream.advisory import EVENTS, GIVEN_UP

if TYPE_CHECKING:
    from sim.jetstream.server import NatsServer

FIRST_PING_S = 2.0
PING_S = 120.0
RTT_S = 3_600.0
"""How often the server wants to know the round trip to a client that speaks by itself."""
PINGS_OUT_MAX = 2
"""Unanswered pings after which a client is taken for dead, when the next one is due."""

NO_REPLY = "$JS.ACK."
"""Where no client may want its answers: they would be taken for acks."""


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: NatsServer, number: int, *, ping_s: float = PING_S) -> None:
        self.number = number
        self.transport: asyncio.Transport
        self._server = server
        self._parser = codec.Parser()
        self._subscriptions: dict[str, Subscription] = {}
        self._no_responders = False
        self._is_verbose = False
        self._is_introduced = False
        self._ping_s = ping_s
        self._pings_out = 0
        self._asked_at: float | None = None
        self._has_spoken = False
        """Since the last time that it could have been asked."""
        self._ping: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        self.transport = cast("asyncio.Transport", transport)
        self._server.joined(self)
        self.transport.write(self._server.info(self.number))
        self._ping = asyncio.get_running_loop().call_later(min(FIRST_PING_S, self._ping_s), self._ping_client)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._ping is not None:
            self._ping.cancel()
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        """Take whatever is complete."""
        for command in self._parser.feed(data):
            self._take(command)

    @property
    def subjects(self) -> list[str]:
        """What it listens to."""
        return [one.subject for one in self._subscriptions.values()]

    def hears(self, subject: str) -> bool:
        """Whether a subscription matches."""
        return any(codec.matches(one.subject, subject) for one in self._subscriptions.values())

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

    def _ping_client(self) -> None:
        """Ask for a sign of life, unless it gave one by itself; who always does is asked once an hour all the same."""
        loop = asyncio.get_running_loop()
        is_known = self._asked_at is not None and loop.time() - self._asked_at <= RTT_S
        if not (self._has_spoken and is_known):
            if self._pings_out >= PINGS_OUT_MAX:
                self._close(codec.STALE)
                return
            self._pings_out += 1
            self._asked_at = loop.time()
            self.transport.write(codec.PING)
        self._has_spoken = False
        self._ping = loop.call_later(self._ping_s, self._ping_client)

    def _close(self, reason: bytes) -> None:
        self.transport.write(reason)
        self._server.left(self)
        self.transport.close()

    def _take(self, command: codec.Command) -> None:
        if isinstance(command, codec.Connect):
            self._is_verbose = bool(command.options.get("verbose"))
        if self._is_verbose and isinstance(command, codec.Connect | codec.Sub | codec.Unsub | codec.Pub):
            self.transport.write(codec.OK)
        match command:
            case codec.Connect(options):
                self._no_responders = bool(options.get("no_responders"))
            case codec.Ping():
                self._has_spoken = True
                self.transport.write(codec.PONG)
                if not self._is_introduced:
                    # the real server says once more who it is, when it knows the client's account
                    self._is_introduced = True
                    self.transport.write(self._server.info(self.number, connect_info=True, remote_account="$G"))
            case codec.Pong():
                self._pings_out = 0
            case codec.Sub(subject, sid):
                if subject.startswith(EVENTS) and not subject.startswith(GIVEN_UP):
                    raise NotModelled(f"expected events that are modelled, {GIVEN_UP}>, got {subject}")
                self._has_spoken = True
                self._subscriptions[sid] = Subscription(subject)
                self._server.listening_changed(subject)
            case codec.Unsub(sid, messages_max):
                self._has_spoken = True
                self._unsubscribe(sid, messages_max)
            case codec.Pub():
                self._has_spoken = True
                self._published(command)
            case codec.TooLarge():
                self._close(codec.TOO_LARGE)

    def _unsubscribe(self, sid: str, messages_max: int | None) -> None:
        subscription = self._subscriptions.get(sid)
        if subscription is None:
            return
        if messages_max is None or subscription.delivered >= messages_max:
            del self._subscriptions[sid]
            self._server.listening_changed(subscription.subject)
        else:
            subscription.messages_max = messages_max

    def _published(self, command: codec.Pub) -> None:
        if command.reply.startswith(NO_REPLY):
            self.transport.write(
                f"-ERR 'Permissions Violation for Publish with Reply of \"{command.reply}\"'\r\n".encode()
            )
            return
        if not self._server.published(command) and command.reply and self._no_responders:
            nobody = codec.status(503, Nats_Subject=command.subject)
            self.deliver(command.reply, "", nobody, b"")


class Subscription:
    """What a client wants to hear."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.delivered = 0
        self.messages_max: int | None = None
