"""The project keeps its own style, and each rule of it is seen to bite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tidy_rules
from tests.tidy_rules import RULES, Rule, Source

ROOT = Path(__file__).parents[1]

PLANTED: list[tuple[Rule, str, str]] = [
    (tidy_rules.module_length, "a.py", "x = 1\n" * 401),
    (tidy_rules.function_length, "a.py", "def f():\n" + "    x = 1\n" * 60),
    (tidy_rules.module_docstring, "a.py", "x = 1\n"),
    (tidy_rules.machine_path, "a.md", "see " + "/" + "home/somebody/notes"),
    (tidy_rules.machine_path, "a.py", "ROOT = '" + "/" + "work'"),
    (tidy_rules.registry_host, "a.toml", "url = 'https://files." + "python" + "hosted.org/x'"),
    (tidy_rules.no_tabs, "a.py", "if x:\n\ty = 1\n"),
    (tidy_rules.lock_without_addresses, "a.lock", "--index-url x\n"),
    (tidy_rules.lock_without_addresses, "a.lock", "a @ file:///x\n"),
    (tidy_rules.pure_system, "system/a.py", "import time\nnow = time.time()\n"),
    (tidy_rules.pure_system, "system/a.py", "import time as t\nread = t.monotonic_ns\n"),
    (tidy_rules.pure_system, "system/a.py", "from time import time\nnow = time()\n"),
    (tidy_rules.pure_system, "system/a.py", "from datetime import datetime\nnow = datetime.now()\n"),
    (tidy_rules.pure_system, "system/a.py", "import uuid\nname = uuid.uuid4().hex\n"),
    (tidy_rules.pure_system, "system/a.py", "import random\nx = random.random()\n"),
    (tidy_rules.pure_system, "system/a.py", "import random\nx = random.Random()\n"),
    (tidy_rules.broad_except, "a.py", "try:\n    f()\nexcept Exception:\n    pass\n"),
    (tidy_rules.broad_except, "a.py", "try:\n    f()\nexcept (ValueError, BaseException):  # noqa: BLE001\n    pass\n"),
    (tidy_rules.broad_except, "a.py", "try:\n    f()\nexcept:\n    pass\n"),
    (tidy_rules.tests_assert, "tests/test_a.py", "def test_a():\n    f()\n"),
]

ALLOWED: list[tuple[Rule, str, str]] = [
    (tidy_rules.no_tabs, "tests/a/main.go", "func f() {\n\tg()\n}\n"),
    (tidy_rules.machine_path, "a.md", "GET /v1/agents/x/homework, docs/home/page, {base}/work"),
    (tidy_rules.pure_system, "system/a.py", "import random\ndef f(rng: random.Random): return rng.random()\n"),
    (tidy_rules.pure_system, "system/a.py", "import time, uuid\ntime.sleep\nuuid.UUID(hex=x)\n"),
    (tidy_rules.pure_system, "system/host.py", "import time\ntime.time()\n"),
    (tidy_rules.pure_system, "faults/a.py", "import time\ntime.time()\n"),
    (tidy_rules.broad_except, "a.py", "try:\n    f()\nexcept Exception:  # the task's root\n    pass\n"),
    (tidy_rules.broad_except, "a.py", "try:\n    f()\n# the task's root\nexcept Exception:\n    pass\n"),
    (tidy_rules.broad_except, "a.py", "try:\n    f()\nexcept BaseException:\n    undo()\n    raise\n"),
    (tidy_rules.broad_except, "a.py", "try:\n    f()\nexcept ValueError:\n    pass\n"),
    (tidy_rules.tests_assert, "tests/test_a.py", "def test_a():\n    with pytest.raises(E):\n        f()\n"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_is_tidy(rule: Rule) -> None:
    """No file of the project breaks the rule."""
    broken = [line for source in tidy_rules.sources(ROOT) for line in rule(source)]
    assert not broken, "\n".join([rule.__doc__ or "", *broken])


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_a_rule_finds_what_is_planted(rule: Rule, path: str, text: str) -> None:
    """Each rule names the file and a line when it is broken."""
    assert [line for line in rule(Source(path, text)) if line.startswith(f"{path}:")]


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_a_rule_lets_pass_what_is_allowed(rule: Rule, path: str, text: str) -> None:
    """A rule does not cry over its legitimate neighbours."""
    assert list(rule(Source(path, text))) == []


def test_every_rule_is_planted_against() -> None:
    """No rule is without a sample that breaks it, and the walk over the project finds its files."""
    assert {rule for rule, _, _ in PLANTED} == set(RULES)
    found = {source.path for source in tidy_rules.sources(ROOT)}
    assert {"pyproject.toml", "system/host.py", "tests/test_tidy.py"} <= found
    assert not [path for path in found if path.startswith((".venv", ".git/"))]
