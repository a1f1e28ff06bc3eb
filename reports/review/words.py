"""Durations and counts as a reader says them."""

from __future__ import annotations

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))

PARTS = {
    "nats": "NATS",
    "postgres": "Postgres",
    "redis": "Redis",
    "relay": "every replica of the relay",
    "leader": "the leading replica",
    "agent": "an agent",
}
"""What can be away, for those whose name in the vocabulary says too little."""


def duration(seconds: float) -> str:
    """Such as `3 h`, `1 d 5 min` or `0.25 s`: the two largest units that are not zero."""
    if seconds < 1:
        return f"{seconds:.3g} s"
    parts = []
    left = round(seconds, 3)
    for size, name in _UNITS:
        count = left // size if name != "s" else round(left, 1)
        if count:
            parts.append(f"{count:g} {name}")
            left -= count * size
    return " ".join(parts[:2])


def listed(names: list[str], most: int = 6) -> str:
    """Names in a row; beyond so many, how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and what it counts, such as `1 event` or `2,048 events`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
