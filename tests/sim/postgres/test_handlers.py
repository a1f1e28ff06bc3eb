"""No handler without a program: each is run, with effect, by programs that the real server plays too."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

from sim.postgres import statements_keeper, statements_migrate, statements_planted, statements_reader, statements_writer
from sim.postgres.statement import digest
from sim.postgres.statements import STATEMENTS
from tests.sim.postgres.arms import NOTICES, WAITS, Action
from tests.sim.postgres.real import RealServer
from tests.sim.postgres.stories import MIGRATION, SESSIONS, STORIES
from tests.sim.postgres.transcript import Script, Transcript, held, record

pytestmark = [pytest.mark.stack, pytest.mark.conformance]
MODULES = statements_keeper, statements_migrate, statements_planted, statements_reader, statements_writer


async def test_every_handler_is_reached_in_both_arms(fresh_database: str) -> None:
    """Each statement that the model knows, planted bugs' and migrations' included, is answered in both arms, with
    effect and alike; and no line of a handler is left that no such program runs, but for refusals by name.

    A new handler, or a new branch of one, is red here until a story in `stories.py` reaches it.
    """
    server = RealServer(fresh_database)
    transcripts = [await _played(server, "migration", MIGRATION, migrated=False)]
    transcripts += [await _played(server, name, actions) for name, actions in STORIES.items()]
    await server.close()
    with _lines_run() as lines:
        for transcript in transcripts:
            await held(transcript)
    effective = {text for transcript in transcripts for text in _effective(transcript)}
    missing = [f"{digest(one.text)} {one.text.strip()[:70]!r}" for one in STATEMENTS if one.text not in effective]
    assert not missing, "no program has these take effect:\n" + "\n".join(missing)
    skipped = [f"{module.__name__}:{line}" for module in MODULES for line in _lines(module) - lines[module.__file__]]
    assert not skipped, "no program runs these lines of handlers:\n" + "\n".join(sorted(skipped))


async def _played(server: RealServer, name: str, actions: list[Action], *, migrated: bool = True) -> Transcript:
    script = Script(actions=[*actions])
    return await record(name, server, script, sessions=SESSIONS, migrated=migrated)


def _effective(transcript: Transcript) -> Iterator[str]:
    """The texts that answered rows, or changed some, or have no number to tell."""
    running: dict[int, str] = {}
    for entry in transcript.entries:
        if entry.action.text:
            running[entry.action.session] = entry.action.text
        for session, answer in entry.answers.items():
            if session == NOTICES:
                continue
            has_effect = bool(answer) if isinstance(answer, list) else answer[-2:] != " 0"
            if answer != WAITS and not isinstance(answer, tuple) and has_effect:
                yield running[session]


@contextmanager
def _lines_run() -> Iterator[dict[Any, set[int]]]:
    """The lines that are run meanwhile, by the module's file."""
    found: dict[Any, set[int]] = {module.__file__: set() for module in MODULES}

    def note(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        lines = found.get(frame.f_code.co_filename)
        if lines is None:
            return None
        if event == "line":
            lines.add(frame.f_lineno)
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        yield found
    finally:
        sys.settrace(before)


def _lines(module: ModuleType) -> set[int]:
    """The lines of a module's functions, but for those that refuse by name, and those that make statements."""
    source = inspect.getsource(module).splitlines()
    functions = [one for one in vars(module).values() if inspect.isfunction(one) and one.__module__ == module.__name__]
    used = [one for one in functions if "Statement" not in one.__annotations__["return"]]
    lines = {line for one in used for line in _of(one.__code__)}
    return {line for line in lines if "raise NotModelled" not in source[line - 1]}


def _of(code: CodeType) -> Iterator[int]:
    first = code.co_firstlineno
    yield from (line for _, line in dis.findlinestarts(code) if line is not None and line > first)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of(constant)
