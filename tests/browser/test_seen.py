"""Each guard over a page is seen red: a page with one flaw of every kind, and one with none."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import msgspec
import psutil
import pytest

from faults.stack import PartUnavailable
from tests.browser import chromium
from tests.browser.chromium import looked
from tests.browser.seen import View, colour_of, contrast, flaws
from tests.node import find_node

VIEWS = (
    View(name="desk", width=800, height=600, rules=("wcag2a", "wcag2aa", "best-practice")),
    View(name="night", width=800, height=600, scheme="dark", rules=("color-contrast",)),
    View(name="paper", width=718, height=600, media="print"),
)
HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title>
<meta name="color-scheme" content="light dark"><style>body { font:16px sans-serif } svg text { font-size:16px }</style>
</head><body><main><h1>A page</h1>"""
SVG = """<svg viewBox="0 0 400 100" width="400" height="100" role="img" aria-label="a picture">
<rect width="400" height="100" fill="#fff"/>"""
CLEAN = f"""{HEAD}<p>text</p>
<div style="overflow-x:auto" tabindex="0"><p style="width:2000px">wide, and scrolls {"on " * 200}</p></div>
{SVG}<text x="9" y="50">one</text><text x="150" y="50">two</text>
<text x="250" y="30" transform="rotate(45 250 30)">turned</text>
<text x="275" y="30" transform="rotate(45 275 30)">alike</text></svg></main></body></html>"""
FLAWED = f"""{HEAD}
<p style="width:2000px">too wide to be read {"on " * 200}</p>
<div style="width:50px">Incomprehensibilities</div>
<p style="color:#999; background:#fff">pale words</p>
<img src="http://elsewhere.invalid/picture.png" alt="elsewhere">
<h3>a heading too deep</h3>
<script>console.error("spoken to the console"); throw new Error("thrown by the page")</script>
{SVG}<text x="380" y="50">beyond the edge</text><text x="9" y="50">below</text><text x="20" y="52">above</text>
<text x="9" y="90" style="font-size:3px">tiny</text><text x="99" y="90" fill="#ccc">faint</text></svg>
<svg viewBox="0 0 9 9" width="9" height="9"></svg>
</main></body></html>"""
SAID = (
    "the console says error: spoken to the console",
    "the console says Error: thrown by the page",
    "a request leaves the page: http://elsewhere.invalid/picture.png",
    "px wide in a window of 800 px",
    "cut off at 800 px (from 8 to ",
    'wider than its box: <div class=""> Incomprehensibilities',
    "color-contrast: ",
    "heading-order: ",
    "'beyond the edge' is cut off by the edge of the picture 'a picture'",
    "'below' and 'above' lie on each other in the picture 'a picture'",
    "'tiny' is 3.0 px small in the picture 'a picture'",
    "'faint' has a contrast of 1.61 in the picture 'a picture'",
    "a picture without role=img and a text alternative: ''",
)


def test_a_page_without_flaws_has_none_and_pictures_of_it_are_taken(tmp_path: Path) -> None:
    """By day, by night and on paper, but that on paper nothing scrolls."""
    path = tmp_path / "page.html"
    path.write_text(CLEAN, encoding="utf-8")
    look = looked(path, VIEWS, tmp_path)
    desk, night, paper = look.views
    assert flaws(desk, path.as_uri()) == []
    assert [(one.scheme, one.media) for one in look.views] == [
        ("light", "screen"),
        ("dark", "screen"),
        ("light", "print"),
    ]
    assert not [one for one in flaws(night, path.as_uri()) if "shown as" in one]
    assert any("wide, and scrolls" in one for one in flaws(paper, path.as_uri()))
    assert all((tmp_path / f"{view.name}{kind}.png").stat().st_size for view in VIEWS for kind in ("", "-first"))


def test_each_flaw_of_a_page_is_said(tmp_path: Path) -> None:
    """Too wide, cut off, pale, silent pictures, labels on each other, a word to the console, a request."""
    path = tmp_path / "page.html"
    path.write_text(FLAWED, encoding="utf-8")
    (desk,) = looked(path, VIEWS[:1]).views
    found = flaws(desk, path.as_uri())
    assert [said for said in SAID if not any(said in one for one in found)] == []
    asked = msgspec.structs.replace(desk, view=View(name="desk", width=800, height=600, scheme="dark"))
    assert "shown as light where dark was asked for" in flaws(asked, path.as_uri())


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process, and no file of the browser's, also when it is given up in the middle."""
    path = tmp_path / "page.html"
    path.write_text(CLEAN, encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="seen-") as scratch:  # a short name: the browser's socket lies in it
        monkeypatch.setattr(tempfile, "tempdir", scratch)
        looked(path, VIEWS[:1])
        assert list(Path(scratch).iterdir()) == []
        monkeypatch.setattr(chromium, "LOOK_S", 1.0)
        with pytest.raises(subprocess.TimeoutExpired):
            looked(path, VIEWS * 50)
        left = [one for one in psutil.process_iter(["cmdline"]) if scratch in str(one.info["cmdline"])]
        # who reports crashes notices a moment later that there is nobody left to watch
        assert psutil.wait_procs(left, timeout=20.0)[1] == []
        assert list(Path(scratch).iterdir()) == []


def test_without_any_browser_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on PATH nor from npm: the error names both ways out."""

    def out_of_reach(*_: object) -> Path:
        raise PartUnavailable("@sparticuz/chromium from npm", "see that npm's registry is in reach (code 1)")

    node = find_node(chromium.NODE_MAJOR_MIN)
    monkeypatch.setattr(chromium, "PROGRAMS", ("no-such-browser",))
    monkeypatch.setattr(chromium, "installed_packages", out_of_reach)
    with pytest.raises(
        PartUnavailable, match="put chromium or google-chrome on PATH, or let npm's registry be in reach"
    ):
        chromium.find_chromium(node, {})


def test_contrast_is_that_of_the_guidelines() -> None:
    """Black on white is 21, a colour on itself 1, and #767676 on white is the darkest grey below 4.6."""
    white = colour_of("rgb(255, 255, 255)")
    assert contrast(colour_of("rgb(0, 0, 0)"), white) == pytest.approx(21)
    assert contrast(white, white) == 1
    assert contrast(colour_of("rgba(118, 118, 118, 0.5)"), white) == pytest.approx(4.54, abs=0.01)
    with pytest.raises(ValueError, match=r"expected a colour as rgb\(...\) or rgba\(...\), got 'oklch"):
        colour_of("oklch(1 0 0)")
