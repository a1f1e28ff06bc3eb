"""The four renderings show what was judged, break on nothing, and are the same every time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports import api
from reports.report import decode
from tests.reports.stories import STORIES, lossy, report_of, written
from tests.reports.story import Story


class _Page(HTMLParser):
    """The tags, ids and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.pictures: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids[str(value)] += 1
            elif name in ("src", "href", "xlink:href", "action"):
                self.addresses.append(str(value))
        if tag == "svg":
            self.pictures.append(dict(attrs).get("aria-label"))


@pytest.mark.parametrize("verdict", STORIES)
class TestRenderings:
    """Of every verdict."""

    def test_json_is_the_report(self, tmp_path: Path, verdict: str) -> None:
        """The JSON file holds the whole report: read back, it is equal."""
        report = report_of(STORIES[verdict](), tmp_path)
        files = api.write_report(report, tmp_path / "out")
        assert decode(files.json.read_bytes()) == report
        assert report.verdict == verdict

    def test_html_is_self_contained_and_says_the_verdict(self, tmp_path: Path, verdict: str) -> None:
        """The page asks nothing of the network, has no id twice, and a text for every picture."""
        report = report_of(STORIES[verdict](), tmp_path)
        text = api.write_report(report, tmp_path / "out").html.read_text()
        page = _Page()
        page.feed(text)
        assert [address for address in page.addresses if not address.startswith("#")] == []
        assert page.tags["script"] == page.tags["link"] == page.tags["img"] == 0
        assert [name for name, count in page.ids.items() if count > 1] == []
        assert page.pictures
        assert all(page.pictures)
        assert f"<b>{verdict}</b>" in text
        assert report.command.split()[0] in text

    def test_svg_references_resolve(self, tmp_path: Path, verdict: str) -> None:
        """Every clip and marker that a picture uses is on the page."""
        text = api.write_report(report_of(STORIES[verdict](), tmp_path), tmp_path / "out").html.read_text()
        used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
        assert used
        assert used <= set(re.findall(r' id="([^"]+)"', text))

    def test_junit_has_a_case_for_each_guarantee(self, tmp_path: Path, verdict: str) -> None:
        """The XML is well-formed, fails exactly where a guarantee is violated, and is never green unless held."""
        report = report_of(STORIES[verdict](), tmp_path)
        suite = ET.parse(api.write_report(report, tmp_path / "out").junit).getroot()
        cases = {str(case.get("name"))[:2]: case for case in suite.findall("testcase")}
        assert {"G1", "G2", "G3", "G4", "G5", "G6"} <= set(cases)
        failed = [name for name, case in sorted(cases.items()) if case.find("failure") is not None]
        assert failed == [one.guarantee for one in report.guarantees if one.verdict == "violated"]
        assert (int(str(suite.get("failures"))) + int(str(suite.get("errors"))) == 0) == (verdict == "held")

    def test_markdown_begins_with_the_verdict(self, tmp_path: Path, verdict: str) -> None:
        """The first line says the verdict and why; tables have as many cells in every row."""
        report = report_of(STORIES[verdict](), tmp_path)
        text = api.write_report(report, tmp_path / "out").markdown.read_text()
        first = text.splitlines()[0]
        assert verdict in first
        assert report.reason in first
        assert _ragged_tables(text) == []


def _ragged_tables(text: str) -> list[str]:
    """Rows of Markdown tables with another number of cells than their head."""
    ragged, width = [], 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        if cells and width and cells != width:
            ragged.append(line)
        width = cells
    return ragged


def test_awkward_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """An id may hold brackets, bars, back-ticks and angle brackets: no rendering breaks or swallows them."""
    name = "e[/red]|`<b>&"
    story = Story()
    story.connect("a", "earliest")
    story.publish(name, "a")
    story.publish("e2", "a")
    story.deliver("a", "e2")
    story.converge()
    path = written(story, tmp_path)
    files = api.write_report(api.judge(path), tmp_path / "out")
    assert "e[/red]|`&lt;b&gt;&amp;" in files.html.read_text()
    assert "`` e[/red]\\|`<b>& ``" in files.markdown.read_text()
    assert _ragged_tables(files.markdown.read_text()) == []
    assert name in str(ET.parse(files.junit).getroot().findtext(".//failure"))


def test_equal_histories_give_equal_bytes_in_every_process(tmp_path: Path) -> None:
    """All four files are the same whatever the process's hash seed."""
    path = written(lossy(), tmp_path)
    code = (
        "import sys; from pathlib import Path; from reports.api import judge, write_report; "
        "write_report(judge(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    contents = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(path), str(out)], check=True, env=environment)
        contents.append({file.name: file.read_bytes() for file in sorted(out.iterdir())})
    assert len(contents[0]) == 4
    assert contents[0] == contents[1]


def test_a_flood_of_findings_is_cut_and_counted(tmp_path: Path) -> None:
    """The report shows a bounded number of findings and says how many it leaves out."""
    story = Story(critical_s=10_000)
    story.connect("a", "earliest")
    for number in range(api.FINDINGS_SHOWN_MAX + 30):
        story.publish(f"e{number}", "a")
    story.bookmark("a")
    story.publish("last", "a")
    story.deliver("a", "last")
    story.converge()
    report = report_of(story, tmp_path)
    assert len(report.findings) == api.FINDINGS_SHOWN_MAX
    assert report.findings_omitted == 30
