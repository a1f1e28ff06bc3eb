"""Every number of the report is in its JSON, and every number of the JSON that a verdict rests on is in the report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reports.render import review as rendering
from reports.review.document import Review, decode, encode
from tests.browser.pages import bare, compared, reviewed
from tests.reports.review.evidence import sound
from tests.reports.review.numbers import numbers_in, said_by_page, unvouched

REVIEWS = {"violated": compared, "held": lambda: reviewed(sound()), "bare": bare}
BEARING = ("confidence", "promises", "gaps", "gap_totals", "envelope", "outages", "covered", "power", "real", "marks")
"""The parts that hold a number from which a verdict or a claim follows."""
UNSEEN = {"power.seeds.runs", "promises.real.upper_limit"}
"""The first is `caught`, which is shown; of the real stack the page shows counts, and bounds of the seeds alone."""


@pytest.mark.parametrize("kind", REVIEWS)
class TestNumbers:
    """Of every kind of review."""

    def test_every_number_of_the_page_is_in_the_json(self, kind: str) -> None:
        """Texts, text alternatives of pictures, and numbers in pictures; the ticks of axes are left out."""
        review = REVIEWS[kind]()
        said = said_by_page(rendering.html(review))
        assert len([one for text in said for one in numbers_in(text)]) > (20 if kind == "bare" else 1_500)
        assert unvouched(said, _json(review)) == []

    def test_every_number_of_the_markdown_is_in_the_json(self, kind: str) -> None:
        """Line by line."""
        review = REVIEWS[kind]()
        lines = rendering.markdown(review).splitlines()
        assert len([one for line in lines for one in numbers_in(line)]) > (10 if kind == "bare" else 100)
        assert unvouched(lines, _json(review)) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("broken by 1,203 of 93.704 seeds", ["1,203", "93.704"]),
        ("away for 1 d 2 h: told", ["1 d 2 h"]),
        ("fewer than 0.572 %.", ["0.572 %"]),
        ("23 (19-27)", ["19", "27", "23"]),
        ("3.4 ms, 87.9 ms", ["3.4", "87.9"]),
        ("of 15, 3 and 1,203, some", ["15", "3", "1,203"]),
        ("50+ agents, 70% of it", ["50", "70"]),
        ("G1, p99, e-7f3a, 99th, 3.11.2, 2026-03-04T05:06:07Z, 7ffe66492907", []),
    ],
)
def test_numbers_are_told_from_names(text: str, found: list[str]) -> None:
    """What stands by itself is a number; a part of a name, a version or a time is none."""
    assert numbers_in(text) == found


def test_a_number_that_the_json_lacks_is_found() -> None:
    """A sum that only the page makes, another length of time, another share."""
    review = compared()
    texts = ["7,777 events", "away for 3 h 17 min", "fewer than 0.573 %", "9.87 (1-2)"]
    assert [one.split(" in ")[0] for one in unvouched(texts, _json(review))] == [
        "7,777",
        "3 h 17 min",
        "0.573 %",
        "9.87",
    ]


def test_a_number_that_a_verdict_rests_on_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of every field, changed alone; a picture counts by its text alternative."""
    from reports.render import charts, review_charts

    monkeypatch.setattr(rendering, "_costs", lambda review: [])
    for module in (charts, review_charts):
        monkeypatch.setattr(module, "figure", lambda draw, name, text, **size: text)
    whole = msgspec.to_builtins(compared())
    before = rendering.html(compared())
    silent = []
    fields: dict[str, tuple[str | int, ...]] = {}
    for path in _numbers(whole):  # the first of each is of what was chosen
        fields.setdefault(".".join(step for step in path if isinstance(step, str)), path)
    assert len(fields) > 40
    for field, path in fields.items():
        changed = deepcopy(whole)
        _set(changed, path)
        if rendering.html(msgspec.convert(changed, Review)) == before:
            silent.append(field)
    assert set(silent) == UNSEEN


def test_equal_evidence_gives_equal_bytes_in_every_process(tmp_path: Path) -> None:
    """All four files are the same whatever the process's hash seed."""
    code = (
        "import sys; from pathlib import Path; from reports.api import write_review; "
        "from tests.browser.pages import compared; write_review(compared(), Path(sys.argv[1]))"
    )
    contents = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(out)], check=True, env=environment)
        contents.append({file.name: file.read_bytes() for file in sorted(out.iterdir())})
    assert list(contents[0]) == ["junit.xml", "report.html", "report.json", "report.md"]
    assert contents[0] == contents[1]
    assert decode(contents[0]["report.json"]) == compared()


def _json(review: Review) -> Any:
    """What a reader of report.json has."""
    return msgspec.json.decode(encode(review))


def _numbers(whole: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    """Where the numbers are that a verdict rests on."""

    def walk(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
        if isinstance(value, dict | list):
            for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(inner, (*path, step))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path

    for part in BEARING:
        yield from walk(whole[part], (part,))


def _set(whole: Any, path: tuple[str | int, ...]) -> None:
    """Make one number another one, and still of its kind."""
    for step in path[:-1]:
        whole = whole[step]
    old = whole[path[-1]]
    whole[path[-1]] = old + 12_345 if isinstance(old, int) else old * 0.61 + 0.0123
