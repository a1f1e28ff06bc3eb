"""Links, anchors and paths in Markdown lead to what is there."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from tests.docs import cli
from tests.docs.documents import ROOT, Document, documents

DOCUMENTS = documents()
FILES = cli.project_files()
SOURCE = re.compile(r"[\w./-]*\w\.(?:py|sql|yml|toml|j2|css|csv)(?:::\w+)?")
FOLDER = re.compile(r"(?:system|faults|sim|reports|tests|deploy|docs)(?:/[\w.-]+)*/?")


def broken_links(document: Document) -> list[str]:
    """The links that lead nowhere, by line. Addresses of other hosts are not looked up."""
    wrong = []
    for line, target in document.links:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = _joined(document.path, path) if path else document.path
        if place not in FILES and not (ROOT / place).is_dir():
            wrong.append(f"{document.path}:{line}: expected a file or folder, got {target}")
        elif anchor and anchor not in Document(place, (ROOT / place).read_text(encoding="utf-8")).anchors:
            wrong.append(f"{document.path}:{line}: expected a heading of {place}, got #{anchor}")
    return wrong


def _joined(path: str, target: str) -> str:
    parts: list[str] = []
    for part in (*PurePosixPath(path).parent.parts, *target.split("/")):
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def unknown_paths(document: Document) -> list[str]:
    """Code spans that look like one of the project's sources or folders, and are none, by line."""
    wrong = []
    known = FILES | {block.file for block in document.blocks if block.file is not None}
    for line, span in document.spans:
        is_gone = SOURCE.fullmatch(span) and not cli.names_a_file(span, known)
        is_no_folder = FOLDER.fullmatch(span) and span not in FILES and not (ROOT / span).is_dir()
        if is_gone or (is_no_folder and not SOURCE.fullmatch(span)):
            wrong.append(f"{document.path}:{line}: expected a path in this project, got `{span}`")
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_links_lead_somewhere(document: Document) -> None:
    """Every relative link is a file or a folder of the project, and every anchor a heading there."""
    assert broken_links(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_paths_are_there(document: Document) -> None:
    """Every source file and folder that a text names is in the project, by its path or the end of it."""
    assert unknown_paths(document) == []


def test_there_is_something_to_check() -> None:
    """The walk finds the documents, and in them links, anchors and paths."""
    assert {"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/README.md"} <= {one.path for one in DOCUMENTS}
    links = [target for one in DOCUMENTS for _, target in one.links]
    assert len([one for one in links if not one.startswith("http")]) > 30
    assert any("#" in target for target in links)
    assert len([span for one in DOCUMENTS for _, span in one.spans if SOURCE.fullmatch(span)]) > 100


@pytest.mark.parametrize(
    "text",
    ["[a](no-such-file.md)", "[a](README.md#no-such-heading)", "[a](#no-such-heading)", "| [a](../gone.md) |\n|---|"],
)
def test_a_broken_link_is_noticed(text: str) -> None:
    """To a file, to a heading of another document, to one of the same, and within a table."""
    document = Document("docs/a.md", text.replace("(README", "(../README"))
    assert len(broken_links(document)) == 1


@pytest.mark.parametrize("text", ["`sim/no_such.py`", "`no_such.sql`", "`sim/nothing`", "`tests/gone/`"])
def test_a_path_that_is_gone_is_noticed(text: str) -> None:
    """A file by its path or its name, and a folder."""
    assert len(unknown_paths(Document("a.md", text))) == 1


def test_headings_are_named_as_github_names_them() -> None:
    """Small letters, hyphens for blanks, no punctuation, code as text; a second one of a name is numbered."""
    document = Document("a.md", "# The ADR's options\n\n## `sim run`, again: A/B\n\n## The ADR's options\n")
    assert document.anchors == {"the-adrs-options", "sim-run-again-ab", "the-adrs-options-1"}
