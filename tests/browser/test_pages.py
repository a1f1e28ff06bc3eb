"""Every page in a real browser: on a desk, on a phone, by day, by night and on paper."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser.chromium import looked
from tests.browser.pages import PAGES
from tests.browser.seen import Look, View, flaws

ALL = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
CONTRAST = ("color-contrast",)
VIEWS = (
    View(name="desk-light", width=1280, height=900, rules=ALL),
    View(name="desk-dark", width=1280, height=900, scheme="dark", rules=CONTRAST),
    View(name="phone-light", width=390, height=844),
    View(name="phone-dark", width=390, height=844, scheme="dark"),
    # A4 between margins of 1 cm, asked for by somebody who reads by night
    View(name="paper", width=718, height=1047, scheme="dark", media="print", rules=CONTRAST),
)


def flaws_of(look: Look, path: Path) -> list[str]:
    """What is wrong in any view, with its name in front."""
    assert [one.view for one in look.views] == list(VIEWS)
    return [f"{seen.view.name}: {one}" for seen in look.views for one in flaws(seen, path.resolve().as_uri())]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_wherever_it_is_read(tmp_path: Path, name: str) -> None:
    """Nothing is cut off or on top of another, all is readable, the console is silent, no request leaves the file."""
    path = tmp_path / "page.html"
    path.write_text(PAGES[name](), encoding="utf-8")
    look = looked(path, VIEWS)
    assert all(len(seen.texts) > 20 for seen in look.views)
    assert flaws_of(look, path) == []


class _Outline(HTMLParser):
    """A page's tables without a header cell, its ids, and what its links lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[int] = []
        self.ids: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        if tag == "table":
            self.tables.append(0)
        elif tag == "th":
            self.tables[-1] += 1
        elif tag == "a":
            self.targets.append(found.get("href") or "")


@pytest.mark.parametrize("name", PAGES)
def test_tables_have_headers_and_links_lead_somewhere(name: str) -> None:
    """Every table has header cells; every link within the page leads to a place in it."""
    outline = _Outline()
    outline.feed(PAGES[name]())
    assert outline.tables
    assert all(outline.tables)
    within = [one[1:] for one in outline.targets if one.startswith("#")]
    assert set(within) <= outline.ids
    assert bool(within) == ("review" in name)
