"""How NATS, PostgreSQL and Toxiproxy are run: their settings, and how each shows that it serves."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
import asyncpg
import psutil

from faults.stack import binaries, toxiproxy_build
from faults.stack.errors import ProcessFailed
from faults.stack.ports import LOOPBACK, ReservedPort
from faults.stack.process import POLL_S, STOP_S, ManagedProcess, Probe, ProcessSpec, status_of
from faults.stack.supervisor import Supervisor

PROBE_S = 2.0
"""Longest single look at whether a server serves."""
INITDB_S = 60.0
NATS_STORE, PG_DATA = "store", "data"
"""Folders of their data, where it is to be on a disk of its own."""
NO_SETTINGS: Mapping[str, str] = {}
PG_USER = "meshrelay"
PG_DATABASE = "postgres"

NATS_CONFIG = """\
server_name: {name}
host: {host}
port: {port}
http: "{host}:{monitor_port}"
jetstream {{
  store_dir: {store_dir}
  {sync}
}}
"""

NATS_SYNC = {
    "always": "# An acknowledged event must survive SIGKILL and power loss: fsync before every PubAck.\n"
    "  sync_interval: always",
    "interval": "# NATS's default: what was acknowledged is lost with the power, unless it was synced meanwhile.\n"
    '  sync_interval: "2m"',  # without quotes it would be two million seconds
}
"""Lines of the configuration by `Servers.nats_sync` of a plan."""

INITDB_OPTIONS = (
    "--auth=scram-sha-256",
    "--no-sync",  # a new, empty data folder is not worth an fsync; the server itself has fsync on
    "--no-instructions",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
)

PG_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    # Files in the data folder, not /dev/shm: what a SIGKILL leaves behind goes with the run folder.
    "dynamic_shared_memory_type": "mmap",
}


async def nats_info(host: str, port: int) -> dict[str, object]:
    """What a NATS server says of itself on connect: its INFO line. Raises OSError, TimeoutError."""
    async with asyncio.timeout(PROBE_S):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            line = await reader.readline()
        finally:
            writer.close()
    if not line.startswith(b"INFO "):
        raise ConnectionResetError(f"expected a NATS INFO line from {host}:{port}, got {line[:40]!r}")
    info: dict[str, object] = json.loads(line[5:])
    return info


async def versions(nats: tuple[str, int], dsn: str) -> dict[str, str]:
    """What a running NATS and Postgres say that they are. Raises OSError, TimeoutError, asyncpg.PostgresError."""
    info = await nats_info(*nats)
    connection = await asyncpg.connect(dsn)
    try:
        postgres = str(await connection.fetchval("show server_version"))
    finally:
        await connection.close()
    return {"nats-server": str(info["version"]), "postgres": postgres}


class NatsProcess(ManagedProcess):
    """A NATS server with JetStream over a data folder of its own."""

    monitor: ReservedPort

    @property
    def monitor_url(self) -> str:
        """Its monitoring address, where its sync_interval can be seen."""
        return f"http://{LOOPBACK}:{self.monitor.number}"

    def release(self) -> None:
        """Give its ports back."""
        self.monitor.release()
        super().release()

    @property
    def url(self) -> str:
        """Where its clients connect."""
        return f"nats://{LOOPBACK}:{self.port}"


def nats_process(
    supervisor: Supervisor,
    run_dir: Path,
    name: str = "nats",
    *,
    sync: str = "always",
    more: str = "",
    store: str = "",
) -> NatsProcess:
    """A NATS server with JetStream, not started; `sync` as in NATS_SYNC, `more` lines of its configuration.

    Its data is in `store` below its folder, or in the folder itself. Raises PartUnavailable.
    """
    program, port, monitor = binaries.nats_server(), ReservedPort(), ReservedPort()
    folder = run_dir / name
    folder.mkdir(exist_ok=True)
    config = folder / "nats.conf"
    config.write_text(
        NATS_CONFIG.format(
            name=name,
            host=LOOPBACK,
            port=port.number,
            monitor_port=monitor.number,
            store_dir=json.dumps(str(folder / store)),
            sync=NATS_SYNC[sync],
        )
        + more
    )

    spec = ProcessSpec(
        name=name,
        argv=(str(program), "-c", str(config)),
        folder=folder,
        log_path=run_dir / f"{name}.log",
        probe=nats_probe(LOOPBACK, port.number),
        env=plain_env(),
    )
    process = NatsProcess(supervisor=supervisor, port=port, spec=spec)
    process.monitor = monitor
    return process


class PostgresProcess(ManagedProcess):
    """A PostgreSQL server over a data folder of its own."""

    dsn: str
    """A connection string for its superuser, password included."""

    @classmethod
    async def prepare(
        cls, supervisor: Supervisor, run_dir: Path, *, settings: Mapping[str, str] = NO_SETTINGS
    ) -> PostgresProcess:
        """Make the data folder unless it is there already; the server is not started.

        `settings` come on top of PG_SETTINGS. Raises PartUnavailable.
        """
        user = binaries.postgres_user()
        programs, port = binaries.postgres_bin(user), ReservedPort()
        folder = run_dir / "postgres"
        password_file = _folder_with_password(folder, user)
        data = folder / PG_DATA
        initdb = ProcessSpec(
            name="initdb",
            argv=(
                str(programs / "initdb"),
                "-D",
                str(data),
                "-U",
                PG_USER,
                f"--pwfile={password_file}",
                *INITDB_OPTIONS,
            ),
            folder=folder,
            log_path=run_dir / "postgres.log",
            env=plain_env(),
            user=user,
            shm_file=data / "postmaster.pid",  # initdb runs a server too
        )
        if not (data / "PG_VERSION").exists():
            await _run(ManagedProcess(supervisor=supervisor, port=port, spec=initdb))
        dsn = f"postgresql://{PG_USER}:{password_file.read_text()}@{LOOPBACK}:{port.number}/{PG_DATABASE}"
        words = [f"-c{key}={value}" for key, value in (PG_SETTINGS | dict(settings)).items()]
        server = replace(
            initdb,
            name="postgres",
            argv=(str(programs / "postgres"), "-D", str(data), "-p", str(port.number), *words),
            probe=postgres_probe(dsn),
            polite_signal=signal.SIGINT,  # fast shutdown; SIGTERM would wait for every client to leave
            farewell=signal.SIGQUIT,  # immediate shutdown: as rough as SIGKILL on the data, but frees shared memory
        )
        process = cls(supervisor=supervisor, port=port, spec=server)
        process.dsn = dsn
        return process

    async def kill(self) -> int:
        """SIGKILL it, and wait until its backends are gone, too: PostgreSQL does not start while one is still attached
        to the old shared memory. Returns its code. Raises ProcessFailed.
        """
        below = psutil.Process(self.pid).children(recursive=True) if self.is_running() else []
        code = await super().kill()
        deadline = asyncio.get_running_loop().time() + STOP_S
        while left := [one.pid for one in below if status_of(one.pid) != "gone"]:
            if asyncio.get_running_loop().time() > deadline:
                raise ProcessFailed(
                    f"expected the backends {left} of {self.name} to end within {STOP_S:g} s of SIGKILL"
                )
            await asyncio.sleep(POLL_S)
        return code


def _folder_with_password(folder: Path, user: int | None) -> Path:
    """Make the folder and the file with the superuser's password, both readable by the server's uid."""
    folder.mkdir(exist_ok=True)
    password_file = folder / "password"
    if not password_file.exists():
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_hex(16))
    if user is not None:
        for path in (folder, password_file):
            os.chown(path, user, -1)
    return password_file


def nats_probe(host: str, port: int) -> Probe:
    """A probe that wants a NATS server with JetStream."""

    async def probe() -> bool:
        return bool((await nats_info(host, port)).get("jetstream"))

    return probe


def postgres_probe(dsn: str) -> Probe:
    """A probe that wants to log in."""

    async def probe() -> bool:
        try:
            connection = await asyncpg.connect(dsn, timeout=PROBE_S)
        except (asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError):
            return False  # it listens, but recovers still
        await connection.close(timeout=PROBE_S)
        return True

    return probe


async def _run(maker: ManagedProcess) -> None:
    maker.start_nowait()
    if await maker.wait(INITDB_S) != 0:
        raise ProcessFailed(f"expected {maker.name} to succeed, got code {maker.returncode}; {maker.log_tail()}")


def toxiproxy_process(supervisor: Supervisor, run_dir: Path) -> ManagedProcess:
    """A Toxiproxy server without proxies, not started; blocks while it is built. Raises PartUnavailable."""
    program, port = toxiproxy_build.toxiproxy_server(), ReservedPort()
    folder = run_dir / "toxiproxy"
    folder.mkdir(exist_ok=True)
    spec = ProcessSpec(
        name="toxiproxy",
        argv=(str(program), "-host", LOOPBACK, "-port", str(port.number), "-proxy-metrics"),
        folder=folder,
        log_path=run_dir / "toxiproxy.log",
        probe=http_probe(f"http://{LOOPBACK}:{port.number}/version"),
        env=plain_env(),
    )
    return ManagedProcess(supervisor=supervisor, port=port, spec=spec)


def http_probe(url: str) -> Probe:
    """A probe that wants status 200 from this address."""

    async def probe() -> bool:
        timeout = aiohttp.ClientTimeout(total=PROBE_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return probe


def plain_env() -> dict[str, str]:
    """An environment that does not depend on who starts the server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
