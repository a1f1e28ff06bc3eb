"""The project's style as rules over its files; each returns what breaks it, as `path:line: what to do`.

What ruff and mypy can check is left to them. Patterns are written so that they don't match their own source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
TEXT_BYTES_MAX = 2_000_000
"""Larger files are data that nobody reads line by line."""

SKIPPED_FOLDERS = {"out", "build", "dist", "node_modules", "__pycache__"}
KEPT_HIDDEN = {".ci", ".github", ".gitignore"}

MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:work|home|root|Users)(?:/|\b)")
REGISTRY = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|(?:proxy|sum)[.]golang[.]org|(?:docker|ghcr|quay|crates)[.]io",
    re.IGNORECASE,
)
ADDRESS_IN_LOCK = re.compile(r"://|--(?:extra-)?index-url|--find-links|--trusted-host|\bfile:| @ ")

IMPURE = re.compile(
    r"time[.](?:time|monotonic|perf_counter|process_time|localtime|gmtime)(?:_ns)?"
    r"|datetime[.](?:datetime|date)[.](?:now|utcnow|today)"
    r"|uuid[.]uuid[1-8]|os[.](?:urandom|getrandom)|secrets([.].*)?|random([.](?!Random$).*)?"
)
"""Clocks and entropy, by full name; `random.Random` is a type that `system.host` hands out."""

CHECKS = re.compile(r"(?:^|[._])(?:assert|raises|fail|check|expect|verify|refused|problem|eventually)")
"""Names of what a test may call instead of its own `assert`; the last three are the relay harness's (tests/system)."""


@dataclass(frozen=True)
class Source:
    """One text file of the project."""

    path: str
    """Relative to the project, with slashes."""
    text: str

    @property
    def is_python(self) -> bool:
        """Whether it is a Python module."""
        return self.path.endswith(".py")

    @cached_property
    def lines(self) -> list[str]:
        """Its lines, without their ends."""
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree. Raises SyntaxError."""
        return ast.parse(self.text, self.path)


Rule = Callable[[Source], Iterator[str]]


def sources(root: Path) -> Iterator[Source]:
    """Every text file below the project's root, in a fixed order, without what is generated or hidden."""
    for path in sorted(root.iterdir()):
        hidden = path.name.startswith(".") and path.name not in KEPT_HIDDEN
        if hidden or path.name in SKIPPED_FOLDERS or path.name.endswith(".egg-info"):
            continue
        yield from _below(root, path)


def _below(root: Path, path: Path) -> Iterator[Source]:
    if path.is_dir():
        for child in sorted(path.iterdir()):
            if child.name not in SKIPPED_FOLDERS:
                yield from _below(root, child)
    elif path.is_file() and path.stat().st_size <= TEXT_BYTES_MAX:
        try:
            yield Source(path.relative_to(root).as_posix(), path.read_text())
        except UnicodeDecodeError:
            return  # no text, so no style


def module_length(source: Source) -> Iterator[str]:
    """Modules have at most 400 lines."""
    if source.is_python and len(source.lines) > MODULE_LINES_MAX:
        yield f"{source.path}:1: expected at most {MODULE_LINES_MAX} lines, got {len(source.lines)}; split it by noun"


def function_length(source: Source) -> Iterator[str]:
    """Functions have at most 60 lines."""
    for node in _functions(source):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield f"{source.path}:{node.lineno}: {node.name}: expected at most {FUNCTION_LINES_MAX} lines, got {lines}"


def module_docstring(source: Source) -> Iterator[str]:
    """Every module says what it is."""
    if source.is_python and not ast.get_docstring(source.tree):
        yield f"{source.path}:1: expected a docstring that says what the module is and what it refuses to do"


def machine_path(source: Source) -> Iterator[str]:
    """No file holds a path of somebody's machine."""
    yield from _matches(source, MACHINE_PATH, "a path of one machine; make it relative or a setting")


def registry_host(source: Source) -> Iterator[str]:
    """No file names a package registry's host: which one to use is the machine's affair."""
    yield from _matches(source, REGISTRY, "a registry's host name; leave it to the machine's settings")


def no_tabs(source: Source) -> Iterator[str]:
    """Only make and gofmt want tabs."""
    if not source.path.endswith(("Makefile", ".go", "/go.mod")):
        yield from _matches(source, re.compile(r"\t"), "a tab; use spaces")


def lock_without_addresses(source: Source) -> Iterator[str]:
    """The lock file pins versions and hashes, and no place to get them from."""
    if source.path.endswith(".lock"):
        yield from _matches(source, ADDRESS_IN_LOCK, "an address; make it with `make lock`")


def pure_system(source: Source) -> Iterator[str]:
    """In `system/` only `host.py` reads a clock or draws entropy, so that a simulated host can replace it."""
    if not source.path.startswith("system/") or not source.is_python or source.path == "system/host.py":
        return
    names = _imported_names(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = _full_name(node, names)
            unseeded = (
                isinstance(node, ast.Attribute) and name == "random.Random" and _is_called_bare(source.tree, node)
            )
            if name is not None and name not in {"random", "secrets"} and (IMPURE.fullmatch(name) or unseeded):
                yield f"{source.path}:{node.lineno}: {name}: take it from system.host.Host or the event loop's time()"


def broad_except(source: Source) -> Iterator[str]:
    """Who catches everything raises it again, or says why not, on that line or the one above."""
    if not source.is_python:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node):
            here, above = source.lines[node.lineno - 1], source.lines[node.lineno - 2].strip()
            if not _comment(here) and not (above.startswith("#") and _comment(above)):
                yield f"{source.path}:{node.lineno}: expected a comment that says why everything is caught here"


def tests_assert(source: Source) -> Iterator[str]:
    """Every test checks something."""
    if not Path(source.path).name.startswith("test_"):
        return
    for node in _functions(source):
        if node.name.startswith("test_") and not any(_checks(part) for part in ast.walk(node)):
            yield f"{source.path}:{node.lineno}: {node.name}: expected an assertion"


RULES: tuple[Rule, ...] = (
    module_length,
    function_length,
    module_docstring,
    machine_path,
    registry_host,
    no_tabs,
    lock_without_addresses,
    pure_system,
    broad_except,
    tests_assert,
)


def _functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    if source.is_python:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def _matches(source: Source, pattern: re.Pattern[str], what: str) -> Iterator[str]:
    for number, line in enumerate(source.lines, start=1):
        if found := pattern.search(line):
            yield f"{source.path}:{number}: {found[0]!r} is {what}"


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """What each name that an import binds stands for, in full."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                (a.asname or a.name).split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, names)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def _is_called_bare(tree: ast.Module, function: ast.expr) -> bool:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(call.func is function and not call.args for call in calls)


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(part) for part in caught.elts)
    return caught is None or (isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"})


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _comment(line: str) -> str:
    """The comment on a line, apart from orders to a linter."""
    return re.sub(r"noqa(: ?[A-Z0-9, ]+)?|type: ignore\S*|[#\s:-]", "", line.partition("#")[2])


def _checks(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if not isinstance(node, ast.Call):
        return False
    return CHECKS.search(ast.unparse(node.func)) is not None
