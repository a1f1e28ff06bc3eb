"""What a planted bug is, and how a part of the relay is replaced and put back."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from system.transport.names import TransportName

Plans = Literal["swarm", "unsynced"]
"""Under which plans a bug shows: any, or only where NATS may lose its tail, which begins an epoch."""
NotOver = Mapping[TransportName, str]
"""Why a bug harms nobody's sessions over a transport."""
ANYWHERE: NotOver = {}
NOT_PUSHED: NotOver = {
    TransportName.JETSTREAM: "no event passes the hub there: what comes through the consumer is read as a page",
    TransportName.REDIS: "no event passes the hub there: news sends a session back to read a page of Redis",
}
NOTHING_WHILE_LIVE: NotOver = {
    TransportName.JETSTREAM: "a live session is sent no event there: nothing of its own lies behind where it went live",
    TransportName.REDIS: "a live session is sent no event there: nothing of its own lies behind where it went live",
}
NOT_FROM_POSTGRES: NotOver = {
    TransportName.REDIS: "no page of Postgres is read there: events and floors come from Redis",
}
BY_REDIS_CLOCK: NotOver = {
    TransportName.REDIS: "Redis expires by its own clock; the table is read only to fill it anew",
}
WITHOUT_REPEATS: NotOver = {
    TransportName.JETSTREAM: "the stream itself recognises repeats there for as long as they are retained: none comes",
}
NOT_TIMED: NotOver = {
    TransportName.JETSTREAM: "when an event was stored does not show there, for it is delivered before",
    TransportName.REDIS: "when an event was stored does not show there, for it is delivered before",
}
OF_CONSUMERS: NotOver = {
    TransportName.CURSOR: "no session has a consumer there, nor does the stream expire before Postgres",
    TransportName.REDIS: "no session has a consumer there, nor does the stream expire before Redis",
}
OF_FEEDS: NotOver = {
    TransportName.CURSOR: "nothing is fed to Redis there",
    TransportName.JETSTREAM: "nothing is fed to Redis there",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedBug:
    """One way to break the relay."""

    name: str
    what: str
    guarantees: frozenset[str]
    """Guarantees of which at least one must be found violated."""
    apply: Callable[[], None]
    plans: Plans = "swarm"
    not_over: NotOver = field(default_factory=dict)
    """The transports over which it decides nothing of what agents get, each with the reason."""
    kinds: frozenset[str] = frozenset()
    """Findings of which one must be made, where the guarantee alone would not tell the bug from its plans."""

    @property
    def over(self) -> tuple[TransportName, ...]:
        """The transports on whose path it lies; it is hunted over the first if nobody says otherwise."""
        return tuple(one for one in TransportName if one not in self.not_over)


PLANTED: dict[str, PlantedBug] = {}
"""Every known bug by its name."""


def plant(
    name: str,
    what: str,
    *guarantees: str,
    plans: Plans = "swarm",
    not_over: NotOver = ANYWHERE,
    kinds: Iterable[str] = (),
) -> Callable[[Callable[[], None]], None]:
    """Register the function that plants this bug."""

    def register(apply: Callable[[], None]) -> None:
        assert name not in PLANTED, name
        PLANTED[name] = PlantedBug(
            name=name,
            what=what,
            guarantees=frozenset(guarantees),
            apply=apply,
            plans=plans,
            not_over=dict(not_over),
            kinds=frozenset(kinds),
        )

    return register


_undo: list[tuple[Any, str, Any]] = []


def replace(owner: Any, name: str, value: Any) -> None:
    """Put `value` in the place of a part of the relay, which must be there: a plant that misses proves nothing."""
    assert hasattr(owner, name), f"expected {owner!r} to have {name}; the relay has changed, plant the bug anew"
    _undo.append((owner, name, getattr(owner, name)))
    setattr(owner, name, value)


@contextmanager
def planted(name: str) -> Iterator[PlantedBug]:
    """Break the relay of this process for the length of a `with`. Raises KeyError for a bug that is not known."""
    bug = PLANTED[name]
    begun = len(_undo)
    try:
        bug.apply()
        yield bug
    finally:
        while len(_undo) > begun:
            owner, attribute, value = _undo.pop()
            setattr(owner, attribute, value)


def unknown(name: str, there: Iterable[str] = PLANTED) -> str:
    """What to say of a name that is not among those that are there."""
    names = sorted(there)
    near = difflib.get_close_matches(name, names, n=1)
    return f"expected one of {', '.join(names)}, got {name!r}" + (f"; did you mean {near[0]}?" if near else "")
