"""Which parts of the evidence are of which version of the relay, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from reports.review.document import Kept


def version(one: Kept) -> str:
    """Which relay it was."""
    return f"{one.relay or 'not noted'} ({'the same' if one.is_same else 'another'})"


def markdown(kept: Sequence[Kept]) -> list[str]:
    """The table; nothing if all is of this run."""
    if not kept:
        return []
    lines = ["| kept from earlier runs | relay's sources | measured | commits |", "|---|---|---|---|"]
    for one in kept:
        commits = ", ".join(f"`{name}`" for name in one.commits) or "not noted"
        lines.append(f"| {', '.join(one.parts)} | {version(one)} | {', '.join(one.days)} | {commits} |")
    return [*lines, ""]
