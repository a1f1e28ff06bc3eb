"""The real arm's answers, a few scenes played at once: scenes mostly wait, each on a client and a stream of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

Key = TypeVar("Key")


class Ahead:
    """Plays the scene that is asked for together with those behind it, and keeps what they saw."""

    def __init__(self, names: Iterable[Any], *, at_once: int, alone: Iterable[Any] = ()) -> None:
        """`alone` disturb others, or are disturbed."""
        self._names = list(names)
        self._at_once = at_once
        self._alone = frozenset(alone)
        assert self._alone <= set(self._names), "expected scenes that exist"
        self._seen: dict[Any, Any] = {}

    async def seen(self, name: Key, play: Callable[[Key, int], Awaitable[list[Any]]]) -> list[Any]:
        """What a scene saw. `play` is given a scene and its place among those that are played at once."""
        if name not in self._seen:
            behind = [one for one in self._names[self._names.index(name) :] if one not in self._seen]
            group = [name] if name in self._alone else [one for one in behind if one not in self._alone]
            group = group[: self._at_once]
            playing = [play(one, place) for place, one in enumerate(group)]
            self._seen |= dict(zip(group, await asyncio.gather(*playing, return_exceptions=True), strict=True))
        found = self._seen[name]
        if isinstance(found, BaseException):
            raise found
        return list(found)
