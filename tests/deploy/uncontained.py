"""The compose stack without containers: its own commands, configurations and environments, on loopback ports.

What an engine would do is done here by hand: a service's name is an address, a mounted file is its source, a published
port is one of ours. The servers' programs are the embedded stack's; the relay is what its Dockerfile makes.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from faults.stack import ManagedProcess, ReservedPort
from faults.stack.binaries import is_reachable, nats_server, postgres_bin, postgres_user
from faults.stack.ports import LOOPBACK
from faults.stack.process import ProcessSpec
from faults.stack.servers import http_probe, nats_info
from faults.stack.supervisor import Supervisor
from faults.stack.toxiproxy_build import toxiproxy_server
from tests.deploy import parts
from tests.deploy.image import lay_out, relay_python, stages

PLAIN_ENV = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
CHECK_S = 10.0
Service = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Uncontained:
    """The running stack."""

    services: Mapping[str, Service]
    ports: Mapping[tuple[str, int], ReservedPort]
    """By service and port within its container."""
    folder: Path
    supervisor: Supervisor

    def port(self, service: str, port: int) -> int:
        """Our port for a container's."""
        return self.ports[service, port].number

    def local(self, text: str) -> str:
        """The text with every `service:port` replaced by our address for it."""
        names = "|".join(sorted({name for name, _ in self.ports}))
        return re.sub(rf"\b({names}):(\d+)\b", lambda it: f"{LOOPBACK}:{self.port(it[1], int(it[2]))}", text)

    def own(self, service: str, text: str) -> str:
        """The text with what a container calls its own loopback replaced by our address for it."""
        return re.sub(rf"{re.escape(LOOPBACK)}:(\d+)", lambda it: f"{LOOPBACK}:{self.port(service, int(it[1]))}", text)

    def start(self, service: str, argv: list[str], **rest: Any) -> ManagedProcess:
        """A process of the stack in a folder of its own, started."""
        folder = self.folder / service
        folder.mkdir(exist_ok=True)
        spec = ProcessSpec(
            name=service,
            argv=tuple(argv),
            folder=rest.pop("cwd", folder),
            log_path=self.folder / f"{service}.log",
            env=rest.pop("env", PLAIN_ENV),
            **rest,
        )
        process = ManagedProcess(supervisor=self.supervisor, port=None, spec=spec)
        process.start_nowait()
        return process

    def is_healthy(self, service: str) -> bool:
        """What the service's own health check says; with our address for its own."""
        given = self.services[service].get("healthcheck", {}).get("test", ["CMD"])
        words = (
            given[1:]
            or {"toxiproxy": _toxiproxy_image, "relay-1": stages, "relay-2": stages}[service]()[-1].healthcheck
        )
        program, *arguments = [self.own(service, word) for word in words]
        if program == "wget":
            *flags, url = arguments
            assert flags == ["-q", "-O", "/dev/null"], flags
            try:
                with urllib.request.urlopen(url, timeout=CHECK_S) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False
        if "-p" in arguments:
            place = arguments.index("-p") + 1
            arguments[place] = str(self.port(service, int(arguments[place])))
        path = {"pg_isready": postgres_bin(None) / "pg_isready", "python": relay_python()}[program]
        done = subprocess.run([str(path), *arguments], capture_output=True, timeout=CHECK_S, check=False)
        return done.returncode == 0


def _toxiproxy_image() -> list[Any]:
    return list(stages(parts.ROOT / "deploy" / "toxiproxy"))


@asynccontextmanager
async def servers(services: Mapping[str, Service]) -> AsyncIterator[Uncontained]:
    """NATS, Postgres and Toxiproxy, serving; relays are added by `start_relay`. Everything is gone at the end."""
    inside = {("nats", 4222), ("nats", 8222), ("postgres", 5432), ("relay-1", 8080), ("relay-2", 8080)}
    inside |= {("toxiproxy", port["target"]) for port in services["toxiproxy"]["ports"]}
    ports = {one: ReservedPort() for one in sorted(inside)}
    user = postgres_user()
    parents = [Path(tempfile.gettempdir()), Path("/tmp")]
    parent = next(path for path in parents if user is None or is_reachable(path, user))
    folder = parent / f"meshrelay-{secrets.token_hex(8)}"
    supervisor = Supervisor(doomed_dir=folder)
    try:
        stack = Uncontained(services=services, ports=ports, folder=folder, supervisor=supervisor)
        started = [_start_nats(stack), _start_toxiproxy(stack), await _start_postgres(stack)]
        for process in started:
            await process.wait_ready()
        yield stack
    finally:
        supervisor.close()
        for port in ports.values():
            port.release()


