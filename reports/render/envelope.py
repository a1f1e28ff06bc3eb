"""The envelope's cells, the same words in every rendering: nothing is said to be safe for longer than was tried."""

from __future__ import annotations

from reports.options import OPTIONS
from reports.review.document import EnvelopeRow
from reports.review.words import PARTS, duration

HEADS = ("option", "away", "nothing gone up to", "told gone from", "a promise broken at", "tried")
BETWEEN = "What lies between two lengths that were tried is not known."


def cells(row: EnvelopeRow) -> list[str]:
    """One row, in the order of the heads."""
    tried = ", ".join(map(duration, row.tried_s)) or f"up to {duration(row.longest_s)}"
    safe = "none that was tried" if row.nothing_gone_s is None else duration(row.nothing_gone_s)
    return [OPTIONS[row.transport], PARTS.get(row.what, row.what), safe, told(row), broken(row), tried]


def told(row: EnvelopeRow) -> str:
    """From when on agents are told that events are gone."""
    return f"not up to {duration(row.longest_s)}" if row.told_s is None else duration(row.told_s)


def broken(row: EnvelopeRow) -> str:
    """At which lengths a promise broke; that a longer one did not break it is said, too."""
    if row.broken_s is None:
        return f"not up to {duration(row.longest_s)}"
    at = ", ".join(map(duration, row.broken_at_s or [row.broken_s]))
    held = [length for length in row.tried_s if length > row.broken_s and length not in row.broken_at_s]
    return f"{at}: {', '.join(row.broken)}" + (f" (held at {', '.join(map(duration, held))})" if held else "")


def markdown(rows: list[EnvelopeRow]) -> list[str]:
    """The table."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    return [*lines, *("| " + " | ".join(cells(row)) + " |" for row in rows), "", BETWEEN, ""]
