"""Pulling from a durable consumer with requests kept in flight.

nats-py's `fetch` waits for one request after another, and creates a task for every message. This reader keeps one
direct subscription and asks for more before it runs dry, so that messages flow, and are prepared, while the last batch
commits. It refuses to interpret: it hands on what came, in order, and says when the consumer is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from system.direct import Delivered, Status
from system.link import Connection, describe

log = structlog.get_logger(__name__)
T = TypeVar("T")
FIRST_LIFE_S = 1.0
"""Of a request to a consumer that has not answered yet; doubled by each that ends in order."""
LATE = 1.4
"""A request that has not ended after so many lives was lost."""
BEAT_SHARE = 0.45
"""Of a request's life, between two signs of it: the server takes at most a half."""
ENDED_IN_ORDER = ("Batch Completed", "Message Size Exceeds MaxBytes")
"""How NATS says that a request with a limit of bytes ended at one of its limits: 409, as for a consumer's end."""
BATCH_BYTES_MAX = 16 * 1024 * 1024
"""What a request may bring, unless its reader says otherwise: a full batch of ordinary events, and no more memory than
a few replay pages."""


class PullEnded(Exception):
    """The consumer or the connection is gone; begin again from its state."""


class PullReader(Generic[T]):
    """Messages of one durable consumer, prepared by `prepare` as they arrive."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        *,
        prepare: Callable[[Delivered], T],
        batch: int,
        expires_s: float,
        bytes_max: int = BATCH_BYTES_MAX,
        on_empty: Callable[[], None] = lambda: None,
        on_beat: Callable[[int, int], None] | None = None,
    ) -> None:
        """`expires_s` is the longest life of a request, and so about how soon it is noticed that one was lost.

        `on_empty` is called when a request ended unfilled because there was nothing left to give; `on_beat`, if there
        is one, when the consumer says that it waits: how many messages it has given, and up to which sequence of the
        stream it has looked for more.

        The first lives are short: it is a server that has just come up that forgets requests.
        """
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._prepare = prepare
        self._batch = batch
        self._expires_s = expires_s
        self._life_s = min(FIRST_LIFE_S, expires_s)
        self._is_idle = True
        """The last request ended without a message: one at a time is enough."""
        # twice what the server takes as one message: the largest one and its headers always fit
        self._bytes = max(bytes_max, 2 * connection.nc.max_payload)
        self._on_empty = on_empty
        self._on_beat = on_beat
        self._ready: deque[T] = deque()
        self._wake = asyncio.Event()
        self._in_flight = 0
        self._ended: str | None = None
        self._heard_at = 0.0
        self._inbox = ""
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> PullReader[T]:
        self._inbox = self._connection.nc.new_inbox()
        self._subscription = await self._connection.nc.subscribe_direct(self._inbox, self._take)
        self._heard_at = self._loop.time()
        self._connection.over.tell(self._wake.set)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.over.forget(self._wake.set)
        try:
            await self._connection.nc.unsubscribe_direct(self._subscription)
        except Exception as error:  # nats-py raises many kinds when the connection is gone, and with it our inbox
            log.debug("pull.not_unsubscribed", error=describe(error))

    async def next_batch(self, *, timeout_s: float) -> list[T]:
        """The messages at hand, at most a batch, waiting up to `timeout_s` for the first; may be empty.

        Raises PullEnded when the consumer or connection is gone.
        """
        deadline = self._loop.time() + min(timeout_s, self._life_s * LATE)
        over = self._connection.over
        while not self._ready and self._ended is None and not over.is_set():
            self._wake.clear()
            await self._ask()  # again after each status: a request may end without a message
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                self._check_heard()
                break
        if self._ended is not None or over.is_set():
            raise PullEnded(self._ended or "the connection is over")
        taken = [self._ready.popleft() for _ in range(min(self._batch, len(self._ready)))]
        await self._ask()
        return taken

    @property
    def at_hand(self) -> int:
        """How many messages have come and were not taken yet."""
        return len(self._ready)

    def end(self, why: str) -> None:
        """Have whoever waits here, or comes to, be told that it is over. `next_batch` then raises PullEnded."""
        self._ended = self._ended or why
        self._wake.set()

    async def _ask(self) -> None:
        """Keep between one and two batches asked for or at hand, in messages and in bytes; one, while nothing comes."""
        if self._in_flight + len(self._ready) > (0 if self._is_idle else self._batch):
            return
        request = {"batch": self._batch, "expires": int(self._life_s * 1e9), "max_bytes": self._bytes}
        if self._on_beat is not None:
            request["idle_heartbeat"] = int(self._life_s * BEAT_SHARE * 1e9)
        self._in_flight += self._batch
        await self._connection.nc.publish(self._subject, json.dumps(request).encode(), reply=self._inbox)

    def _take(self, message: Delivered) -> None:
        """Keep one message; what we ask for, and so what can come, is bounded by two batches."""
        self._heard_at = self._loop.time()
        self._connection.heard()
        try:
            if message.status is not None:
                self._take_status(message.status)
            else:
                self._in_flight = max(0, self._in_flight - 1)
                self._is_idle = False
                self._ready.append(self._prepare(message))
        except Exception as error:  # a bug must not end nats-py's read loop, which would tell nobody
            self._ended = f"{message.reply or message.status}: {error!r}"
        self._wake.set()

    def _take_status(self, status: Status) -> None:
        if status.code in ("404", "408") or status.description in ENDED_IN_ORDER:
            unfilled = int(status.headers.get("Nats-Pending-Messages", self._batch))
            if unfilled == self._batch:
                self._is_idle, self._life_s = True, min(self._life_s * 2, self._expires_s)
            self._in_flight = max(0, self._in_flight - unfilled)
            if unfilled and status.code in ("404", "408"):
                self._on_empty()
        elif status.code == "100":
            if self._on_beat is not None:
                self._on_beat(int(status.headers["Nats-Last-Consumer"]), int(status.headers["Nats-Last-Stream"]))
        else:
            # 409 consumer deleted or leader changed, 503 nobody answers, 400: all mean 'look again'.
            self._ended = f"{status.code} {status.description}".strip()

    def _check_heard(self) -> None:
        """A request always ends in messages or a status; silence past its life means that it was lost."""
        if self._loop.time() - self._heard_at >= self._life_s * LATE:
            self._in_flight = 0
            self._life_s = min(FIRST_LIFE_S, self._expires_s)
            self._heard_at = self._loop.time()
