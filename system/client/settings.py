"""The client's limits, and why each has its number."""

from __future__ import annotations

from dataclasses import dataclass

from system.client.sse import FRAME_BYTES_MAX_DEFAULT

BODY_BYTES_MAX = 64 * 1024
"""A problem document has a few hundred bytes; a proxy's error page need not be read whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Limits and intervals of one agent client; the defaults suit the relay's defaults."""

    start_from: str | None = None
    """Where to begin while the store is empty: `earliest`, `now`, `acked`; None is the relay's choice (last ack)."""
    heartbeat_s: float = 15.0
    """How often the relay writes at least one byte; its own HEARTBEAT_S."""
    heartbeats_missed_max: int = 3
    """Silence of this many heartbeats is a dead connection; one or two may fall to a slow network."""
    connect_timeout_s: float = 10.0
    response_timeout_s: float = 30.0
    """From the request's first byte to the response's head, or to the end of a short answer."""
    token_timeout_s: float = 30.0
    backoff_base_s: float = 1.0
    """The first ceiling of the jittered back-off, until the relay's `retry:` replaces it."""
    backoff_base_min_s: float = 0.01
    """What a `retry: 0` is read as: never a hot loop."""
    backoff_max_s: float = 30.0
    """The last ceiling; the relay's own recovery is faster, so longer only delays work."""
    told_max_s: float = 300.0
    """The longest Retry-After or retry_ms that is obeyed: a mistaken one must not park an agent for a day."""
    handler_attempts_max: int = 5
    """Failures in one place (handler raised, frame unreadable) before run() raises; the event is never passed over."""
    unauthorized_attempts_max: int | None = None
    """401s in a row before run() raises; None: never, since a skewed clock or a key server's outage heals."""
    frame_bytes_max: int = FRAME_BYTES_MAX_DEFAULT
    ack_interval_s: float | None = 5.0
    """At most one ack in this time; far below any redispatch limit. None: never acknowledge."""
    ack_flush_timeout_s: float = 5.0
    """How long stop() waits for the last ack; without it the relay redelivers or redispatches, nothing is lost."""

    def __post_init__(self) -> None:
        """Refuse what would hang or spin. Raises ValueError."""
        checks = (
            (self.heartbeat_s > 0, f"heartbeat_s: expected more than 0, got {self.heartbeat_s}"),
            (
                self.heartbeats_missed_max >= 1,
                f"heartbeats_missed_max: expected 1 or more, got {self.heartbeats_missed_max}",
            ),
            (
                0 < self.backoff_base_min_s <= self.backoff_max_s,
                f"backoff_base_min_s: expected more than 0, at most backoff_max_s, got {self.backoff_base_min_s}",
            ),
            (
                self.handler_attempts_max >= 1,
                f"handler_attempts_max: expected 1 or more, got {self.handler_attempts_max}",
            ),
            (self.frame_bytes_max >= 1, f"frame_bytes_max: expected 1 or more, got {self.frame_bytes_max}"),
            (
                self.ack_interval_s is None or self.ack_interval_s > 0,
                f"ack_interval_s: expected more than 0, or None for no acks, got {self.ack_interval_s}",
            ),
        )
        wrong = [message for is_right, message in checks if not is_right]
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def watchdog_s(self) -> float:
        """Silence after which a connection is taken for dead."""
        return self.heartbeat_s * self.heartbeats_missed_max
