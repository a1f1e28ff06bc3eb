"""Every statement about NATS has scenes that hold both servers to it, and no scene is left out of the suite."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.sim import test_full_disks
from tests.sim.jetstream import test_conformance, test_programs
from tests.sim.jetstream.arms import ASKED, PEACEFUL, THREES, VIOLENT
from tests.sim.jetstream.coverage import COVERED, FAILURES, RECORDINGS, WIRE

DIFFERENCES = Path(__file__).parents[3] / "sim" / "DIFFERENCES.md"
ALL = PEACEFUL | VIOLENT | ASKED | THREES


def played() -> Counter[str]:
    """How often each scene is a case of the suite, by what pytest is told of its tests."""
    cases: Counter[str] = Counter()
    for name, test in vars(test_conformance).items():
        for mark in getattr(test, "pytestmark", []) if name.startswith("test_") else []:
            if mark.name == "parametrize":
                cases.update(one if isinstance(one, str) else one[0] for one in mark.args[1])
    return cases


@pytest.mark.parametrize("statement", COVERED)
def test_a_statement_has_scenes_that_run(statement: str) -> None:
    """Each scene that is named for a statement exists, and both arms play it."""
    names = COVERED[statement]
    assert names, "a statement without a scene is held by nothing"
    assert [name for name in names if name not in ALL] == []
    assert [name for name in names if not played()[name]] == []


def test_every_scene_is_played() -> None:
    """No scene is written and then forgotten, nor hides behind another of its name."""
    assert [name for name in ALL if not played()[name]] == []
    assert len(ALL) == len(PEACEFUL) + len(VIOLENT) + len(ASKED) + len(THREES)
    assert len(COVERED) == len(WIRE) + len(FAILURES) + len(RECORDINGS)


def test_what_differed_is_held() -> None:
    """Each difference that was settled names scenes that exist, and hold it from then on."""
    settled = DIFFERENCES.read_text().split("### Settled")[1].split("### Deliberate")[0]
    rows = [line for line in settled.splitlines() if line.startswith("| ")][1:]
    held = {row.split("|")[1].strip(): re.findall(r"`(\w+)`", row.split("|")[-2]) for row in rows}
    assert len(held) > 20
    assert [what for what, names in held.items() if not names] == []
    known = {*ALL, *vars(test_programs), *vars(test_full_disks)}
    assert [name for names in held.values() for name in names if name not in known] == []
