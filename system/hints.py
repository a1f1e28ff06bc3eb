"""Hints over core NATS: a word to the other replicas that it is worth to look now. Losing one costs latency only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from nats.errors import Error as NatsError

from system.direct import Delivered
from system.link import NatsLink, NatsUnavailable, describe

log = structlog.get_logger(__name__)

WATERMARK_SUBJECT = "mesh.relay.watermark"
"""A batch was committed; the body is the watermark."""
LEASE_SUBJECT = "mesh.relay.lease"
"""The lease was handed back."""
YIELD_SUBJECT = "mesh.relay.yield"
"""A replica over another transport than option C needs the lease: only a leader of its own kind does what it needs."""
LISTEN_RETRY_S = 0.5


async def listen(
    link: NatsLink,
    subject: str,
    *,
    hint: Callable[[], None],
    listening: Callable[[bool], None] = lambda _: None,
    missed: Callable[[], None] | None = None,
) -> None:
    """Keep a subscription on whichever connection is current; `listening` is told when hints can come, and when not.

    `missed` is called when hints may have been missed; by default that is as good as a hint.

    A direct one: anybody may write on this subject, and headers that nats-py can't read would end its read loop.
    """

    def heard(_: Delivered) -> None:
        hint()

    missed = hint if missed is None else missed
    while True:
        connection = await link.wait_connected()
        try:
            await connection.nc.subscribe_direct(subject, heard)
        except NatsError as error:
            log.warning("hints.not_heard", subject=subject, error=describe(error))
            await asyncio.sleep(LISTEN_RETRY_S)
            continue
        listening(True)
        missed()  # what was hinted before is not told again
        await connection.over.wait()
        listening(False)
        missed()


async def give(link: NatsLink, subject: str, body: bytes = b"") -> None:
    """Hint, if there is a connection."""
    try:
        await link.current().nc.publish(subject, body)
    except (NatsUnavailable, NatsError) as error:
        log.info("hints.not_given", subject=subject, error=describe(error))
