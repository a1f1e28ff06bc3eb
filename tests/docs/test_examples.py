"""Every example of README, ARCHITECTURE and the guides is run, and prints what it shows; what is not run is counted.

Deterministic output is compared to the letter; `...` stands for what varies (`transcript.py`).
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs import cli
from tests.docs.documents import ROOT, Block, Document, MarkInvalid, documents
from tests.docs.transcript import Command, commands_of, differences, matches, run

COLUMNS = 120
"""The width of the terminal that the examples are shown on."""
RUN, SHOWN = {"console", "python"}, {"text", "diff"}
LANGUAGES = RUN | SHOWN | {"json", "toml"}

NOT_RUN: dict[str, list[str]] = {
    "README.md": [
        "make report takes five minutes of every core, make test is what runs this",
        "it is what the command above prints",
        "ten minutes each",
    ],
    "docs/fault-plans.md": ["half a minute and more on the real stack; tests/faults plays plans there"],
    "docs/figures.md": ["hours, and minutes for the small one"],
    "docs/planted-bugs.md": ["five hunts take half a minute of two cores; the script above is one of them"],
    "docs/real-histories.md": ["it needs a deployment; tests/reports/export exports one from end to end"],
    "docs/reports.md": [
        "what is kept changes with every commit",
        "a minute of every core",
        "five minutes of every core",
        "an hour of every core",
    ],
    "docs/running-the-relay.md": ["it needs a Docker engine; what the files say is tested without one in tests/deploy"],
    "docs/server-models.md": [
        "the simulated properties take two minutes of two cores; they are a part of every test run"
    ],
}
"""What is not run in each document, and why. Whoever adds a line here has found no way to run it."""

READ = [one for one in documents() if one.path in ("README.md", "ARCHITECTURE.md") or one.path.startswith("docs/")]


def has_examples(document: Document) -> bool:
    """Whether something of it is run; one whose marks can't be read is asked for, so that its own test says so."""
    try:
        return any(block.language in RUN and block.not_run is None for block in document.blocks)
    except MarkInvalid:
        return True


WITH_EXAMPLES = [one for one in READ if has_examples(one)]


def workspace(folder: Path) -> dict[str, str]:
    """Make a folder look like the project's root to whoever types commands there; the environment that they have.

    The sources are links, so that what commands write stays in the folder.
    """
    for path in ROOT.iterdir():
        if path.name not in ("out", ".venv", ".git") and not path.name.endswith((".egg-info", "_cache")):
            (folder / path.name).symlink_to(path)
    (folder / ".venv").symlink_to(sys.prefix)
    bin = Path(sys.prefix) / "bin"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MESHRELAY_", "PYTEST_"))}
    return kept | {
        "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": str(COLUMNS),
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        "XDG_STATE_HOME": str(folder / ".state"),
        "LC_ALL": "C.UTF-8",
    }


def examples(document: Document, folder: Path) -> list[Command]:
    """The commands of a document, in order; its files are written into the folder."""
    found: list[Command] = []
    for block in document.blocks:
        if block.file is not None:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.not_run is None and block.language == "console":
            found += commands_of(block.text, block.place)
        elif block.not_run is None and block.language == "python":
            name = f"example-{block.line}.py"
            (folder / name).write_text(block.text, encoding="utf-8")
            found.append(Command(text=f"python {name}", expected="", place=block.place))
    return found


@pytest.mark.stack
@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=lambda document: document.path)
def test_examples_print_what_they_show(document: Document, tmp_path: Path) -> None:
    """Typed from top to bottom into one terminal, every command of the document does what stands there."""
    env = workspace(tmp_path)
    commands = examples(document, tmp_path)
    wrong = list(differences(commands, run(commands, tmp_path, env)))
    assert not wrong, "\n\n".join(wrong)


def test_what_is_not_run_is_known() -> None:
    """Each block that is not run says why, and is listed here."""
    found = {one.path: [block.not_run for block in one.blocks if block.not_run is not None] for one in READ}
    assert {path: reasons for path, reasons in found.items() if reasons} == NOT_RUN


def test_blocks_are_fenced_and_of_a_known_language() -> None:
    """What is shown can be told from what is run; an indented block is neither, unless it says that it is not run."""
    for document in READ:
        for block in document.blocks:
            if block.is_fenced:
                assert block.language in LANGUAGES, f"{block.place}: expected one of {sorted(LANGUAGES)}"
            else:
                assert block.not_run, f"{block.place}: expected a fence with a language, got an indented block"
            if block.language == "text":
                hidden = [line for line in block.text.splitlines() if line.startswith(("$ ", "meshrelay ", "make "))]
                assert not hidden, f"{block.place}: expected a console block for {hidden[0]!r}"


def test_commands_that_are_not_run_exist() -> None:
    """Sub-commands, options, values, make targets and test files of what is not run are there all the same."""
    seen = 0
    for document in READ:
        for block in document.blocks:
            if block.not_run is not None and (block.language == "console" or not block.is_fenced):
                seen += cli.check_script(typed(block))
    assert seen >= len(NOT_RUN)


