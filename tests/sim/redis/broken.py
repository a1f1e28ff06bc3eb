"""Ways to break the model of Redis on purpose, each with the scene that must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sim.redis import codec, stream, streams
from sim.redis.codec import Push
from sim.redis.disk import RedisDisk
from sim.redis.engine import Engine
from sim.redis.keyspace import Keyspace
from sim.redis.server import RedisServer
from sim.redis.session import Session
from sim.redis.stream import Stream
from sim.redis.values import SetValue, SortedSet

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One way."""

    apply: Callable[[Patch], None]
    scene: str
    """That notices it."""


def _instead(owner: Any, name: str, value: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(owner, name, value)


def _before(owner: type, name: str, what: Callable[..., Any]) -> Callable[[Patch], None]:
    """Do something to the object first, each time that its method is called."""
    method = getattr(owner, name)

    def changed(self: Any, *args: Any, **options: Any) -> Any:
        what(self)
        return method(self, *args, **options)

    return lambda patch: patch.setattr(owner, name, changed)


def _without_last(disk: RedisDisk) -> None:
    del disk.records[-1:]


def _told_twice(engine: Engine, channel: bytes, payload: bytes) -> int:
    listening = tuple(engine.channels.get(channel, ()))
    for session in listening * 2:
        session.tell(Push((b"message", channel, payload)))
    return len(listening)


def _told_late(engine: Engine, channel: bytes, payload: bytes) -> int:
    listening = tuple(engine.channels.get(channel, ()))
    for session in listening:
        session.told.insert(0, codec.encoded(Push((b"message", channel, payload)), 2))
    return len(listening)


def _torn(engine: Engine, logged: list[Any]) -> None:
    """A transaction's commands, each for itself and the last one forgotten."""
    engine.pending += [(one,) for one in (logged if len(logged) < 2 else logged[:-1])]


TRIM = Stream.trim


def _forgetting(self: Stream, how: stream.Trim) -> int:
    removed = TRIM(self, how)
    if not len(self):
        self.last_id = stream.ID_MIN
    return removed


def _half_a_scan(members: SetValue, cursor: int, count: int) -> tuple[int, list[bytes]]:
    return 0, list(members.told()[: 9 * count])


def _never_empty(_: Keyspace, db: int, key: bytes) -> None:
    """A hash or a set stays though nothing is in it."""


BREAKS: dict[str, Break] = {
    "an expired key stays": Break(apply=_instead(Keyspace, "expire", lambda *_: iter(())), scene="expiring"),
    "what was emptied stays": Break(apply=_instead(Keyspace, "delete_if_empty", _never_empty), scene="hashes"),
    "a scan ends too early": Break(apply=_instead(SetValue, "scan", _half_a_scan), scene="scanned"),
    "equal scores are in no order": Break(
        apply=_instead(SortedSet, "by_rank", lambda self, start, end: [*self][start:end][::-1]), scene="sorted_sets"
    ),
    "an emptied stream forgets its last id": Break(apply=_instead(Stream, "trim", _forgetting), scene="trimmed"),
    "an exclusive start skips a millisecond": Break(
        apply=_instead(streams, "_next", lambda id: (id[0] + 1, 0)), scene="streams_read"
    ),
    "nodes have room without an end": Break(
        apply=_instead(stream.Node, "is_full", property(lambda _: False)), scene="trimmed_by_nodes"
    ),
    "ids are compared in 64 bits": Break(
        apply=_instead(stream, "_as_compared", lambda id, _: id), scene="trimmed_across_far_ids"
    ),
    "watching sees nothing": Break(apply=_instead(Keyspace, "touch", lambda *_: None), scene="watched"),
    "a spoiled transaction is done": Break(
        apply=_before(Session, "_exec", lambda self: setattr(self, "_is_spoiled", False)), scene="spoiled"
    ),
    "transactions end no watching": Break(apply=_instead(Session, "unwatch", lambda _: None), scene="unwatched"),
    "messages are told twice": Break(apply=_instead(Engine, "publish", _told_twice), scene="published"),
    "messages overtake answers": Break(apply=_instead(Engine, "publish", _told_late), scene="heard_by_oneself"),
    "the dead are counted": Break(
        apply=_instead(Engine, "left", lambda self, session: self.sessions.pop(session, None)),
        scene="listeners_that_are_gone",
    ),
    "the last write is forgotten": Break(
        apply=_before(RedisDisk, "sync", _without_last), scene="what_was_answered_survives"
    ),
    "transactions are torn": Break(apply=_instead(Engine, "log", _torn), scene="politely"),
    "unsynced is lost in a kill": Break(
        apply=_instead(RedisServer, "_plan_sync", lambda self: _without_last(self._disk)), scene="once_a_second"
    ),
    "a power loss takes nothing": Break(apply=_instead(RedisDisk, "lose_power", lambda _: 0), scene="an_older_disk"),
    "loading says nothing": Break(
        apply=_before(Engine, "begin_turn", lambda self: setattr(self, "is_loading", False)), scene="while_it_loads"
    ),
    "the password is anything": Break(
        apply=_instead(Session, "_give", lambda self, *_: setattr(self, "is_known", True)), scene="with_a_password"
    ),
}
