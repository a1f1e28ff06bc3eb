"""How Redis is run: its settings, and how it shows that it serves. It is started only where somebody asks for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from faults.stack import binaries
from faults.stack.ports import LOOPBACK, ReservedPort
from faults.stack.process import ManagedProcess, Probe, ProcessSpec
from faults.stack.servers import PROBE_S, plain_env
from faults.stack.supervisor import Supervisor

RedisSync = Literal["always", "everysec", "no"]
"""Values of appendfsync: before every answer, once a second, or when the system likes."""

REDIS_DATA = "data"
"""Folder of its data, where it is to be on a disk of its own."""
REDIS_SETTINGS = {
    "appendonly": "yes",
    "save": "",  # the log alone: a snapshot beside it would be read by nobody
    "maxmemory-policy": "noeviction",  # events leave by their age, never for want of room
    "daemonize": "no",
}


class RedisProcess(ManagedProcess):
    """A Redis server over a data folder of its own."""

    @property
    def url(self) -> str:
        """Where its clients connect, its first database."""
        return f"redis://{LOOPBACK}:{self.port}/0"


def redis_process(
    supervisor: Supervisor,
    run_dir: Path,
    name: str = "redis",
    *,
    sync: RedisSync = "always",
    settings: dict[str, str] | None = None,
    data: str = "",
) -> RedisProcess:
    """A Redis server that logs every write, not started; `settings` come on top of REDIS_SETTINGS.

    Its data is in `data` below its folder, or in the folder itself. Raises PartUnavailable.
    """
    program, port = binaries.redis_server(), ReservedPort()
    folder = run_dir / name
    folder.mkdir(exist_ok=True)
    fixed = {"bind": LOOPBACK, "port": str(port.number), "dir": str(folder / data)}
    given = REDIS_SETTINGS | {"appendfsync": sync} | (settings or {}) | fixed
    spec = ProcessSpec(
        name=name,
        argv=(str(program), *(word for key, value in given.items() for word in (f"--{key}", value))),
        folder=folder,
        log_path=run_dir / f"{name}.log",
        probe=redis_probe(LOOPBACK, port.number),
        env=plain_env(),
    )
    return RedisProcess(supervisor=supervisor, port=port, spec=spec)


async def redis_version(host: str, port: int) -> str:
    """What a Redis server says that it is. Raises OSError, TimeoutError."""
    async with asyncio.timeout(PROBE_S):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"INFO server\r\nQUIT\r\n")
            told = (await reader.read()).decode(errors="replace")
        finally:
            writer.close()
    for line in told.splitlines():
        name, _, version = line.partition(":")
        if name == "redis_version":
            return version
    raise ConnectionResetError(f"expected Redis's version from {host}:{port}, got {told[:40]!r}")


def redis_probe(host: str, port: int) -> Probe:
    """A probe that wants an answer to PING; a server that still reads its log answers with an error."""

    async def probe() -> bool:
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()

    return probe
