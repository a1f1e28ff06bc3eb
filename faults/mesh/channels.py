"""The two ways to publish: over the relay's HTTP, and straight into NATS. Each sends a batch and tells what came of it.

Neither retries; `publishers.py` does. An answer that does not say whether an event was stored is *unknown*, and so is
no answer at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import msgspec
import nats
from aiohttp.abc import AbstractResolver, ResolveResult
from nats.aio.client import Client
from nats.js.api import PubAck

from faults.arrivals import Arrival
from faults.mesh.outbox import Settled
from system.event import subject_of

STREAM = "MESH_EVENTS"
ANSWER_S = 4.0
"""Longest wait for an answer: twice the relay's own limit for a PubAck, so that mostly the relay gives up first."""
PUBACK_S = 2.0
DIAL_S = 2
CLOSE_S = 0.5
"""A dead connection gets this long to close itself; on a half-open one nats-py would wait for minutes."""
TRY_LATER = frozenset({401, 408, 425, 429})
"""Refusals that say nothing about the event: a token that has just expired, no capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one attempt to publish one event came to."""

    outcome: Settled
    cursor: str | None = None
    duplicate: bool = False
    status: int | None = None

    @property
    def is_final_refusal(self) -> bool:
        """Whether the request as such was refused, so that the same request would be refused again."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in TRY_LATER


UNANSWERED = Result(outcome=Settled.UNKNOWN)


class Channel(Protocol):
    """A way to publish."""

    async def send(self, batch: Sequence[Arrival]) -> list[Result]:
        """Publish a batch once; a result for each event, in order."""
        ...

    async def close(self) -> None:
        """Close the connection, within a short time."""
        ...


class ReplicaResolver(AbstractResolver):
    """A name service that knows one name, the relay's: each look-up answers another replica."""

    def __init__(self, replicas: Sequence[tuple[str, int]]) -> None:
        self._replicas = replicas

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """One of the replicas, drawn."""
        address, port = random.choice(self._replicas)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=socket.IPPROTO_TCP, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _Stored(msgspec.Struct):
    id: str
    cursor: str
    duplicate: bool = False


class _Accepted(msgspec.Struct):
    events: list[_Stored]


class HttpChannel:
    """POST /v1/events."""

    def __init__(self, base_url: str, token: str, *, resolver: AbstractResolver | None = None) -> None:
        """`resolver` answers for names that the machine's own name service does not know."""
        self._resolver = resolver
        self._url = f"{base_url}/v1/events"
        self._http: aiohttp.ClientSession | None = None
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents-batch+json"}

    async def send(self, batch: Sequence[Arrival]) -> list[Result]:
        """One request for the whole batch; a refusal of several says nothing of the single ones, so it is unknown."""
        body = b"[" + b",".join(arrival.event() for arrival in batch) + b"]"
        try:
            async with self._session().post(self._url, data=body, headers=self._headers) as response:
                status, answer = response.status, await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return [UNANSWERED] * len(batch)
        if status == 202:
            return _accepted(answer, batch)
        unknown = Result(outcome=Settled.UNKNOWN, status=status)
        if unknown.is_final_refusal and len(batch) == 1:
            return [Result(outcome=Settled.REFUSED, status=status)]
        return [unknown] * len(batch)

    def _session(self) -> aiohttp.ClientSession:
        """Made where a loop runs."""
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_S)
            connector = aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=self._resolver is None)
            self._http = aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._http

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()


def _accepted(answer: bytes, batch: Sequence[Arrival]) -> list[Result]:
    unreadable = [Result(outcome=Settled.UNKNOWN, status=202)] * len(batch)
    try:
        stored = msgspec.json.decode(answer, type=_Accepted).events
    except (msgspec.DecodeError, UnicodeDecodeError):
        return unreadable
    if [one.id for one in stored] != [arrival.id for arrival in batch]:
        return unreadable
    return [Result(outcome=Settled.ACKED, cursor=one.cursor, duplicate=one.duplicate, status=202) for one in stored]


class NatsChannel:
    """JetStream by nats-py, one life a connection: what does not answer is left behind whole."""

    def __init__(self, url: str, epoch: str) -> None:
        """`epoch` is the tag that the relay's cursors begin with; a PubAck has only the sequence."""
        self._url = url
        self._epoch = epoch
        self._client: Client | None = None

    async def send(self, batch: Sequence[Arrival]) -> list[Result]:
        """All events at once, then their PubAcks; a connection that leaves one of them open is given up."""
        client = await self._connected()
        if client is None:
            return [UNANSWERED] * len(batch)
        stream = client.jetstream(timeout=PUBACK_S)
        acks = await asyncio.gather(
            *(
                stream.publish(
                    subject_of(arrival.agent, arrival.type),
                    arrival.event(),
                    stream=STREAM,
                    headers={"Nats-Msg-Id": arrival.id, "Nats-Expected-Stream": STREAM},
                )
                for arrival in batch
            ),
            return_exceptions=True,
        )
        results = [self._result(ack) for ack in acks]
        if UNANSWERED in results:
            await self.close()
        return results

    def _result(self, ack: PubAck | BaseException) -> Result:
        if isinstance(ack, PubAck):
            cursor = f"{self._epoch}-{ack.seq}"
            return Result(outcome=Settled.ACKED, cursor=cursor, duplicate=bool(ack.duplicate))
        if isinstance(ack, Exception):
            return UNANSWERED  # whatever nats-py raises, none of it says that the event was not stored
        raise ack

    async def close(self) -> None:
        """Close the connection, or leave it behind."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(client.close(), CLOSE_S)

    async def _connected(self) -> Client | None:
        if self._client is not None and self._client.is_connected:
            return self._client
        await self.close()
        client = Client()
        try:
            await asyncio.wait_for(
                client.connect(self._url, allow_reconnect=False, connect_timeout=DIAL_S, error_cb=_nothing), DIAL_S
            )
        except (nats.errors.Error, OSError, TimeoutError, ValueError):  # ValueError: half of an INFO line
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(client.close(), CLOSE_S)
            return None
        self._client = client
        return client


async def _nothing(error: Exception) -> None:
    """nats-py's read loop must not die of what is raised here; what fails is seen in the results."""
