"""A terminal's transcript: commands behind `$ `, and what each prints; run in one shell, and compared. Doctest's way.

    $ meshrelay sim replay plan.json --bug NAME
    violated: ...
    $ echo $?
    1

A line that is `...` stands for any lines, `...` within a line for any text. What is not shown must not be printed. A
command that fails must be followed by `echo $?`, so that the reader sees it, too. A command that ends with a backslash
goes on behind `> `.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ELLIPSIS = "..."
SHOW_CODE = "echo $?"
PROMPT, CONTINUED = "$ ", "> "
LIMIT_S = 400.0
"""For all commands of a document together; a busy machine is slow."""
GONE_WITHIN_S = 15.0
_END = "\x1e"
"""Stands before a command's exit code in what the shell prints; nobody else prints it."""


class TranscriptInvalid(ValueError):
    """A block of commands does not begin with one; the message says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command and what is expected of it."""

    text: str
    expected: str
    """What it prints, without the end of its last line."""
    place: str
    """Where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What a command did."""

    text: str
    code: int | None
    """None if the shell never came to its end."""


def commands_of(text: str, place: str) -> list[Command]:
    """Read a block. Raises TranscriptInvalid."""
    found: list[tuple[list[str], list[str]]] = []
    is_continued = False
    for line in text.splitlines():
        if is_continued and line.startswith(CONTINUED):
            found[-1][0].append(line.removeprefix(CONTINUED))
            is_continued = line.endswith("\\")
        elif line.startswith(PROMPT):
            found.append(([line.removeprefix(PROMPT)], []))
            is_continued = line.endswith("\\")
        elif found:
            found[-1][1].append(line)
        else:
            raise TranscriptInvalid(f"{place}: expected a first line that begins with {PROMPT!r}, got {line!r}")
    return [Command(text="\n".join(words), expected="\n".join(shown).rstrip(), place=place) for words, shown in found]


def matches(expected: str, printed: str) -> bool:
    """Whether what was printed is what was shown, wherever it is shown."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == ELLIPSIS:
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*?".join(map(re.escape, line.rstrip().split(ELLIPSIS))) + r"[ ]*\n"
    lines = [line.rstrip() for line in printed.rstrip().splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def differences(commands: Sequence[Command], printed: Sequence[Printed]) -> Iterator[str]:
    """What did not come as shown, each with the command's place."""
    for number, (command, got) in enumerate(zip(commands, printed, strict=True)):
        told = f"{command.place}: $ {command.text}"
        if got.code is None:
            yield f"{told}\nexpected an end, got none within {LIMIT_S:g} s, or the shell could not read it"
            return
        shows_code = number + 1 < len(commands) and commands[number + 1].text == SHOW_CODE
        if got.code and not shows_code:
            yield f"{told}\nexpected exit code 0, or `{SHOW_CODE}` next, got {got.code} and:\n{got.text}"
        elif not matches(command.expected, got.text):
            yield f"{told}\nexpected:\n{command.expected}\ngot:\n{got.text}"


def run(commands: Sequence[Command], folder: Path, env: dict[str, str]) -> list[Printed]:
    """Run the commands in one shell, one after the other; whatever they leave running is ended.

    Raises AssertionError if the shell's last command left a process behind.
    """
    script, log = folder / ".transcript.sh", folder / ".transcript.log"
    script.write_text("".join(f"{one.text}\n{_NOTE}\n" for one in commands))
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", str(script)],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            shell.wait(LIMIT_S)
            is_over = True
        except subprocess.TimeoutExpired:
            is_over = False
        left = _end(shell)
    printed = list(_split(log.read_text(encoding="utf-8", errors="replace"), len(commands)))
    assert not (is_over and left and printed[-1].code is not None), (
        f"{commands[-1].place}: expected the commands to end what they began, got processes that were left running"
    )
    return printed


_NOTE = f"__code=$?; printf '{_END}%d\\n' $__code; (exit $__code)"
"""Behind each command: its end, with its code, which stays what `$?` says."""


def _split(text: str, count: int) -> Iterator[Printed]:
    parts = re.split(rf"{_END}(\d+)\n", text)
    for number in range(count):
        has_ended = 2 * number + 1 < len(parts)
        body = parts[2 * number] if 2 * number < len(parts) else ""
        yield Printed(text=body.strip("\n"), code=int(parts[2 * number + 1]) if has_ended else None)


def _end(shell: subprocess.Popen[bytes]) -> bool:
    """End whatever is left of the shell's session; whether anything was."""
    try:
        os.killpg(shell.pid, 0)
    except ProcessLookupError:
        return False
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGTERM)
        over_at = time.monotonic() + GONE_WITHIN_S
        while time.monotonic() < over_at:
            shell.poll()
            time.sleep(0.1)
            os.killpg(shell.pid, 0)
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return True
