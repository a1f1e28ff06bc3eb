"""What the checks are made with: Go programs, programs from wheels, the compose project as Docker reads it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faults.stack.errors import PartUnavailable
from faults.stack.go_build import GoProgram, built

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
PROFILES = ("observability", "redis")
LIMIT_S = 120.0

PROMTOOL = GoProgram(
    name="promtool",
    version="0.316.0",  # Prometheus 3.16.0
    package="github.com/prometheus/prometheus/cmd/promtool",
    go="1.26",
    flags=("-ldflags=-s -w", "-tags=remove_all_sd"),  # the clouds' client libraries are half of it, and not needed
)
ACTIONLINT = GoProgram(
    name="actionlint", version="1.7.12", package="github.com/rhysd/actionlint/cmd/actionlint", go="1.24"
)
COMPOSED = GoProgram(name="composed", version="2.16.2", package=str(Path(__file__).with_name("composed")), go="1.24")
"""Our own few lines over compose-go, whose own command does not look for names that nothing defines."""


def ran(
    program: GoProgram | Path, *words: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its code. Raises PartUnavailable."""
    path = built(program) if isinstance(program, GoProgram) else program
    return subprocess.run(
        [str(path), *words],
        cwd=cwd,
        env=plain_env() | dict(env or {}),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def plain_env() -> dict[str, str]:
    """This environment without what would change a project or a relay."""
    ours = ("MESHRELAY_", "COMPOSE_", "POSTGRES_", "GRAFANA_", "RELAY_ENV_FILE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def from_wheel(name: str) -> Path:
    """A program that a wheel has put beside this Python, else on PATH. Raises PartUnavailable."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise PartUnavailable(name, "run `make setup`, which installs its wheel, or put it on PATH")
    return Path(found)


def loaded(
    file: Path = COMPOSE, profiles: Sequence[str] = PROFILES, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The compose project as Docker reads it. Raises ValueError with what is wrong with it; PartUnavailable."""
    done = ran(COMPOSED, str(file), *profiles, cwd=file.parent, env=env)
    if done.returncode != 0:
        raise ValueError(done.stderr)
    project: dict[str, Any] = json.loads(done.stdout)
    return project


def proxies() -> list[dict[str, Any]]:
    """Toxiproxy's configuration."""
    found: list[dict[str, Any]] = json.loads((ROOT / "deploy" / "toxiproxy.json").read_text())
    return found
