"""Columns side by side: what differs is marked, what says nothing is left out, and every rendering shows the same."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.api import write_what_if
from reports.render.what_if import MARK, gone_shown, headline, markdown, told_by_agent
from reports.told_gone import ToldGone
from reports.what_if import ROWS, Column, Figures, WhatIf, cells, comparison, decode, rows, time_shown

GUARANTEES = ("G1", "G2", "G3", "G4", "G5", "G6")


def figures(**changes: Any) -> Figures:
    """A quiet window's."""
    usual: dict[str, Any] = {
        "guarantees": dict.fromkeys(GUARANTEES, "held"),
        "findings": {},
        "events": 630,
        "unacknowledged": 0,
        "deliveries": 630,
        "lost": 0,
        "told_gone": ToldGone(),
        "told_gone_by_agent": {},
        "told_410": 0,
        "told_gap": 0,
        "redelivered": 0,
        "redispatched": 0,
        "pending": 0,
        "reconnects": 77,
        "longest_away_s": 3_600.0,
        "replayed": 49,
        "refused": 0,
        "after_outage_s": None,
        "after_window_s": 1.1,
        "live_p50_ms": 233.8,
        "live_p99_ms": 900.0,
        "live_max_ms": 1_100.0,
    }
    return Figures(**(usual | changes))


def column(name: str, **changes: Any) -> Column:
    """One that held."""
    usual: dict[str, Any] = {
        "name": name, "settings": [], "outages": [], "notes": [], "command": f"meshrelay sim window --seed 1 # {name}",
        "days": 1.0, "verdict": "held", "reason": "nothing was lost.", "figures": figures(), "wall_s": 3.0,
    }  # fmt: skip
    return Column(**(usual | changes))


def told(critical: int, standard: int) -> Figures:
    """Two agents were told."""
    each = {"ann": ToldGone(critical=critical), "bob": ToldGone(standard=standard)}
    return figures(
        told_gone=ToldGone(critical=critical, standard=standard), told_gone_by_agent=each, told_410=1, told_gap=1
    )


def compared(*columns: Column) -> WhatIf:
    """As the command makes it."""
    return comparison(columns, seed=1, jobs=2, wall_s=4.0, command="meshrelay sim window …")


def row(found: WhatIf, label: str) -> list[str]:
    """A row's cells, marks included."""
    (one,) = (one for one in rows(found) if one.label == label)
    return [f"{cell.text}{MARK if cell.differs else ''}" for cell in cells(found, one)]


def test_what_differs_from_the_first_column_is_marked() -> None:
    """And nothing else: neither what the machine took nor what only one of them has."""
    short = column("short", figures=told(0, 37), wall_s=99.0)
    cut = column("cut", figures=figures(after_outage_s=7.0))
    found = compared(column("base"), short, cut)
    assert row(found, "told gone, standard") == ["0", f"37{MARK}", "0"]
    assert row(found, "agents told so") == ["0", f"2{MARK}", "0"]
    assert row(found, "wall") == ["3.0 s", "99.0 s", "3.0 s"]
    assert row(found, "outage over → caught up") == ["—", "—", "7.0 s"]
    assert found.differs == {
        "short": ["told gone, standard", "agents told so", "410s told", "gaps told"],
        "cut": [],
    }


def test_a_row_that_says_nothing_of_any_column_is_left_out() -> None:
    """G8 is there only where something died; guarantees say how many findings there are."""
    found = compared(column("base"))
    assert "G8" not in [one.label for one in rows(found)]
    broken = figures(guarantees=dict.fromkeys((*GUARANTEES, "G8"), "held") | {"G1": "violated"}, findings={"G1": 3})
    found = compared(column("base"), column("bad", figures=broken, verdict="violated"))
    assert row(found, "G1") == ["held", f"violated (3){MARK}"]
    assert row(found, "G8") == ["—", "held"]


@pytest.mark.parametrize(
    ("verdicts", "worst", "code"),
    [
        (["held", "held"], "held", 0),
        (["held", "violated", "could not run"], "violated", 1),
        (["held", "not converged"], "not converged", 3),
        (["could not run", "held"], "could not run", 4),
    ],
)
def test_the_worst_column_decides(verdicts: list[Any], worst: str, code: int) -> None:
    """A comparison is green only if every column held."""
    found = compared(*(column(f"c{number}", verdict=one) for number, one in enumerate(verdicts)))
    assert (found.verdict, found.exit_code) == (worst, code)


def test_what_was_told_gone_is_in_the_first_sentence() -> None:
    """A verdict of *held* never stands alone where events are gone."""
    found = compared(column("base"), column("short", figures=told(2, 37)))
    assert headline(found) == "2 of 2 held. told gone: short 2 critical and 37 standard (2 agents)."
    assert headline(compared(column("base"))) == "held. nothing was told gone."
    dead = column("dead", figures=None, verdict="could not run")
    assert headline(compared(column("base"), dead)) == "1 of 2 held. dead: could not run."
    assert gone_shown(dead) == "unknown"
    assert told_by_agent(found) == {
        "ann": [ToldGone(), ToldGone(critical=2)],
        "bob": [ToldGone(), ToldGone(standard=37)],
    }


class _Page(HTMLParser):
    """What a page asks for, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and its addresses."""
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def test_every_rendering_has_every_figure(tmp_path: Path) -> None:
    """The page asks nothing of the network, escapes what it shows, and has as much as the Markdown and the JSON."""
    asked = column(
        "short", settings=["retention.standard=6h"], outages=["nats: <kill> at 1d for 3h"], figures=told(2, 37),
        plan="short/p.json", page="short/report.html",
    )  # fmt: skip
    found = compared(column("base"), asked, column("dead", verdict="could not run", figures=None))
    write_what_if(found, tmp_path / "out")
    assert decode((tmp_path / "out" / "what-if.json").read_bytes()) == found
    page, text = _Page(), (tmp_path / "out" / "what-if.md").read_text()
    page.feed((tmp_path / "out" / "index.html").read_text())
    assert not {"script", "link", "img"} & set(page.tags)
    assert page.addresses == ["short/report.html", "short/p.json"]
    for one in rows(found):
        assert one.label in page.text
        assert one.label in text
        for cell in cells(found, one):
            assert cell.text in page.text
            assert cell.text in text
    for words in ("retention.standard=6h", "nats: <kill> at 1d for 3h", asked.command, "2 + 0", "0 + 37"):
        assert words in page.text
        assert words in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {5}


@given(st.floats(min_value=0, max_value=1e7))
def test_times_are_read_back_to_a_part_in_a_hundred(duration_s: float) -> None:
    """A time is shown in two units at most, and says about what it is."""
    units = {"d": 86_400.0, "h": 3_600.0, "min": 60.0, "s": 1.0, "ms": 0.001}
    words = time_shown(duration_s).split()
    assert len(words) in (2, 4)
    value = sum(float(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert value == pytest.approx(duration_s, rel=0.021, abs=0.0001)


def test_rows_have_names_of_their_own() -> None:
    """A mark is kept by its row's name."""
    assert len({one.label for one in ROWS}) == len(ROWS)
    assert markdown(compared(column("base"))).count("≠") == 0
