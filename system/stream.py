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
from system.stream_rules import differing, losing, raised_age_ns, stalling

log = structlog.get_logger(__name__)

WRITER = "pg-writer"
STATE_TIMEOUT_S = 5.0
ACK_WAIT_S = 30.0
"""Well above a batch and its commit; unacknowledged events come again after it."""


TOO_LARGE = 10054
"""JetStream's error for what is above the stream's own `max_msg_size`."""
IN_PROCESS = 10158
"""And for an id of which another publish is under way: that one may yet be stored."""


class StreamUnsafe(Exception):
    """The stream or a consumer has settings that can lose or stall events; the message says which and what to do."""


class Refused(Exception):
    """An event that the stream said it did not store, and why: as long as that holds it will not."""


class TooLarge(Refused):
    """An event that NATS does not take for its size, which will not change: it was not stored, others may be."""


class Reused(Refused):
    """An event under an id that belongs to another: it was not stored."""


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
    """Create the stream, or check the one that is there; one that forgets too early is given the age that is wanted.

    Raises StreamUnsafe if its settings can lose acknowledged events.
    """
    assert config.name is not None
    try:
        found = (await _ask(js, f"STREAM.INFO.{config.name}"))["config"]
    except nats.js.errors.NotFoundError:
        await js.add_stream(config)
        log.info("stream.created", stream=config.name)
        return
    unsafe = losing(found, config.subjects)
    if unsafe:
        raise StreamUnsafe(
            f"stream {config.name} can lose events: {'; '.join(unsafe)}. Mend it with `nats stream edit`."
        )
    age_ns = raised_age_ns(found, config)
    if age_ns is not None:
        found = await _raise_age(js, config.name, found, age_ns)
    different = differing(found, config)
    if different:
        log.warning("stream.settings_differ", stream=config.name, **different)


async def _raise_age(js: JetStreamContext, name: str, found: dict[str, Any], age_ns: int) -> dict[str, Any]:
    """Have the stream keep its messages for longer, which loses none; answers its settings. Raises StreamUnsafe."""
    said = f"max_age: expected {age_ns} ns, got {found['max_age']} ns"
    try:
        took: dict[str, Any] = (await _ask(js, f"STREAM.UPDATE.{name}", found | {"max_age": age_ns}))["config"]
    except (nats.js.errors.NotFoundError, nats.js.errors.ServiceUnavailableError):
        raise
    except nats.js.errors.APIError as error:
        raise StreamUnsafe(
            f"stream {name} can lose events: {said}, and NATS refuses to change it: {describe(error)}. "
            "Mend it with `nats stream edit`, or set MESHRELAY_STREAM_MAX_AGE_S to what the stream has."
        ) from None
    log.warning("stream.changed", stream=name, max_age=age_ns, before=found["max_age"])
    return took


async def _ask(js: JetStreamContext, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to JetStream's API, in its own words: an update must keep what nats-py does not know.

    Raises nats.errors.Error, TimeoutError.
    """
    data = b"" if body is None else json.dumps(body).encode()
    answer: dict[str, Any] = await js._api_request(f"$JS.API.{subject}", data, timeout=js._timeout)
    return answer


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
    answers the last stream sequence that it has delivered. Raises StreamUnsafe if it passes events over.

    Acks are cumulative (`all`): pg-writer commits in stream order, so one ack after the commit covers a batch, and an
    ack that gets lost is made good by the next.
    """
    try:
        info = await _ask(js, f"CONSUMER.INFO.{stream}.{name}")
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
    unsafe = stalling(info)
    if unsafe:
        raise StreamUnsafe(
            f"consumer {name} of stream {stream} can lose or stall events: {'; '.join(unsafe)}. Delete it with "
            f"`nats consumer rm {stream} {name}`: the relay makes it anew and goes on where it was."
        )
    await _fit_consumer(js, stream, name, info["config"], pending_max=pending_max)
    return int(info["delivered"]["stream_seq"])


async def _fit_consumer(
    js: JetStreamContext, stream: str, name: str, found: dict[str, Any], *, pending_max: int
) -> None:
    """Give a consumer that is there already the limits that it would be made with; if NATS refuses, keep its own."""
    wanted = {"max_ack_pending": pending_max, "ack_wait": round(ACK_WAIT_S * 1e9)}
    changes = {key: value for key, value in wanted.items() if found.get(key) != value}
    if not changes:
        return
    try:
        body = {"stream_name": stream, "config": found | changes, "action": "update"}
        await _ask(js, f"CONSUMER.CREATE.{stream}.{name}", body)
    except (nats.js.errors.NotFoundError, nats.js.errors.ServiceUnavailableError):
        raise
    except nats.js.errors.APIError as error:
        log.warning("stream.consumer_differs", consumer=name, wanted=changes, error=describe(error))
    else:
        log.info("stream.consumer_changed", consumer=name, **changes)


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

    Refused says that it was not stored; some that are TooLarge are not even sent: NATS would end the connection.
    Any other reason is *unknown*: the stream may have stored the event without our hearing of it. The caller retries
    with the same ids, which the stream recognises.
    """
    answers: list[asyncio.Future[PubAck] | TooLarge] = []
    sent: list[asyncio.Future[PubAck]] = []
    results: list[Published | Exception] = []
    try:
        for event in events:
            lives_s = ttl_s(event.type)
            lives = {} if lives_s is None else {"Nats-TTL": str(lives_s)}
            headers = {Header.MSG_ID.value: event.id, **lives, Header.EXPECTED_STREAM.value: stream}
            body = event.text.encode()
            size, size_max = len(body) + _headers_bytes(headers), connection.nc.max_payload
            if size > size_max:
                answers.append(TooLarge(f"expected at most NATS's max_payload, {size_max} bytes, got {size}"))
                continue
            future = await connection.js.publish_async(
                subject_of(event.subject, event.type), body, wait_stall=timeout_s, stream=stream, headers=headers
            )
            answers.append(future)
            sent.append(future)
        if sent:
            await asyncio.wait(sent, timeout=timeout_s)
    except Exception as error:  # nats-py: closed, buffer full, stalled: nothing after this was sent
        results = [NatsUnavailable(describe(error))] * (len(events) - len(answers))
        if sent:
            await asyncio.wait(sent, timeout=timeout_s)
    finally:
        # also when we are cancelled: each open future holds one of the connection's publish slots
        for future in sent:
            future.cancel()
    return [answer if isinstance(answer, TooLarge) else _answer(answer) for answer in answers] + results


def _headers_bytes(headers: dict[str, str]) -> int:
    """What a header block takes of NATS's max_payload: `NATS/1.0`, a line each, and an empty one."""
    return len(b"NATS/1.0\r\n\r\n") + sum(len(f"{key}: {value}\r\n".encode()) for key, value in headers.items())


def _answer(future: asyncio.Future[PubAck]) -> Published | Exception:
    if future.cancelled():
        return NatsUnavailable("no PubAck within the time limit")
    error = future.exception()
    if isinstance(error, nats.js.errors.NoStreamResponseError):
        return Refused("no stream takes its subject, or none has a leader")
    if isinstance(error, nats.js.errors.APIError) and error.err_code not in (None, IN_PROCESS):
        kind = TooLarge if error.err_code == TOO_LARGE else Refused
        return kind(f"{error.description} (JetStream's error {error.err_code})")
    if error is not None:
        return NatsUnavailable(describe(error))
    ack = future.result()
    return Published(seq=ack.seq, duplicate=bool(ack.duplicate))
