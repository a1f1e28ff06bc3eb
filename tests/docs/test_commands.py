"""The README's table of commands has every sub-command, and every command that any text mentions exists."""

from __future__ import annotations

import re

import pytest

from tests.docs import cli
from tests.docs.documents import Document, document, documents


def listed(readme: Document) -> set[tuple[str, ...]]:
    """The sub-commands in the first column of the table of commands."""
    lines = readme.text.partition("\n## Commands\n")[2].partition("\n## ")[0].splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1] for line in lines if line.startswith("| ")]
    spans = [span.replace("\\|", "|") for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    mentioned = [span for span in spans if span.startswith("meshrelay ")]
    return {name for span in mentioned for name in _names(span)}


def _names(span: str) -> list[tuple[str, ...]]:
    """`meshrelay sim run|replay` names two."""
    words = span.split()[1:]
    names: list[tuple[str, ...]] = [()]
    for word in words:
        parts = word.split("|")
        longer = [(*above, part) for above in names for part in parts if cli.found([*above, part])[0] == (*above, part)]
        if not longer:
            break
        names = longer
    return [name for name in names if name]


def test_the_table_has_every_sub_command() -> None:
    """Each command that there is has a row that names it, and no row names another."""
    assert listed(document("README.md")) == set(cli.sub_commands())


@pytest.mark.parametrize("one", documents(), ids=lambda one: one.path)
def test_commands_that_are_mentioned_exist(one: Document) -> None:
    """Every `meshrelay …` in a sentence or a table is a command, with options that it has."""
    wrong = [
        f"{one.path}:{line}: {problem}"
        for line, span in one.spans
        if span.startswith(("meshrelay ", ".venv/bin/meshrelay "))
        and (problem := cli.problem_of_mention(span.replace("\\|", "|")))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "span",
    ["meshrelay simulate", "meshrelay sim campain", "meshrelay sim run --seeds N", "meshrelay sim run [--sed N]"],
)
def test_a_command_that_does_not_exist_is_noticed(span: str) -> None:
    """A wrong sub-command of either level, and a wrong option, in brackets too."""
    assert cli.problem_of_mention(span) is not None


def test_a_row_that_is_missing_is_noticed() -> None:
    """Without the row of `meshrelay serve`, serve is missing."""
    readme = document("README.md")
    less = Document("README.md", "\n".join(line for line in readme.text.splitlines() if "meshrelay serve" not in line))
    assert ("serve",) in listed(readme) - listed(less)
