"""Transaction control: BEGIN, COMMIT, ROLLBACK and savepoints, by the texts that clients send."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple


class Verb(Enum):
    """What a control statement does; its value is the tag of its answer."""

    BEGIN = "BEGIN"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"
    SAVEPOINT = "SAVEPOINT"
    RELEASE = "RELEASE"
    ROLLBACK_TO = "ROLLBACK TO"


class Control(NamedTuple):
    """One control statement."""

    verb: Verb
    savepoint: str = ""


_TEXTS = {
    "BEGIN": Control(Verb.BEGIN),
    "COMMIT": Control(Verb.COMMIT),
    "ROLLBACK": Control(Verb.ROLLBACK),
}
_SAVEPOINT = re.compile(r"(SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO) ([a-z_][a-z0-9_]*)\Z")
_VERBS = {"SAVEPOINT": Verb.SAVEPOINT, "RELEASE SAVEPOINT": Verb.RELEASE, "ROLLBACK TO": Verb.ROLLBACK_TO}


def control_of(text: str) -> Control | None:
    """The control statement that a text is, or None."""
    bare = text.removesuffix(";")
    if found := _SAVEPOINT.match(bare):
        return Control(_VERBS[found[1]], found[2])
    return _TEXTS.get(bare)
