"""Another nats-py than the locked one: installed beside it, and put in front of it for a whole command.

An old bug of a client library that is found again says more of a simulation than any bug that we thought of ourselves.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from system.exits import USAGE

FOLDER = Path("out/sim/clients")
OPTION = "--nats-py"
_VERSION = re.compile(r"\d+(\.\d+){1,2}")


def _put_in_front(wanted: str | None) -> str | None:
    """Begin the whole command anew with that version in front; answers the version if it is there already."""
    if wanted is not None and wanted != version("nats-py"):
        try:
            folder = installed(wanted)
        except ValueError as error:
            typer.echo(f"{OPTION}: {error}", err=True)
            raise typer.Exit(USAGE) from None
        before = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([str(folder), *([before] if before else [])])
        # a new process image, because the client is imported already; its worker processes inherit the path
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONPATH": path})
    return wanted


def installed(wanted: str, folder: Path = FOLDER) -> Path:
    """The folder with that version of nats-py, fetched by pip if it is not there. Raises ValueError."""
    if not _VERSION.fullmatch(wanted):
        raise ValueError(f"expected a version of nats-py, such as 2.14.0, got {wanted!r}")
    place = (folder / f"nats-py-{wanted}").resolve()
    if not (place / "nats").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*command, "--target", str(place), f"nats-py=={wanted}"], capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(f"pip can't install nats-py {wanted}: {done.stderr.strip()[-500:]}")
    return place


def running() -> str:
    """The version of nats-py that this process runs."""
    return version("nats-py")


def as_option() -> str:
    """What a command must be given to run the same version, with a space before it; empty for the locked one."""
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return f" {OPTION} {running()}" if any(Path(one).name == f"nats-py-{running()}" for one in places) else ""


NatsPy = Annotated[
    str | None,
    typer.Option(
        OPTION,
        metavar="VERSION",
        help="Play with this version of nats-py, fetched by pip, in place of the locked one.",
        callback=_put_in_front,
        is_eager=True,
    ),
]
"""The option, for commands that play plans."""
