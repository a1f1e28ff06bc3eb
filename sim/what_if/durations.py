"""Durations as people write them: `90s`, `15m`, `6h`, `7d`, `1h30m`, `250ms`; pure."""

from __future__ import annotations

import re

UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""From the longest to the shortest, in which order they are written."""
EXAMPLES = "90s, 15m, 6h, 7d, 1h30m"

_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|d|h|m|s)", re.ASCII)


class DurationWrong(ValueError):
    """A text is no duration: what was expected, what came, what to do."""


def seconds(text: str) -> float:
    """The seconds that a text names, to the millisecond. Raises DurationWrong."""
    text = text.strip().lower()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        bare = re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
        what = f"; a number needs its unit, such as {text}s or {text}m" if bare else ""
        raise DurationWrong(f"expected a duration such as {EXAMPLES}, got {text!r}{what}")
    units = [unit for _, unit in parts]
    if sorted(units, key=list(UNITS_MS).index) != units or len(set(units)) != len(units):
        raise DurationWrong(f"expected each unit once, from days to milliseconds, such as 1d12h, got {text!r}")
    return round(sum(float(number) * UNITS_MS[unit] for number, unit in parts)) / 1000


def shown(duration_s: float) -> str:
    """A duration in the same words, to the millisecond; `seconds` reads it back."""
    left_ms = round(duration_s * 1000)
    found = []
    for unit, unit_ms in UNITS_MS.items():
        count, left_ms = divmod(left_ms, unit_ms)
        if count:
            found.append(f"{count}{unit}")
    return "".join(found) or "0s"


def roughly(duration_s: float) -> str:
    """A duration as a figure to read: its two largest units."""
    if duration_s < 1:
        return f"{duration_s * 1000:.0f}ms"
    if duration_s < 60:
        return f"{duration_s:.1f}s"
    left_ms = round(duration_s) * 1000
    found: list[str] = []
    for unit, unit_ms in UNITS_MS.items():
        count, left_ms = divmod(left_ms, unit_ms)
        if count or found:
            found.append(f"{count}{unit}" if count else "")
        if len(found) == 2:
            break
    return "".join(found)
