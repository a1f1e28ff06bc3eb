"""Which stack a command is to play on, as a person says it: `--stack embedded|compose|external`, `--stack-file`."""

from __future__ import annotations

import enum
from pathlib import Path

from faults.outside.file import StackFile, StackFileInvalid

COMPOSE_FILE = Path(__file__).parents[2] / "deploy" / "compose-stack.toml"


class StackKind(enum.StrEnum):
    """Who starts the stack."""

    EMBEDDED = "embedded"
    COMPOSE = "compose"
    EXTERNAL = "external"


def stack_of(kind: StackKind, path: Path | None, plant: str | None) -> StackFile | None:
    """The stack that is asked for; None is one of our own. Raises StackFileInvalid, OSError."""
    if (path is not None) is not (kind is StackKind.EXTERNAL):
        got = f"--stack {kind.value}" if path is None else f"it with --stack {kind.value}"
        raise StackFileInvalid("--stack-file", [f"expected with --stack external, and only there, got {got}"])
    if kind is StackKind.EMBEDDED:
        return None
    if plant is not None:
        raise StackFileInvalid("--plant", [f"expected with --stack embedded, whose relays are ours, got {kind.value}"])
    if path is None and not COMPOSE_FILE.exists():
        raise StackFileInvalid("--stack compose", [f"expected {COMPOSE_FILE}, got none; use a checkout of the project"])
    return StackFile.load(path or COMPOSE_FILE)


def words_of(kind: StackKind, path: Path | None) -> list[str]:
    """What to add to a command so that it plays on the same stack."""
    words = [] if kind is StackKind.EMBEDDED else ["--stack", kind.value]
    return words if path is None else [*words, "--stack-file", str(path)]
