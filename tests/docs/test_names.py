"""Names of code and of settings that the pages mention are there: what was renamed is noticed where it is explained.

The changelog is left out: it tells of what was.
"""

from __future__ import annotations

import re
from functools import cache

import pytest

from system.settings import Settings
from tests.docs import cli
from tests.docs.documents import ROOT, Document, documents

DOCUMENTS = [one for one in documents() if one.path != "CHANGELOG.md"]
SOURCES = (".py", ".sql", ".yml", ".toml", ".json", ".conf", ".j2", ".in", "Makefile")
NAME = re.compile(r"[A-Za-z][\w-]*(?:[._][\w-]+)+(?:\(\))?")
"""A code span that is one name, with a dot or an underscore in it: others are words as often."""
VARIABLE = re.compile(r"\bMESHRELAY_[A-Z0-9_]+\b")
OTHER_VARIABLES = {"MESHRELAY_URL", "MESHRELAY_TOKEN", "MESHRELAY_NIGHTLY"}
"""Those of the commands for people, and of the tests."""


@cache
def words() -> frozenset[str]:
    """Every word of the project's sources, but for these checks, which make names up."""
    files = [path for path in cli.project_files() if path.endswith(SOURCES) and not path.startswith("tests/docs/")]
    return frozenset(
        word for path in files for word in re.findall(r"[\w-]+", (ROOT / path).read_text("utf-8", errors="replace"))
    )


def unknown_names(document: Document) -> list[str]:
    """Names in code spans that occur in no source, by line. Files are checked as paths."""
    wrong = []
    own = {block.file for block in document.blocks}
    for line, span in document.spans:
        is_file = re.search(r"\.(?:py|sql|yml|toml|json|jsonl|md|html|xml|j2|env)$", span) or span in own
        if NAME.fullmatch(span) and not is_file and not VARIABLE.fullmatch(span):
            gone = [part for part in re.findall(r"[\w-]+", span) if part not in words()]
            wrong += [f"{document.path}:{line}: expected a name of the sources, got `{span}` ({part})" for part in gone]
    return wrong


def unknown_variables(document: Document) -> list[str]:
    """Environment variables of the relay's that it does not read, by line."""
    known = {f"MESHRELAY_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    return [
        f"{document.path}:{number}: expected a setting of the relay's, got {name}"
        for number, line in enumerate(document.text.splitlines(), start=1)
        for name in VARIABLE.findall(line)
        if name not in known
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_names_are_there(document: Document) -> None:
    """Every function, field, metric, log event and file setting that a page names occurs in the sources."""
    assert unknown_names(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_settings_are_there(document: Document) -> None:
    """Every `MESHRELAY_…` is a setting of the relay's, or a variable of its commands."""
    assert unknown_variables(document) == []


def test_there_are_names_to_check() -> None:
    """The pages name plenty of either kind."""
    assert sum(NAME.fullmatch(span) is not None for one in DOCUMENTS for _, span in one.spans) > 150
    assert sum(len(VARIABLE.findall(one.text)) for one in DOCUMENTS) > 30


@pytest.mark.parametrize("span", ["read_pages_of_nothing", "Hub.no_such_method()", "relay_no_such_metric_total"])
def test_a_name_that_is_gone_is_noticed(span: str) -> None:
    """A function, a method and a metric that nobody has."""
    assert len(unknown_names(Document("a.md", f"See `{span}`."))) == 1


def test_a_setting_that_is_gone_is_noticed() -> None:
    """A misspelt variable, which the relay itself would pass over."""
    assert len(unknown_variables(Document("a.md", "Set `MESHRELAY_LEASE` or MESHRELAY_LEASE_S."))) == 1
