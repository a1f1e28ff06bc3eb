"""What each transport takes back of the guarantees G1 to G8: for the log at start-up, for reports, for whoever chooses.

A limit is a condition on which a guarantee holds; what is not offered holds on none. The promises are in the README.
"""

from __future__ import annotations

from collections.abc import Mapping

UNSTORED = (
    "an event that pg-writer has not stored within STREAM_MAX_AGE_S, for Postgres or every replica was away, is lost; "
    "all agents are told by a new epoch (relay_writer_lost_total)"
)
LIMITS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "cursor": {
        "G1": (UNSTORED,),
        "G6": ("while Postgres is away nothing is delivered; nothing is lost meanwhile, for as long as G1 says",),
    },
    "jetstream": {
        "G1": (
            "what only the stream holds is lost with it: a stream that is made anew has what was published since",
            "an event that pg-writer has not stored within its retention and EXPIRY_MARGIN_S is lost; all "
            "agents are told by a new epoch (relay_writer_lost_total)",
        ),
        "G2": (
            "that new epoch begins once pg-writer comes to the loss: a session may have been led past it before, and "
            "an agent that begins anew may be told a second time",
            "an event that pg-writer stores later than half of EXPIRY_MARGIN_S is replayed from Postgres, once it is "
            "there (relay_writer_late_total)",
            "the stream forgets by the clock of NATS and tells nobody: a clock that leaps ahead by more than half of "
            "EXPIRY_MARGIN_S loses events without a word",
        ),
        "G4": (
            "repeats are recognised by the stream alone, by Nats-Msg-Id within its duplicate window; what comes "
            "past the relay without that header may be delivered twice",
            "after a loss that a new epoch tells of, what was delivered before pg-writer had stored it comes again, at "
            "a cursor of that epoch",
        ),
        "G6": (
            "no replay while the last sweep is older than half of EXPIRY_MARGIN_S, nor where Postgres is away; "
            "sessions that are live go on",
        ),
        "G8": (
            "a live event is delivered as soon as the stream has it, before pg-writer confirms that it is stored and "
            "valid beside what is stored",
            "a tail that NATS lost for want of fsync was delivered already, and its cursors are given out again until "
            "pg-writer begins a new epoch",
        ),
    },
    "redis": {
        "G1": (UNSTORED,),
        "G2": (
            "retention counts by Redis's clock, from the moment of feeding; a Redis that is filled anew takes ages and "
            "floors from Postgres",
        ),
        "G6": (
            "live delivery waits for Redis: while it is away, or syncs slowly, nothing is delivered; nothing is lost",
            "every retained event is in memory: a full Redis refuses writes, and delivery stops until there is room",
            "an ack of what pg-writer has not stored yet waits for Postgres",
        ),
        "G8": (
            "Redis replicates asynchronously: after a failover its tail is fed again, at the same positions",
            "what NATS acknowledged and lost was perhaps delivered: agents are then told by a new epoch",
        ),
    },
}
"""By transport and guarantee."""

NOT_OFFERED: Mapping[str, Mapping[str, str]] = {"cursor": {}, "jetstream": {}, "redis": {}}
"""By transport and guarantee: why not."""


def sentences(transport: str) -> list[str]:
    """All that a transport takes back, in the order of the guarantees."""
    taken = [f"{name} not offered: {why}" for name, why in NOT_OFFERED[transport].items()]
    return taken + [f"{name}: {text}" for name, texts in LIMITS[transport].items() for text in texts]
