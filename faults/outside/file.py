"""The stack file: where the parts of a stack are that others started, and by which commands they are steered.

A TOML document; `deploy/compose-stack.toml` is one. In its strings `${NAME}` and `${NAME:-default}` stand for variables
of the environment, as in a compose file, and `$$` for a dollar. Reading one checks it whole: every problem is found.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from faults.board import proxy_names
from faults.outside.shape import misfits
from faults.plan import Plan, Retention
from faults.playable import Ground
from faults.vocabulary import REPLICAS, Duration

Address = tuple[str, int]
Argv = Annotated[tuple[str, ...], Meta(min_length=1)]

STEERED = (*REPLICAS, "nats", "postgres")
"""The processes that commands may steer."""
NO_DISKS = "no disk of a stack that others started can be filled"
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class StackFileInvalid(ValueError):
    """A stack file can't be used; one line for each problem says where, what was expected, what came."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(source, problems)
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"{self.source}: {problem}" for problem in self.problems)


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a stack file."""


class Commands(_Part, frozen=True, kw_only=True):
    """How one process is steered; what is left out can't be done to it."""

    kill: Argv | None = None
    """SIGKILL, and nothing starts it again before `start`."""
    stop: Argv | None = None
    start: Argv | None = None
    pause: Argv | None = None
    """Freeze it: its connections stay open and silent."""
    resume: Argv | None = None

    def given(self) -> frozenset[str]:
        """The names of what can be done."""
        return frozenset(name for name, argv in msgspec.structs.asdict(self).items() if argv is not None)


class Need(_Part, frozen=True, kw_only=True):
    """A program without which nothing here works."""

    command: Argv
    """Succeeds if it is there."""
    install: str
    """What to install if not."""


class StackFile(_Part, frozen=True, kw_only=True):
    """A stack, as it is reached from here."""

    nats: str
    """NATS itself, past all proxies: nats://host:port."""
    postgres: str
    """Postgres itself, past all proxies: a connection string, password included."""
    toxiproxy: str
    """Its API: host:port."""
    jwt_secret: str
    """What the relays verify tokens with (HS256)."""
    relays: dict[str, str]
    """The replicas themselves, past all proxies, by name: http://host:port."""
    proxies: dict[str, str]
    """Where each proxy listens, by its name in Toxiproxy: host:port."""
    processes: dict[str, Commands] = {}
    retention: Retention | None = None
    """What the relays run with, if it is not ours to set."""
    dedupe_window_s: Duration = 120.0
    """The same for the time in which the stream recognises repeats."""
    settings_file: str | None = None
    """Where the settings that a plan asks for are written before `up`, as MESHRELAY_NAME=value."""
    folder: str = "."
    """Where commands run and relative paths begin, from the stack file's own folder."""
    env: dict[str, str] = {}
    """What commands get beside this environment."""
    needs: tuple[Need, ...] = ()
    up: Argv | None = None
    down: Argv | None = None
    logs: Argv | None = None
    """Prints what the servers logged."""
    command_within_s: Duration = 60.0
    up_within_s: Duration = 1800.0
    """The same for `up`, which may build, and `down`."""

    @classmethod
    def load(cls, path: Path, environment: Mapping[str, str] = os.environ) -> StackFile:
        """Read a stack file; its `folder` is absolute then. Raises StackFileInvalid, OSError."""
        try:
            document = tomllib.loads(path.read_text())
        except ValueError as error:  # also of text that is not UTF-8
            raise StackFileInvalid(str(path), [f"expected TOML, got {error}"]) from None
        unset: list[str] = []
        document = _filled_in(document, environment, unset)
        problems = [*unset, *misfits(document, cls)]
        if problems:
            raise StackFileInvalid(str(path), problems)
        stack: StackFile = msgspec.convert(document, cls)
        problems = list(_problems(stack))
        if problems:
            raise StackFileInvalid(str(path), problems)
        return msgspec.structs.replace(stack, folder=str((path.parent / stack.folder).resolve()))

    @property
    def settings_path(self) -> Path | None:
        """The settings file, from anywhere."""
        return None if self.settings_file is None else Path(self.folder) / self.settings_file

    @property
    def nats_address(self) -> Address:
        """Host and port of NATS."""
        return _checked(address_of(self.nats, schemes=("nats",)))

    @property
    def toxiproxy_address(self) -> Address:
        """Host and port of Toxiproxy's API."""
        return _checked(address_of(self.toxiproxy))

    def proxy_address(self, name: str) -> Address:
        """Where a proxy listens, seen from here."""
        return _checked(address_of(self.proxies[name]))

    def commands(self, name: str) -> Commands:
        """How a process is steered."""
        return self.processes.get(name, Commands())

    @property
    def ground(self) -> Ground:
        """What faults can be played on it."""
        can = {name: commands.given() for name, commands in self.processes.items()}
        return Ground(no_disks=NO_DISKS, commands=can)

    def refuses(self, plan: Plan) -> list[str]:
        """Why a plan can't be played on this stack; empty if it can."""
        found = []
        if plan.transport == "redis":
            found.append("transport: expected one without Redis, got 'redis'; a stack file does not say where it is")
        if plan.servers.nats_sync != "always":
            found.append(f"servers.nats_sync: expected 'always', got {plan.servers.nats_sync!r}; others configure NATS")
        if self.settings_file is not None:
            return found
        given, wanted = self.retention, plan.retention
        if given != wanted:
            found.append(f"retention: expected {given}, with which the relays run, got {wanted}")
        if self.dedupe_window_s != plan.relay.dedupe_window_s:
            found.append(
                f"relay.dedupe_window_s: expected {self.dedupe_window_s:g}, with which the relays run, got "
                f"{plan.relay.dedupe_window_s:g}"
            )
        return found