def typed(block: Block) -> str:
    """The commands of a block that is not run, without what they print; an indented one shows either."""
    lines = block.text.splitlines()
    if block.is_fenced:
        return "\n".join(line for line in lines if line.startswith(("$ ", "> ")))
    return "\n".join(line for line in lines if line.startswith(("make ", "meshrelay ", ".venv/bin/", "docker ")))


def test_data_can_be_read() -> None:
    """JSON and TOML blocks are JSON and TOML."""
    for document in READ:
        for block in document.blocks:
            if block.language == "json":
                assert json.loads(block.text), block.place
            if block.language == "toml":
                assert tomllib.loads(block.text), block.place


def test_changes_that_are_shown_fit_the_files() -> None:
    """What a diff takes away or leaves stands in the file that it names, in one piece."""
    for document in READ:
        for block in document.blocks:
            if block.language == "diff":
                assert not misfits(block), block.place


def misfits(block: Block) -> list[str]:
    """The pieces of a diff that its files don't have."""
    wrong: list[str] = []
    path, piece = "", [""]
    for line in [*block.text.splitlines(), "@@"]:
        if line.startswith(("@@", "--- ", "+++ ")):
            text = "\n".join(piece)
            if text and text not in (ROOT / path).read_text(encoding="utf-8"):
                wrong.append(f"{path}: {text}")
            piece = []
            path = line[4:].strip().removeprefix("a/") if line.startswith("--- ") else path
        elif not line.startswith("+"):
            piece.append(line[1:])
    return wrong


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("$ echo one\ntwo\n", "got:\none"),
        ("$ echo one\n", "got:\none"),
        ("$ true\none\n", "expected:\none"),
        ("$ printf 'a\\nb\\n'\na\n", "got:\na\nb"),
        ("$ false\n$ true\n", "expected exit code 0"),
        ("$ false\n$ echo $?\n0\n", "expected:\n0"),
        ("$ meshrelay sim runn\n...\n", "expected exit code 0"),
        ("$ exit 0\n$ true\n", "expected an end"),
        ("$ echo 'a 1'\na ...2\n", "got:\na 1"),
        ("$ echo a\n$ echo b\nb\n", "got:\na"),
    ],
)
def test_a_wrong_example_is_noticed(text: str, told: str, tmp_path: Path) -> None:
    """Other output, more, less, another exit code, a command that does not exist, a shell that ends: each is told."""
    commands = commands_of(text, "a.md:1")
    (wrong, *_) = differences(commands, run(commands, tmp_path, workspace(tmp_path)))
    assert wrong.startswith("a.md:1: $ ")
    assert told in wrong


def test_a_process_that_is_left_running_is_noticed(tmp_path: Path) -> None:
    """And ended."""
    commands = commands_of("$ sleep 300 &\n$ echo $!\n...\n", "a.md:1")
    with pytest.raises(AssertionError, match="left running"):
        run(commands, tmp_path, workspace(tmp_path))


def test_a_right_example_passes(tmp_path: Path) -> None:
    """Exit codes that are shown, ellipses, lines that go on, variables and files from one command to the next."""
    text = "$ export N=4\n$ echo $N \\\n>   more > a\n$ cat a\n4 more\n$ false\n$ echo $?\n1\n$ seq 9\n1\n...\n9\n"
    commands = commands_of(text, "a.md:1")
    assert list(differences(commands, run(commands, tmp_path, workspace(tmp_path)))) == []


@pytest.mark.parametrize(
    ("expected", "printed", "is_equal"),
    [
        ("", "", True),
        ("a ... c", "a b c\n", True),
        ("a ... c", "a b\nc\n", False),
        ("...", "", True),
        ("a\n...\nz", "a\nz\n", True),
        ("a\n...\nz", "a\nb\nc\nz\n", True),
        ("a\n...\nz", "a\nb\n", False),
        ("a.c", "abc", False),
    ],
)
def test_what_an_ellipsis_stands_for(expected: str, printed: str, is_equal: bool) -> None:
    """Any lines where it is a line, any text within one, and nothing else."""
    assert matches(expected, printed) is is_equal


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("$ make chaoss", "No rule to make target"),
        ("$ meshrelay sim campain", "No such command 'campain'"),
        ("$ meshrelay sim run --seeds 7", "No such option"),
        ("$ python -m pytest tests/no_such_test.py", "no_such_test"),
        ("$ reboot", "no command that examples may use"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(script: str, told: str) -> None:
    """Also where it is not run."""
    with pytest.raises(Exception, match=told):
        cli.check_script(script)


def test_a_change_that_does_not_fit_is_noticed() -> None:
    """A diff of lines that are not there, or no longer in one piece."""
    piece = '--- a/tests/docs/__init__.py\n@@\n-"""What nobody reads\n+"""No'
    block = Block(document="a.md", line=1, language="diff", text=piece)
    assert misfits(block) == ['tests/docs/__init__.py: """What nobody reads']


@pytest.mark.parametrize(
    "text", ["<!-- example: fil a -->\n\n```json\n{}\n```", "<!-- example: file a -->\n\nNothing."]
)
def test_a_mark_that_marks_nothing_is_noticed(text: str) -> None:
    """A misspelt one, and one without a block behind it."""
    with pytest.raises(MarkInvalid):
        assert Document("a.md", text).blocks
