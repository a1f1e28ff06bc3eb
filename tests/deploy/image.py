"""A Dockerfile as Docker's own parser reads it, and what the relay's makes: its files, its Python."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dockerfile
import platformdirs

from faults.stack.binaries import locked
from tests.deploy.parts import ROOT

LOCK = ROOT / "deploy" / "relay" / "requirements.lock"
INSTALL_S = 300.0
"""Longest installation; a warm machine takes 10 s."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    commands: list[dockerfile.Command] = field(default_factory=list)

    def all_of(self, kind: str) -> list[dockerfile.Command]:
        """Its instructions of a kind, in order."""
        return [one for one in self.commands if one.cmd.upper() == kind]

    def last(self, kind: str) -> tuple[str, ...]:
        """The words of its last instruction of a kind. Raises IndexError if there is none."""
        return tuple(self.all_of(kind)[-1].value)

    @property
    def env(self) -> dict[str, str]:
        """What its ENV instructions set."""
        pairs: dict[str, str] = {}
        for one in self.all_of("ENV"):
            pairs |= dict(zip(one.value[::2], one.value[1::2], strict=True))
        return pairs

    @property
    def healthcheck(self) -> list[str]:
        """The words of its health check's command."""
        kind, *words = self.last("HEALTHCHECK")
        assert kind == "CMD", kind
        return words


def stages(folder: Path = ROOT) -> list[Stage]:
    """The stages of the Dockerfile in this folder; the last one is the image."""
    found: list[Stage] = []
    for command in dockerfile.parse_file(str(folder / "Dockerfile")):
        if command.cmd.upper() == "FROM":
            base, *rest = command.value
            found.append(Stage(base=base, name=rest[1] if len(rest) == 2 else ""))
        else:
            found[-1].commands.append(command)
    return found


def relay_python() -> Path:
    """The Python that the relay's image has, with what its RUN lines install; made once and kept in the user's cache.

    The Dockerfile's own commands are run, with its folders moved to the cache. Raises CalledProcessError.
    """
    commands = [command.value[0] for command in stages()[0].all_of("RUN")][:2]
    made_of = LOCK.read_bytes() + sys.version.encode() + "\n".join(commands).encode()
    cache = Path(platformdirs.user_cache_path("meshrelay"))
    folder = cache / f"relay-image-{hashlib.sha256(made_of).hexdigest()[:12]}"
    with locked(cache, folder.name):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            for command in commands:
                words = [_moved(word, folder) for word in shlex.split(command)]
                words[0] = sys.executable if words[0] == "python" else words[0]
                subprocess.run(words, check=True, capture_output=True, text=True, timeout=INSTALL_S)
            (folder / "complete").touch()
    return folder / "bin" / "python"


def _moved(word: str, folder: Path) -> str:
    return word.replace("/opt/relay", str(folder)).replace("/build/", f"{LOCK.parent}/")


def lay_out(target: Path) -> Path:
    """What the image's COPY lines bring, below `target` instead of its root; returns its working folder."""
    for one in stages()[0].all_of("COPY"):
        *sources, into = one.value
        for source in sources:
            path, place = ROOT / source, target / into.strip("/")
            if path.is_dir():  # of a folder what is in it, whether `into` ends with a slash or not
                shutil.copytree(path, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place = place / path.name if into.endswith("/") else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
    return target / stages()[-1].last("WORKDIR")[0].strip("/")
