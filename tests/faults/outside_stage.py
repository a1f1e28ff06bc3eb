"""A stack that the run under test did not start: ours, with two relays and proxies, steered over a socket.

Each command of its stack file is a small program that says a word to this test's socket and waits until it is done.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from faults.board import proxy_names, relay_settings
from faults.outside.file import STEERED
from faults.plan import Plan
from faults.stack import EmbeddedStack, ManagedProcess, RelayProcess, ReservedPort
from faults.stack.ports import LOOPBACK
from faults.vocabulary import REPLICAS, Link

ROOT = Path(__file__).parents[2]
MARK = "TEST_OUTSIDE_MARK"
"""In the environment of everything that a run under test starts."""
WORDS = ("kill", "stop", "start", "pause", "resume")
SAY = (
    "import socket, sys\n"
    "it = socket.socket(socket.AF_UNIX)\n"
    "it.connect(sys.argv[1])\n"
    "it.sendall(' '.join(sys.argv[2:]).encode() + b'\\n')\n"
    "sys.exit(it.makefile().readline().strip() or 0)\n"
)
RUN_S = 120.0
Document = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Ended:
    """A command that was run to its end."""

    code: int
    out: str
    errors: str

    @property
    def outcome(self) -> Document:
        """What it printed with --json."""
        found: Document = json.loads(self.out)
        return found


@dataclass(slots=True, kw_only=True)
class OutsideStage:
    """The stack, and what was asked of it."""

    stack: EmbeddedStack
    relays: Mapping[str, RelayProcess]
    ports: Mapping[str, int]
    folder: Path
    document: Document
    """The stack file's content; to be changed before a run."""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    said: list[str] = field(default_factory=list)
    """Every word that came over the socket."""
    deaf: set[str] = field(default_factory=set)
    """Words that are answered, and nothing done."""

    @property
    def processes(self) -> dict[str, ManagedProcess]:
        """All that may be steered."""
        return {**self.relays, "nats": self.stack.nats, "postgres": self.stack.postgres}

    def say(self, *words: str) -> list[str]:
        """The command that says something to this test."""
        return [sys.executable, "-I", "-S", str(self.folder / "say.py"), str(self.folder / "control"), *words]

    async def begin(self, plan: Plan, *more: str) -> asyncio.subprocess.Process:
        """`chaos run --stack external` with this plan, in a process of its own."""
        plan.dump(self.folder / "plan.json")
        (self.folder / "stack.toml").write_text(toml(self.document))
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        words = ["--plan", "plan.json", "--stack", "external", "--stack-file", "stack.toml", "--out", "run", "--json"]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshrelay", "chaos", "run", *words, *more),
            cwd=self.folder,
            env=os.environ | {MARK: self.mark, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, plan: Plan, *more: str) -> Ended:
        """The same, to its end."""
        process = await self.begin(plan, *more)
        try:
            out, errors = await asyncio.wait_for(process.communicate(), RUN_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Ended(code=process.returncode, out=out.decode(), errors=errors.decode())

    def remains(self) -> list[str]:
        """Processes and files that a run under test left behind."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.info["cmdline"] or []))
            except psutil.Error:
                continue
        temporary = self.folder / "tmp"
        return found + ([path.name for path in temporary.iterdir()] if temporary.exists() else [])

    async def ill(self) -> list[str]:
        """What is not as it was found: proxies that are not healed, processes that don't run or don't serve."""
        found = [f"{name} {seen}" for name, one in self.processes.items() if (seen := await one.status()) != "running"]
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            for name, told in (await http.get(f"{self.api}/proxies")).json().items():
                if not told["enabled"] or told["toxics"]:
                    found.append(f"{name}: {told}")
        return found

    @property
    def api(self) -> str:
        """Toxiproxy's."""
        assert self.stack.toxiproxy is not None
        return f"http://{LOOPBACK}:{self.stack.toxiproxy.port}"

    async def obey(self, words: str) -> None:
        """Do what a command says."""
        self.said.append(words)
        word, _, name = words.partition(" ")
        if words in self.deaf:
            return
        if word == "up":
            self._up(Path(name))
        elif word == "down":
            for relay in self.relays.values():
                if relay.is_running():
                    await relay.stop()
        else:
            process = self.processes[name]
            act = {"start": process.start_nowait, "pause": process.pause, "resume": process.resume}.get(word)
            if act is not None:
                act()
            else:
                await (process.kill() if word == "kill" else process.stop())

    def _up(self, settings: Path) -> None:
        """Start the relays with the settings in a file."""
        lines = [line for line in settings.read_text().splitlines() if not line.startswith("#")]
        given = {name.removeprefix("MESHRELAY_"): value for name, _, value in (line.partition("=") for line in lines)}
        for relay in self.relays.values():
            relay.set(**given)
            relay.start_nowait()


@asynccontextmanager
async def outside_stage(plan: Plan, *, is_up: bool = True) -> AsyncIterator[OutsideStage]:
    """A stack with proxies, and with relays that run as the plan wants them if `is_up`."""
    ports = {name: ReservedPort() for name in proxy_names()}
    folder = Path(tempfile.mkdtemp(prefix="outside-"))  # short, for sockets are below it
    try:
        (folder / "say.py").write_text(SAY)
        async with EmbeddedStack.start(toxiproxy=True) as stack:
            numbers = {name: port.number for name, port in ports.items()}
            relays = {name: stack.add_relay(name, relay_settings(plan, stack, numbers, name)) for name in REPLICAS}
            stage = OutsideStage(stack=stack, relays=relays, ports=numbers, folder=folder, document={})
            await _make_proxies(stage)
            for relay in relays.values() if is_up else ():
                relay.start_nowait()
            for relay in relays.values() if is_up else ():
                await relay.wait_ready()
            stage.document = _document(stage, plan)
            server = await asyncio.start_unix_server(_listener(stage), folder / "control")
            try:
                yield stage
            finally:
                server.close()
                await server.wait_closed()
    finally:
        for port in ports.values():
            port.release()
        shutil.rmtree(folder)


def _listener(stage: OutsideStage) -> Any:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await stage.obey((await reader.readline()).decode().strip())
            writer.write(b"\n")
        except (OSError, RuntimeError, KeyError) as error:
            writer.write(f"{error!r}\n".encode())
        writer.close()

    return listen


async def _make_proxies(stage: OutsideStage) -> None:
    """Beforehand, by Toxiproxy's own interface."""
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for name, (link, replica) in proxy_names().items():
            upstream = {
                Link.PUBLISHER_NATS: stage.stack.nats.address,
                Link.RELAY_NATS: stage.stack.nats.address,
                Link.RELAY_POSTGRES: stage.stack.postgres.address,
                Link.AGENT_RELAY: stage.relays[replica or REPLICAS[0]].address,
            }[link]
            body = {
                "name": name,
                "listen": f"{LOOPBACK}:{stage.ports[name]}",
                "upstream": f"{upstream[0]}:{upstream[1]}",
                "enabled": True,
            }
            (await http.post(f"{stage.api}/proxies", json=body)).raise_for_status()


def _document(stage: OutsideStage, plan: Plan) -> Document:
    return {
        "nats": stage.stack.nats_url,
        "postgres": stage.stack.postgres_dsn,
        "toxiproxy": stage.api.removeprefix("http://"),
        "jwt_secret": stage.stack.jwt_secret,
        "relays": {name: relay.url for name, relay in stage.relays.items()},
        "proxies": {name: f"{LOOPBACK}:{port}" for name, port in stage.ports.items()},
        "retention": {"critical_s": plan.retention.critical_s, "standard_s": plan.retention.standard_s},
        "processes": {name: {word: stage.say(word, name) for word in WORDS} for name in STEERED},
    }


def toml(document: Mapping[str, Any]) -> str:
    """A document of strings, numbers, lists and tables as TOML; `$` is doubled, as a stack file wants it."""
    return "".join(_lines(document, ())).replace("$", "$$")


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_value(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return json.dumps(value)


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {name: value for name, value in table.items() if not isinstance(value, dict)}
    lines = [f"{json.dumps(name)} = {_value(value)}\n" for name, value in plain.items()]
    for name, inner in table.items():
        if isinstance(inner, dict):
            place = (*path, json.dumps(name))
            lines += [f"[{'.'.join(place)}]\n", *_lines(inner, place)]
    return lines
