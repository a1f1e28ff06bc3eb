"""What is written about the model of Redis names scenes that exist, and no scene is left out of the suite."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sim.redis import test_programs
from tests.sim.redis.arms import PEACEFUL, SCENES, VIOLENT
from tests.sim.redis.broken import BREAKS
from tests.sim.redis.given import SETTINGS

DIFFERENCES = Path(__file__).parents[3] / "sim" / "DIFFERENCES.md"


def test_what_differed_is_held() -> None:
    """Each difference that was settled names scenes that exist, and hold it from then on."""
    section = DIFFERENCES.read_text().split("## Redis")[1].split("\n## ")[0]
    settled = section.split("### Settled")[1].split("### Deliberate")[0]
    rows = [line for line in settled.splitlines() if line.startswith("| ")][1:]
    held = {row.split("|")[1].strip(): re.findall(r"`(\w+)`", row.split("|")[-2]) for row in rows}
    assert len(held) >= 5
    assert [what for what, names in held.items() if not names] == []
    known = {*SCENES, *vars(test_programs)}
    assert [name for names in held.values() for name in names if name not in known] == []


def test_the_counts_that_are_written_are_the_suite_s() -> None:
    """So many scenes of each kind, and breaks, as the document says; no scene hides behind another of its name."""
    section = DIFFERENCES.read_text().split("## Redis")[1].split("\n## ")[0]
    written = [int(row.split("|")[-2].split(";")[0]) for row in section.splitlines() if re.search(r"\.py`.*\| \d", row)]
    assert written[:2] == [len(PEACEFUL), len(VIOLENT)]
    assert len(SCENES) == len(PEACEFUL) + len(VIOLENT)
    assert len(BREAKS) == 20
    assert SETTINGS.keys() <= SCENES.keys()
