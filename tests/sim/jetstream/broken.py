"""Ways to break the model of NATS on purpose, each with the scene that must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sim.jetstream.cluster import Cluster
from sim.jetstream.connection import Connection
from sim.jetstream.consumer import Consumer
from sim.jetstream.push import PushConsumer
from sim.jetstream.redelivery import Redelivery
from sim.jetstream.stream import Stream
from sim.jetstream.waiting import Waiting

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One way."""

    apply: Callable[[Patch], None]
    scene: str
    """That notices it."""


def _instead(owner: type, name: str, value: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(owner, name, value)


def _before(owner: type, name: str, what: Callable[[Any], Any]) -> Callable[[Patch], None]:
    """Do something to the object first, each time that its method is called."""
    method = getattr(owner, name)

    def changed(self: Any, *args: Any, **options: Any) -> Any:
        what(self)
        return method(self, *args, **options)

    return lambda patch: patch.setattr(owner, name, changed)


def _after(owner: type, name: str, what: Callable[[Any], Any]) -> Callable[[Patch], None]:
    """Do something to the object afterwards."""
    method = getattr(owner, name)

    def changed(self: Any, *args: Any, **options: Any) -> Any:
        answer = method(self, *args, **options)
        what(self)
        return answer

    return lambda patch: patch.setattr(owner, name, changed)


def _without_its_last(stream: Stream) -> None:
    """What a server that forgot to write would have."""
    if stream.count:
        stream.delete(stream.last_seq)


def _leader_without_its_last(cluster: Cluster) -> None:
    for stream in cluster._server._disk.streams.values():
        _without_its_last(stream)


def _without_an_end(waiting: Waiting) -> None:
    """Whoever came last waits for ever."""
    waiting._requests[-1].expires_ns = None


def _served_first(waiting: Waiting) -> None:
    """Whoever got a message gets the next one too."""
    waiting._requests.rotate(1)


BREAKS: dict[str, Break] = {
    "dedupe is off": Break(apply=_before(Stream, "publish", lambda stream: stream.ids.clear()), scene="publishing"),
    "ids are never forgotten": Break(
        apply=_before(Stream, "expire", lambda stream: setattr(stream, "ids_kept_until_ns", 1 << 62)),
        scene="dedupe_window",
    ),
    "ids are forgotten at a restart": Break(
        apply=_after(Stream, "restart", lambda stream: stream.ids.clear()), scene="ids_of_what_is_gone"
    ),
    "a restart forgets what was acknowledged": Break(
        apply=_after(Stream, "restart", _without_its_last), scene="acknowledged_messages_survive"
    ),
    "a restart remembers acks that were not written": Break(
        apply=_before(Consumer, "restart", Consumer.flush), scene="acks_are_forgotten"
    ),
    "a power loss takes nothing": Break(apply=_instead(Stream, "lose_power", lambda _: 0), scene="an_older_disk"),
    "nothing comes again": Break(apply=_instead(Redelivery, "find_overdue", lambda *_: []), scene="redelivery"),
    "naks are passed over": Break(apply=_instead(Redelivery, "refuse", lambda *_: None), scene="naks_in_their_order"),
    "messages are delivered for ever": Break(
        apply=_instead(Redelivery, "most", property(lambda _: 0)), scene="refused_for_the_last_time"
    ),
    "max_ack_pending is passed over": Break(
        apply=_instead(Consumer, "_is_at_limit", property(lambda _: False)), scene="ack_pending_limit"
    ),
    "nothing grows too old": Break(apply=_instead(Stream, "expire", lambda *_: None), scene="expired_under_a_consumer"),
    "discard policies are swapped": Break(apply=_instead(Stream, "_full", lambda *_: None), scene="full_stream"),
    "limits are passed over": Break(apply=_instead(Stream, "make_room", lambda _: None), scene="rolling_stream"),
    "consumers take no notice of a purge": Break(
        apply=_after(Stream, "purge", lambda stream: setattr(stream, "purged_seq", 0)), scene="purging"
    ),
    "requests have no turns": Break(apply=_after(Waiting, "gave", _served_first), scene="turns"),
    "requests never end": Break(apply=_after(Waiting, "add", _without_an_end), scene="batches"),
    "flow control never asks": Break(apply=_instead(PushConsumer, "_counted", lambda *_: []), scene="flow_controlled"),
    "an ordered consumer skips its first message": Break(
        apply=_after(PushConsumer, "__init__", lambda one: setattr(one, "_looked_seq", one._looked_seq + 1)),
        scene="held_until_heard",
    ),
    "whoever speaks is asked all the same": Break(
        apply=_before(Connection, "_ping_client", lambda one: setattr(one, "_has_spoken", False)),
        scene="asked_once_while_they_speak",
    ),
    "who asks nobody waits": Break(
        apply=_before(Connection, "_published", lambda one: setattr(one, "_no_responders", False)),
        scene="nobody_there",
    ),
    "an election loses what was acknowledged": Break(
        apply=_after(Cluster, "elect", _leader_without_its_last), scene="a_leader_is_killed"
    ),
    "an election forgets acks": Break(
        apply=_instead(Consumer, "_is_replicated", property(lambda _: False)), scene="acknowledged_before_the_election"
    ),
}