def _start_nats(stack: Uncontained) -> ManagedProcess:
    port, monitor = stack.port("nats", 4222), stack.port("nats", 8222)
    service = stack.services["nats"]
    (config,), (data,) = service["configs"], service["volumes"]
    text = (parts.ROOT / "deploy" / "nats" / "nats.conf").read_text()
    moved = f"store_dir: {data['target']}\n"
    assert moved in text, "NATS must keep its data in its volume"
    copy = stack.folder / "nats.conf"
    copy.write_text(text.replace(moved, f"store_dir: {stack.folder / 'nats' / 'data'}\n"))
    command = [str(copy) if word == config["target"] else word for word in service["command"]]
    ours = ["-a", LOOPBACK, "-p", str(port), "-m", str(monitor)]

    async def probe() -> bool:
        return bool((await nats_info(LOOPBACK, port)).get("jetstream"))

    return stack.start("nats", [str(nats_server()), *command, *ours], probe=probe)


def _start_toxiproxy(stack: Uncontained) -> ManagedProcess:
    config = stack.folder / "toxiproxy.json"
    text = (parts.ROOT / "deploy" / "toxiproxy.json").read_text()
    config.write_text(stack.local(text.replace("0.0.0.0:", "toxiproxy:")))
    api = stack.port("toxiproxy", 8474)
    moved = {"0.0.0.0": LOOPBACK, "8474": str(api), "/etc/toxiproxy.json": str(config)}
    command = [moved.get(word, word) for word in stack.services["toxiproxy"]["command"]]
    probe = http_probe(f"http://{LOOPBACK}:{api}/version")
    return stack.start("toxiproxy", [str(toxiproxy_server()), *command], probe=probe)


async def _start_postgres(stack: Uncontained) -> ManagedProcess:
    made, user = stack.services["postgres"]["environment"], postgres_user()
    programs, port = postgres_bin(user), stack.port("postgres", 5432)
    folder = stack.folder / "postgres"
    folder.mkdir()
    password_file = folder / "password"
    password_file.write_text(made["POSTGRES_PASSWORD"])
    if user is not None:
        for path in (folder, password_file):
            os.chown(path, user, -1)
    data, rest = folder / "data", {"user": user, "shm_file": folder / "data" / "postmaster.pid"}
    # What the image's entry point does with POSTGRES_*.
    options = ["-D", str(data), "-U", made["POSTGRES_USER"], f"--pwfile={password_file}", "--no-sync"]
    initdb = stack.start(
        "postgres", [str(programs / "initdb"), *options, *shlex.split(made["POSTGRES_INITDB_ARGS"])], **rest
    )
    assert await initdb.wait() == 0, initdb.log_tail()
    _, *command = stack.services["postgres"]["command"]
    ours = ["-D", str(data), "-p", str(port), f"-clisten_addresses={LOOPBACK}", "-cunix_socket_directories="]
    address = {"host": LOOPBACK, "port": port, "user": made["POSTGRES_USER"], "password": made["POSTGRES_PASSWORD"]}

    async def probe() -> bool:
        try:
            connection = await asyncpg.connect(database="postgres", timeout=2, **address)
        except (asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError):
            return False
        await connection.close()
        return True

    server = stack.start(
        "postgres",
        [str(programs / "postgres"), *command, *ours, "-cdynamic_shared_memory_type=mmap"],
        probe=probe,
        farewell=signal.SIGQUIT,
        **rest,
    )
    await server.wait_ready()
    connection = await asyncpg.connect(database="postgres", **address)
    await connection.execute(f'create database "{made["POSTGRES_DB"]}"')
    await connection.close()
    return server


def start_relay(stack: Uncontained, replica: str) -> ManagedProcess:
    """A replica as its image and the compose file say, started: its files, its Python, its command, its environment."""
    image, port = stages()[-1], stack.port(replica, 8080)
    entry, *words = [*image.last("ENTRYPOINT"), *image.last("CMD")]
    assert entry == "python"
    given = {name: stack.local(value) for name, value in stack.services[replica]["environment"].items()}
    env = PLAIN_ENV | image.env | given | {"MESHRELAY_HTTP_HOST": LOOPBACK, "MESHRELAY_HTTP_PORT": str(port)}
    return stack.start(
        replica,
        [str(relay_python()), *words],
        cwd=lay_out(stack.folder / f"{replica}-image"),
        env=env,
        probe=http_probe(f"http://{LOOPBACK}:{port}/readyz"),
    )
