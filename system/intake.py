"""Messages of the stream as those who decide about them read them: one at a time, as they arrive or by sequence."""

from __future__ import annotations

import asyncio

import nats
import structlog
from nats.js import JetStreamContext

from system import event
from system.batch import Incoming
from system.direct import Delivered
from system.event import EventInvalid
from system.link import Connection

log = structlog.get_logger(__name__)

FILL_CONCURRENCY = 64
NO_MESSAGE = 10037
"""JetStream's error code for 'the stream has no such message'; a 404 with another code is about the stream."""


def read_message(message: Delivered, *, bytes_max: int) -> Incoming:
    """A message that a consumer delivered; `bytes_max` is that of an event.

    Its place is in the subject for its ack: `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer
    seq>.<ts ns>.<pending>`.
    """
    _, seq, _, ts_ns, _ = message.reply.rsplit(".", 4)
    return parse(int(seq), int(ts_ns), message.subject, message.data, bytes_max=bytes_max)


def parse(seq: int, ts_ns: int, subject: str, data: bytes, *, bytes_max: int) -> Incoming:
    """A message as an event, or with the reason why it is none."""
    try:
        return Incoming(seq, ts_ns, event.read_message(subject, data, bytes_max=bytes_max), subject)
    except EventInvalid as error:
        return Incoming(seq, ts_ns, None, subject, data, str(error))


async def fill(connection: Connection, stream: str, first: int, last: int, *, bytes_max: int) -> list[Incoming]:
    """Read a hole's messages directly; those that the stream no longer has come back as lost.

    Raises nats.errors.Error, TimeoutError.
    """
    gate = asyncio.Semaphore(FILL_CONCURRENCY)

    async def one(seq: int) -> Incoming:
        async with gate:
            try:
                found = await connection.js.get_msg(stream, seq=seq)
            except nats.js.errors.NotFoundError as error:
                if error.err_code != NO_MESSAGE:
                    raise  # the stream itself is not there just now: that says nothing about its messages
                return Incoming(seq, 0, None, "", lost_until=seq)
        ts_ns = round(found.time.timestamp() * 1e6) * 1000 if found.time else 0
        return parse(seq, ts_ns, found.subject or "", found.data or b"", bytes_max=bytes_max)

    return list(await asyncio.gather(*(one(seq) for seq in range(first, last + 1))))


async def message_time_ns(js: JetStreamContext, stream: str, seq: int) -> int | None:
    """JetStream's time of a stored message, or None if it is no longer there. Raises nats.errors.Error."""
    if seq == 0:
        return None
    try:
        found = await js.get_msg(stream, seq=seq)
    except nats.js.errors.NotFoundError as error:
        if error.err_code != NO_MESSAGE:
            raise
        return None
    return round(found.time.timestamp() * 1e6) * 1000 if found.time else None
