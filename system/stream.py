"""The JetStream stream MESH_EVENTS and pg-writer's consumer: their settings, and publishing into the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nats
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    Header,
    PubAck,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from system.event import SUBJECT_PREFIX, Event, subject_of
from system.link import Connection, NatsLink, NatsUnavailable, describe

log = structlog.get_logger(__name__)

WRITER = "pg-writer"
STATE_TIMEOUT_S = 5.0
ACK_WAIT_S = 30.0
"""Well above a batch and its commit; unacknowledged events come again after it."""


class StreamUnsafe(Exception):
    """The stream exists with settings that can lose events; the message says which and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """What the stream says of itself; `created` is its identity."""

    created: str
    first_seq: int
    last_seq: int
    replicas: int = 1
    allows_ttl: bool = False
    """Whether a message may say how long it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The stream's answer to a publish."""

    seq: int
    duplicate: bool


def stream_config(
    name: str,
    *,
    max_age_s: float,
    dedupe_window_s: float,
    replicas: int,
    max_bytes: int,
    allow_msg_ttl: bool = False,
    max_consumers: int | None = None,
) -> StreamConfig:
    """The stream as zero loss needs it; each line with its reason."""
    # only where it is wanted: clients older than the setting know no such name
    more: dict[str, Any] = {"allow_msg_ttl": True} if allow_msg_ttl else {}
    if max_consumers is not None:
        more["max_consumers"] = max_consumers
    return StreamConfig(
        name=name,
        subjects=[f"{SUBJECT_PREFIX}.>"],
        storage=StorageType.FILE,  # memory forgets at a restart
        retention=RetentionPolicy.LIMITS,
        max_age=max_age_s,  # far above the worst writer lag: what expires unwritten is lost
        max_bytes=max_bytes,
        discard=DiscardPolicy.NEW,  # a full stream refuses publishes, honestly, and never drops what it acknowledged
        duplicate_window=dedupe_window_s,  # above the longest publisher retry
        num_replicas=replicas,
        allow_direct=True,
        **more,
    )


async def ensure_stream(js: JetStreamContext, config: StreamConfig) -> None:
    """Create the stream, or check the one that is there.

    Raises StreamUnsafe if its settings can lose acknowledged events.
    """
    assert config.name is not None
    try:
        found = (await js.stream_info(config.name)).config
    except nats.js.errors.NotFoundError:
        await js.add_stream(config)
        log.info("stream.created", stream=config.name)
        return
    unsafe = [
        f"{name}: expected {expected}, found {actual}"
        for name, expected, actual, wrong in (
            ("storage", "file", found.storage, found.storage != StorageType.FILE),
            ("retention", "limits", found.retention, found.retention != RetentionPolicy.LIMITS),
            ("subjects", config.subjects, found.subjects, f"{SUBJECT_PREFIX}.>" not in (found.subjects or [])),
            ("persist_mode", "default", found.persist_mode, str(found.persist_mode or "").endswith("async")),
            ("no_ack", False, found.no_ack, bool(found.no_ack)),
        )
        if wrong
    ]
    if unsafe:
        raise StreamUnsafe(
            f"stream {config.name} can lose events: {'; '.join(unsafe)}. Mend it with `nats stream edit`."
        )
    if found.duplicate_window < config.duplicate_window or found.discard != config.discard:
        log.warning("stream.settings_differ", dedupe_window_s=found.duplicate_window, discard=str(found.discard))


async def read_state(nc: Client, stream: str) -> StreamState:
    """Ask the stream for its identity and bounds. Raises nats.errors.Error.

    In JetStream's own words: nats-py rounds the moment of creation to the microsecond, and knew none before 2.15.
    """
    answer = await nc.request(f"$JS.API.STREAM.INFO.{stream}", timeout=STATE_TIMEOUT_S)
    info = json.loads(answer.data)
    if "error" in info:
        nats.js.errors.APIError.from_error(info["error"])
    return StreamState(
        created=info["created"],
        first_seq=info["state"]["first_seq"],
        last_seq=info["state"]["last_seq"],
        replicas=info["config"].get("num_replicas", 1),
        allows_ttl=bool(info["config"].get("allow_msg_ttl")),
    )


async def read_last_seq(link: NatsLink, stream: str) -> int:
    """The highest sequence that the stream has given out. Raises NatsUnavailable."""
    try:
        return (await read_state(link.current().nc, stream)).last_seq
    except (NatsError, TimeoutError) as error:
        raise NatsUnavailable(f"expected the stream's state from NATS, got {describe(error)}") from error


async def ensure_consumer(
    js: JetStreamContext, stream: str, *, after_seq: int, pending_max: int, name: str = WRITER
) -> int:
    """Make sure that a durable consumer exists, pg-writer's or another of this name that reads as pg-writer does;
    answers the last stream sequence that it has delivered.

    Acks are cumulative (`all`): pg-writer commits in stream order, so one ack after the commit covers a batch, and an
    ack that gets lost is made good by the next.
    """
    try:
        info = await js.consumer_info(stream, name)
    except nats.js.errors.NotFoundError:
        await js.add_consumer(
            stream,
            ConsumerConfig(
                durable_name=name,
                ack_policy=AckPolicy.ALL,
                ack_wait=ACK_WAIT_S,
                max_deliver=-1,  # a limit would skip an event for ever after so many failures
                max_ack_pending=pending_max,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=after_seq + 1,
            ),
        )
        return after_seq
    return info.delivered.stream_seq if info.delivered else after_seq


async def publish_all(
    connection: Connection,
    stream: str,
    events: list[Event],
    *,
    timeout_s: float,
    ttl_s: Callable[[str], int | None] = lambda _: None,
) -> list[Published | Exception]:
    """Publish events in order; each answer is its PubAck, or the reason why there is none.

    `ttl_s` says for an event's type how long the stream is to keep it, None for as long as it keeps anything.

    A reason is always *unknown*, never a refusal: the stream may have stored the event without our hearing of it. The
    caller retries with the same ids, which the stream recognises.
    """
    answers: list[asyncio.Future[PubAck]] = []
    results: list[Published | Exception] = []
    try:
        for event in events:
            lives_s = ttl_s(event.type)
            lives = {} if lives_s is None else {"Nats-TTL": str(lives_s)}
            future = await connection.js.publish_async(
                subject_of(event.subject, event.type),
                event.text.encode(),
                wait_stall=timeout_s,
                stream=stream,
                headers={Header.MSG_ID.value: event.id, **lives},
            )
            answers.append(future)
        await asyncio.wait(answers, timeout=timeout_s)
    except Exception as error:  # nats-py: closed, buffer full, stalled: nothing after this was sent
        results = [NatsUnavailable(describe(error))] * (len(events) - len(answers))
        if answers:
            await asyncio.wait(answers, timeout=timeout_s)
    finally:
        # also when we are cancelled: each open future holds one of the connection's publish slots
        for future in answers:
            future.cancel()
    return [_answer(future) for future in answers] + results


def _answer(future: asyncio.Future[PubAck]) -> Published | Exception:
    if future.cancelled():
        return NatsUnavailable("no PubAck within the time limit")
    error = future.exception()
    if error is not None:
        return NatsUnavailable(describe(error))
    ack = future.result()
    return Published(seq=ack.seq, duplicate=bool(ack.duplicate))
