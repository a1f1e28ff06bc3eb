"""Progress of the measurements, for whoever waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Says what is being done; `show` gets one line at a time."""

    show: Callable[[str], None]

    def say(self, text: str) -> None:
        """Tell what is being prepared."""
        self.show(text)

    def runs(self, name: str, count: int) -> Iterator[int]:
        """Count the runs of a measurement, from 1."""
        for number in range(1, count + 1):
            self.show(f"{name}: run {number} of {count}")
            yield number
