"""Bugs of option A: what a session's own consumer is asked for, what waits of it, and what the stream forgets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from faults.planted.plant import OF_CONSUMERS, plant, replace
from system.cursor import Position
from system.event import SUBJECT_PREFIX
from system.settings import Settings
from system.transport import consumer, source
from system.transport.arrivals import Arrivals
from system.transport.source import JetStreamSource

WAITING_MAX = 3
"""Messages that may wait for a session that drops what has no room."""


def _change_request(change: Callable[[str, dict[str, Any]], None]) -> None:
    """Have every session's consumer asked for otherwise: `change` is given the agent and the settings."""
    request = consumer.consumer_request

    def changed(stream: str, agent: str, name: str, **options: Any) -> dict[str, Any]:
        asked = request(stream, agent, name, **options)
        change(agent, asked["config"])
        return asked

    replace(consumer, "consumer_request", changed)


@plant(
    "consumer-of-what-is-new",
    "a session's consumer begins with what is published next",
    "G1",
    "G2",
    not_over=OF_CONSUMERS,
)
def _consumer_of_what_is_new() -> None:
    def only_new(agent: str, config: dict[str, Any]) -> None:
        config["deliver_policy"] = "new"
        del config["opt_start_seq"]

    _change_request(only_new)


@plant("consumer-without-broadcasts", "a consumer is not asked for events to all", "G1", "G2", not_over=OF_CONSUMERS)
def _consumer_without_broadcasts() -> None:
    def own(agent: str, config: dict[str, Any]) -> None:
        config["filter_subjects"] = [f"{SUBJECT_PREFIX}.{agent}.>"]

    _change_request(own)


@plant("consumer-of-everybody", "a consumer is asked for everybody's events", "G5", not_over=OF_CONSUMERS)
def _consumer_of_everybody() -> None:
    def all_of_them(agent: str, config: dict[str, Any]) -> None:
        config["filter_subjects"] = [f"{SUBJECT_PREFIX}.>"]

    _change_request(all_of_them)


@plant(
    "pending-taken-for-given",
    "a consumer that has messages to give is taken to stand at the stream's end",
    "G1",
    "G2",
    not_over=OF_CONSUMERS,
)
def _pending_taken_for_given() -> None:
    opened = Arrivals.opened

    def at_the_end(self: Arrivals, *, pending: int, end_seq: int) -> None:
        opened(self, pending=0, end_seq=end_seq)

    replace(Arrivals, "opened", at_the_end)


@plant(
    "waiting-forgotten-with-its-consumer",
    "what waits for a session is thrown away with the consumer that gave it, and not asked for again",
    "G1",
    "G2",
    "G6",
    not_over=OF_CONSUMERS,
)
def _waiting_forgotten_with_its_consumer() -> None:
    closed = Arrivals.closed

    def emptied(self: Arrivals) -> None:
        closed(self)
        self._waiting.clear()
        self.bytes = 0

    replace(Arrivals, "closed", emptied)


@plant(
    "slow-session-drops",
    "what comes while much waits is dropped instead of left to NATS",
    "G1",
    "G2",
    not_over=OF_CONSUMERS,
)
def _slow_session_drops() -> None:
    add = Arrivals.add

    def while_there_is_room(self: Arrivals, arrived: Sequence[Any]) -> None:
        room = max(0, WAITING_MAX - len(self))
        add(self, arrived[:room])
        for one in arrived[room:]:
            self.last_seq = max(self.last_seq, one.seq)
            self.pending = one.pending

    replace(Arrivals, "add", while_there_is_room)


@plant(
    "arrivals-untold", "a live session is not told that something came for it", "G1", "G2", "G6", not_over=OF_CONSUMERS
)
def _arrivals_untold() -> None:
    replace(JetStreamSource, "_lose_live", lambda self: None)


@plant(
    "floors-ignored-by-the-stream", "what the stream still has is given though it is gone", "G2", not_over=OF_CONSUMERS
)
def _floors_ignored_by_the_stream() -> None:
    replace(source, "doubtful", lambda rows, floors, critical_types: [])


@plant(
    "messages-without-margin",
    "the stream forgets standard events no later than Postgres deletes them, and tells nobody",
    "G2",
    not_over=OF_CONSUMERS,
)
def _messages_without_margin() -> None:
    _change_ttl(lambda settings: settings.retention_standard_s)


def _change_ttl(lives_s: Callable[[Settings], float], *, critical: bool = False) -> None:
    """Have the stream keep standard events, or all, for so long."""
    rule = Settings.ttl_rule

    def changed(self: Settings, *, allowed: bool) -> Callable[[str], int | None]:
        usual = rule(self, allowed=allowed)
        shorter = max(1, math.floor(lives_s(self)))
        return lambda kind: shorter if allowed and (critical or usual(kind) is not None) else usual(kind)

    replace(Settings, "ttl_rule", changed)


@plant(
    "all-messages-die-alike",
    "the stream keeps critical events for no longer than the others",
    "G1",
    "G2",
    not_over=OF_CONSUMERS,
)
def _all_messages_die_alike() -> None:
    _change_ttl(lambda settings: settings.retention_standard_s, critical=True)


@plant(
    "repeats-known-for-a-second",
    "the stream knows an id for a second, and nobody else does",
    "G4",
    not_over=OF_CONSUMERS,
)
def _repeats_known_for_a_second() -> None:
    limits = Settings.stream_limits

    def forgetful(self: Settings) -> dict[str, Any]:
        return limits(self) | {"dedupe_window_s": 1.0}

    replace(Settings, "stream_limits", forgetful)


@plant(
    "ends-beyond-what-was-given",
    "a session's place is the stream's end as it is now, whatever waits for it",
    "G1",
    "G2",
    "G3",  # what waits is mostly given after all, behind a bookmark that is ahead of it
    not_over=OF_CONSUMERS,
)
def _ends_beyond_what_was_given() -> None:
    reached = JetStreamSource.reached

    def end(self: Any, position: Position) -> Position:
        found = reached(self, position)
        return Position(max(found, found - found % (1 << 48) + self._parts.link.last_seq)) if found else found

    replace(JetStreamSource, "reached", end)
