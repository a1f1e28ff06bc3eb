"""The command line as it is: its sub-commands, and whether a command in a text could be typed. Nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

import meshrelay
from tests.deploy.test_workflow import COMMAND, calls, check_call
from tests.docs.documents import ROOT

OTHERS = {"cat", "cd", "cp", "curl", "diff", "echo", "export", "grep", "kill", "ls", "rm", "sleep", "tail", "timeout"}
"""What an example that is not run may call beside the project's own commands."""
COMMENT = re.compile(r"\s{2,}# .*$")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|…|[A-Z]\.\.[A-Z]?")


@cache
def root() -> Any:
    """The whole command, as click sees it."""
    return typer.main.get_command(meshrelay.command(["all"]))


def sub_commands(command: Any = None, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, by its words behind `meshrelay`."""
    command = command or root()
    children = getattr(command, "commands", None)
    if children is None:
        yield above
        return
    for name, child in children.items():
        yield from sub_commands(child, (*above, name))


def found(words: list[str]) -> tuple[tuple[str, ...], Any]:
    """The longest sub-command that words begin with, and its command."""
    command: Any = root()
    names: tuple[str, ...] = ()
    for word in words:
        child = getattr(command, "commands", {}).get(word)
        if child is None:
            break
        command, names = child, (*names, word)
    return names, command


def options_of(command: Any) -> set[str]:
    """The options of one."""
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def problem_of_mention(text: str) -> str | None:
    """What is wrong with a command that a sentence mentions, `meshrelay sim run [--seed N | --plan FILE]`; or None."""
    words = [word for word in re.split(r"[\s\[\]|()=,]+", text.removeprefix(".venv/bin/")) if word]
    names, command = found(words[1:])
    options = [word for word in words[1:] if word.startswith("--")]
    rest = words[1 + len(names) :]
    if getattr(command, "commands", None) and rest and not rest[0].startswith("-") and not _PLACEHOLDER.match(rest[0]):
        return f"expected a sub-command of `meshrelay {' '.join(names)}`, got {rest[0]!r}"
    known = set().union(*(options_of(one) for one in _below(command)))
    unknown = [option for option in options if option not in known]
    return f"expected options of `meshrelay {' '.join(names)}`, got {', '.join(unknown)}" if unknown else None


def _below(command: Any) -> Iterator[Any]:
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _below(child)


def check_script(script: str) -> int:
    """Check that every command of a script could be typed; how many there are. Raises what is wrong with one."""
    script = re.sub(r"\\\n(> )?", " ", script)
    lines = [COMMENT.sub("", line).removeprefix("$ ").strip() for line in script.splitlines()]
    made = calls("\n".join(line for line in lines if line and not line.startswith("#")))
    for words in made:
        _check([word for word in words if word != "&"])
    return len(made)


def _check(words: list[str]) -> None:
    if words[0] in ("meshrelay", COMMAND):
        check_call([COMMAND, *(_example_of(word) for word in words[1:])])
    elif words[0] in ("python", ".venv/bin/python"):
        _check_python(words[1:])
    elif words[0] in ("make", "docker"):
        check_call(words)
    else:
        assert words[0] in OTHERS, f"{shlex.join(words)}: {words[0]} is no command that examples may use"


def _example_of(word: str) -> str:
    """A value for a placeholder such as PLAN; for a file that other examples leave, one that is there."""
    if Path(word).suffix in (".json", ".jsonl", ".toml"):
        return __file__
    return "7" if _PLACEHOLDER.fullmatch(word) else word


def _check_python(words: list[str]) -> None:
    assert words[:2] == ["-m", "pytest"], f"expected python -m pytest, got {shlex.join(words)}"
    paths = [word.partition("::")[0] for word in words[2:] if word.startswith("tests")]
    assert paths, "expected a path below tests/"
    assert not [path for path in paths if not (ROOT / path).exists()], paths


def names_a_file(span: str, known: set[str]) -> bool:
    """Whether a code span that looks like a source file's path is the end of some file's path."""
    path = span.partition("::")[0]
    return any(one == path or one.endswith(f"/{path}") for one in known)


def project_files() -> set[str]:
    """Every file's path, relative to the project, but for what is hidden or generated."""
    skipped = {"out", "build", "dist", "__pycache__", "node_modules"}

    def below(folder: Path) -> Iterator[str]:
        for path in folder.iterdir():
            if path.name in skipped or (path.name.startswith(".") and path.name not in (".ci", ".github")):
                continue
            if path.is_dir():
                yield from below(path)
            else:
                yield path.relative_to(ROOT).as_posix()

    return set(below(ROOT))
