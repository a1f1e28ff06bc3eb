"""What each transport can't give, in sentences: for the log at start-up, for reports, and for whoever chooses."""

from __future__ import annotations

from collections.abc import Mapping

LIMITS: Mapping[str, tuple[str, ...]] = {
    "cursor": ("while Postgres is away nothing is delivered; nothing is lost meanwhile",),
    "jetstream": (
        "what only the stream holds is lost with it: a stream that is made anew has what was published since",
        "a tail that NATS lost for want of fsync was delivered already, and its cursors are given out again until "
        "pg-writer begins a new epoch",
        "a live event is delivered as soon as the stream has it, before pg-writer confirms that it is stored and valid "
        "beside what is stored",
        "repeats are recognised by the stream alone, by Nats-Msg-Id within its duplicate window; what comes "
        "past the relay without that header may be delivered twice",
        "an event that pg-writer stores later than half of EXPIRY_MARGIN_S is replayed from Postgres, once it is there "
        "(relay_writer_late_total)",
        "an event that pg-writer has not stored within its retention and EXPIRY_MARGIN_S is lost "
        "(relay_writer_lost_total)",
        "the stream forgets by the clock of NATS and tells nobody: a clock that leaps ahead by more than half of "
        "EXPIRY_MARGIN_S loses events without a word",
        "no replay while the last sweep is older than half of EXPIRY_MARGIN_S, nor where Postgres is away; "
        "sessions that are live go on",
    ),
}
"""By the name of the setting."""
