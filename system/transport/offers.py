"""What an option can't give that another one can, in sentences: for the log at start-up, and for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OFFERS: Mapping[str, Sequence[str]] = {
    "redis": (
        "Live delivery waits for Redis: while it is away, or syncs slowly, nothing is delivered; nothing is lost.",
        "An event may be delivered before pg-writer has stored it: an ack may have to wait for Postgres.",
        "Retention counts on Redis's clock, from the feed; a Redis filled anew takes ages and floors from Postgres.",
        "Every retained event is in memory: a full Redis refuses writes, and delivery stops until there is room.",
        "Redis replicates asynchronously: after a failover its tail is fed again, at the same positions.",
        "What NATS alone acknowledged and lost was perhaps delivered: agents are then told by a new epoch.",
    ),
}
