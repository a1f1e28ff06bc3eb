"""What an event says, as a digest: the same for a publisher and for the agent that was given the event."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

BESIDE = ("id", "redispatchof", "redispatchcount")
"""What a stale redispatch has otherwise than its original."""
DIGITS = 16


def digest_of(event: bytes) -> str:
    """The digest of a CloudEvent as JSON, whatever its spaces and the order of its attributes."""
    attributes: dict[str, Any] = msgspec.json.decode(event)
    for name in BESIDE:
        attributes.pop(name, None)
    return hashlib.sha256(msgspec.json.encode(attributes, order="sorted")).hexdigest()[:DIGITS]
