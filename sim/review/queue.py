"""What workers have been asked for, and the part on disk that each answer becomes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from sim.options.parts import Parts
from sim.review.parts import WINDOW


class Queue:
    """What workers have been asked for, by the part that it becomes."""

    def __init__(self, pool: Executor, parts: Parts) -> None:
        self._pool, self._parts = pool, parts
        self._waiting: dict[Future[Any], tuple[str, Callable[[list[Any]], Any]]] = {}
        self._found: dict[str, list[Any]] = {}

    @property
    def left(self) -> int:
        """How many are not there yet."""
        return len(self._waiting)

    def shown(self) -> str:
        """What is not there yet, in words."""
        return ", ".join(sorted({part.removesuffix(".json") for part, _ in self._waiting.values()}))

    def submit(self, part: str, made: Callable[[list[Any]], Any], job: Callable[..., Any], *words: Any) -> None:
        """Ask for something; `made` makes the part of all that was found for it so far."""
        self._waiting[self._pool.submit(job, *words)] = part, made

    def collect(self, wait_s: float = 0.0) -> bool:
        """Keep what has come; whether nothing but the window is awaited still. Raises what a worker raised."""
        time.sleep(wait_s)
        changed = {}
        for future in [one for one in self._waiting if one.done()]:
            part, made = self._waiting.pop(future)
            self._found.setdefault(part, []).append(future.result())
            changed[part] = made
        for part, made in changed.items():
            self._parts.keep(part, made(self._found[part]))
        return all(part == WINDOW for part, _ in self._waiting.values())
