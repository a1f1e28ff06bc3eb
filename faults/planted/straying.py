"""Ways to stray from the seed, planted into the relay to prove that the simulator notices: no bugs of delivery."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from faults.planted.plant import replace
from system import frames, stream_session
from system.http import events


def _wall_clock() -> None:
    """The machine's time, past every fence: C code asks for it."""

    def dated(retry_ms: int) -> bytes:
        return b": %b\n%b" % (datetime.now(UTC).isoformat().encode(), frames.retry_frame(retry_ms))

    replace(stream_session, "retry_frame", dated)


def _set_order() -> None:
    """The order of a set of texts, which each process hashes in its own way."""
    replace(events, "SSE_HEADERS", {name: events.SSE_HEADERS[name] for name in set(events.SSE_HEADERS)})


def _address() -> None:
    """Where in memory something lies."""

    def addressed(retry_ms: int) -> bytes:
        return b": %d\n%b" % (id([]), frames.retry_frame(retry_ms))

    replace(stream_session, "retry_frame", addressed)


STRAYING: dict[str, Callable[[], None]] = {"wall-clock": _wall_clock, "set-order": _set_order, "address": _address}
"""By name."""
