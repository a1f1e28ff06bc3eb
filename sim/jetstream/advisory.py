"""What the server tells whoever listens of messages that a consumer gave up."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sim.jetstream.consumer import Consumer

EVENTS = "$JS.EVENT."
GIVEN_UP = f"{EVENTS}ADVISORY.CONSUMER.MAX_DELIVERIES."
"""The only one of JetStream's events that is modelled."""


def advisories(consumer: Consumer, time: str, event_id: str) -> Iterator[tuple[str, bytes]]:
    """Subject and data for each message of which nobody was told yet; an id of its own for each, by its number."""
    given_up, consumer.given_up = consumer.given_up, []
    for number, seq in enumerate(given_up):
        document = {
            "type": "io.nats.jetstream.advisory.v1.max_deliver",
            "id": f"{event_id}{number:06d}",
            "timestamp": time,
            "stream": consumer.stream.name,
            "consumer": consumer.name,
            "stream_seq": seq,
            "deliveries": int(consumer.config["max_deliver"]),
        }
        yield f"{GIVEN_UP}{consumer.stream.name}.{consumer.name}", json.dumps(document, separators=(",", ":")).encode()
