"""What a planted bug is, and how a part of the relay is replaced and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from system.transport.names import TransportName

Plans = Literal["swarm", "unsynced"]
CURSOR = (TransportName.CURSOR,)
JETSTREAM = (TransportName.JETSTREAM,)
REDIS = (TransportName.REDIS,)
TABLE = (TransportName.CURSOR, TransportName.JETSTREAM)
"""Sessions that read Postgres, all of the time or of what lies far back, and are told what is gone by its floors."""
"""Under which plans a bug shows: any, or only where NATS may lose its tail, which begins an epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedBug:
    """One way to break the relay."""

    name: str
    what: str
    guarantees: frozenset[str]
    """Guarantees of which at least one must be found violated."""
    apply: Callable[[], None]
    plans: Plans = "swarm"
    over: tuple[TransportName, ...] = tuple(TransportName)
    """The transports over which it decides what agents get: what harms pg-writer's tables alone hardly ever reaches
    sessions that read the stream or Redis. The first is where it is hunted if nobody says otherwise."""
    kinds: frozenset[str] = frozenset()
    """Findings of which one must be made, where the guarantee alone would not tell the bug from its plans."""


PLANTED: dict[str, PlantedBug] = {}
"""Every known bug by its name."""


def plant(
    name: str,
    what: str,
    *guarantees: str,
    plans: Plans = "swarm",
    over: Iterable[TransportName] = tuple(TransportName),
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
            over=tuple(over),
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
