"""The table of conformance cases counts what passed, in every worker, and a skipped case is an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counts import server_of

HERE = Path(__file__).parent
CASES = """
import pytest
@pytest.mark.conformance
@pytest.mark.parametrize("name", "abc")
def test_alike(name): assert name
@pytest.mark.conformance
def test_three_servers(): assert True
def test_other(): assert True
"""


def run(folder: Path, cases: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on cases that lie where NATS's conformance tests do, with the project's own plugin."""
    home = folder / "tests" / "sim" / "jetstream"
    home.mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = conformance\naddopts = -p no:cacheprovider\n")
    (folder / "tests" / "__init__.py").write_text("")
    shutil.copy(HERE / "counts.py", folder / "tests" / "counts.py")
    (home / "test_it.py").write_text(cases)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.counts", *options, str(folder)]
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # others' plugins take seconds to load
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")])
def test_cases_are_counted_by_server_and_arm(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The table at the end has each server's cases in each arm, whoever ran them, and no other test's."""
    ended = run(tmp_path, CASES, *options)
    assert ended.returncode == 0, ended.stdout
    words = [line.split() for line in ended.stdout.splitlines()]
    assert ["nats", "3", "3"] in words, ended.stdout
    assert ["nats", "R3", "1", "1"] in words
    assert ["all", "4", "4"] in words


@pytest.mark.parametrize(
    "skipped", ["@pytest.mark.skip(reason='none')\ndef test_a(): assert 1", "def test_a(): pytest.skip('none')"]
)
def test_a_skipped_case_is_an_error(tmp_path: Path, skipped: str) -> None:
    """A conformance test that is skipped fails, with the reason; another one may be skipped."""
    other = "\n@pytest.mark.skip(reason='fine')\ndef test_b(): assert 1\n"
    ended = run(tmp_path, f"import pytest\n@pytest.mark.conformance\n{skipped}\n{other}")
    assert ended.returncode == 1, ended.stdout
    assert "may not be skipped" in ended.stdout
    assert "1 skipped" in ended.stdout.splitlines()[-1]


def test_a_conformance_test_elsewhere_must_be_placed() -> None:
    """A test of a server that the table does not know is an error, not a case of nobody's."""
    assert server_of("tests/sim/postgres/test_statements.py::test_a") == "postgres"
    with pytest.raises(LookupError, match=r"tests/counts\.py"):
        server_of("tests/system/test_other.py::test_a")