def address_of(text: str, *, schemes: tuple[str, ...] = ()) -> Address | None:
    """Host and port of `host:port`, or of a URL if there are schemes; None if it is neither."""
    try:
        url = urlsplit(text if schemes else f"//{text}")
        is_right = url.scheme in schemes if schemes else not (url.path or url.query or url.username)
        return (url.hostname, url.port) if is_right and url.hostname and url.port else None
    except ValueError:
        return None


def _checked(address: Address | None) -> Address:
    assert address is not None, "it was checked when the file was read"
    return address


def _filled_in(value: Any, environment: Mapping[str, str], unset: list[str]) -> Any:
    """The document with its variables replaced; those without a value are added to `unset`."""
    if isinstance(value, dict):
        return {name: _filled_in(inner, environment, unset) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled_in(inner, environment, unset) for inner in value]
    if not isinstance(value, str):
        return value

    def replaced(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        told = environment.get(found[1]) or found[2]  # as a compose file has it: empty is unset
        if told is None:
            unset.append(f"expected {found[1]} in the environment, got none; set it, or write ${{{found[1]}:-default}}")
        return told or ""

    return _VARIABLE.sub(replaced, value)


def _problems(stack: StackFile) -> Iterator[str]:
    """What is wrong with a stack file of the right shape."""
    if address_of(stack.nats, schemes=("nats",)) is None:
        yield f"nats: expected nats://host:port, got {stack.nats!r}"
    if address_of(stack.postgres, schemes=("postgresql", "postgres")) is None:
        yield "postgres: expected postgresql://user:password@host:port/database, got something else"  # has a password
    if address_of(stack.toxiproxy) is None:
        yield f"toxiproxy: expected host:port, got {stack.toxiproxy!r}"
    yield from _names("relays", stack.relays, REPLICAS)
    yield from _names("proxies", stack.proxies, proxy_names())
    for name, url in stack.relays.items():
        if address_of(url, schemes=("http",)) is None or urlsplit(url).path:
            yield f"relays.{name}: expected http://host:port, got {url!r}"
    for name, address in stack.proxies.items():
        if address_of(address) is None:
            yield f"proxies.{name}: expected host:port, got {address!r}"
    for name in stack.processes:
        if name not in STEERED:
            yield f"processes.{name}: expected one of {', '.join(STEERED)}, got {name!r}"
    if (stack.settings_file is None) is (stack.retention is None):
        got = "neither" if stack.retention is None else "both"
        yield f"retention: expected it, or a settings_file by which each plan sets its own, got {got}"
    if stack.settings_file is not None and stack.up is None:
        yield "settings_file: expected `up` beside it, got none; relays that run already would not read it"
    if not stack.jwt_secret:
        yield "jwt_secret: expected the relays' secret, got an empty one"


def _names(place: str, given: Mapping[str, str], wanted: Mapping[str, object] | tuple[str, ...]) -> Iterator[str]:
    for name in wanted:
        if name not in given:
            yield f"{place}.{name}: expected an address, got none; add it"
    for name in given:
        if name not in wanted:
            yield f"{place}.{name}: expected one of {', '.join(wanted)}, got {name!r}"
