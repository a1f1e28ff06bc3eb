"""The real stack on this machine without containers: NATS, PostgreSQL, optionally Toxiproxy and Redis, and relays.

Everything binds 127.0.0.1 on ports of its own and lives in one run folder; any number of stacks run side by side.
Whatever ends the owner, also SIGKILL, ends the stack and removes its run folder (see `watchdog.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from faults.stack import disks, servers
from faults.stack.binaries import is_reachable, postgres_user
from faults.stack.errors import PartUnavailable
from faults.stack.process import ManagedProcess, program
from faults.stack.redis import REDIS_DATA, RedisProcess, RedisSync, redis_process
from faults.stack.relay import RelayProcess
from faults.stack.supervisor import Supervisor


class EmbeddedStack:
    """The running servers and what it takes to reach them. Holds no object of an event loop."""

    nats: servers.NatsProcess
    postgres: servers.PostgresProcess
    toxiproxy: ManagedProcess | None = None

    def __init__(self, run_dir: Path | None = None) -> None:
        """Make the run folder and the watchdog; use `start` or `open` to get servers too. Raises PartUnavailable."""
        self.run_dir = _prepare(run_dir)
        self.jwt_secret = secrets.token_hex(32)
        """What the stack's relays verify tokens with (HS256)."""
        self.disks: dict[str, disks.SmallDisk] = {}
        """By server, if they were asked for."""
        self._supervisor = Supervisor(doomed_dir=self.run_dir if run_dir is None else None)

    @classmethod
    @asynccontextmanager
    async def start(
        cls, *, toxiproxy: bool = False, run_dir: Path | None = None, nats_sync: str = "always", small: bool = False
    ) -> AsyncIterator[EmbeddedStack]:
        """A stack for the length of an `async with`; see `open`."""
        stack = await cls.open(toxiproxy=toxiproxy, run_dir=run_dir, nats_sync=nats_sync, small=small)
        try:
            yield stack
        finally:
            stack.close()

    @classmethod
    async def open(
        cls, *, toxiproxy: bool = False, run_dir: Path | None = None, nats_sync: str = "always", small: bool = False
    ) -> EmbeddedStack:
        """Start NATS, Postgres and, if asked, Toxiproxy; they serve on return, and until `close`.

        A given `run_dir` is used as it is, with the data of an earlier stack if there is any, and kept; without one a
        temporary folder is made and removed. `nats_sync` as in servers.NATS_SYNC. With `small`, NATS and Postgres keep
        their data on small disks (`disks`), which can be filled and don't outlive the stack.

        Raises PartUnavailable, ProcessFailed.
        """
        stack = cls(run_dir)
        try:
            await stack._bring_up(toxiproxy, nats_sync, small=small)
        except BaseException:  # also a cancellation or Ctrl-C: nobody else could close it yet
            stack.close()
            raise
        return stack

    async def _bring_up(self, toxiproxy: bool, nats_sync: str, *, small: bool) -> None:
        if small:
            self.disks = {
                "nats": self._small_disk(self.run_dir / "nats" / servers.NATS_STORE, disks.NATS_BYTES, None),
                "postgres": self._small_disk(
                    self.run_dir / "postgres" / servers.PG_DATA, disks.POSTGRES_BYTES, postgres_user()
                ),
            }
        if toxiproxy:
            self.toxiproxy = await asyncio.to_thread(servers.toxiproxy_process, self._supervisor, self.run_dir)
            self.toxiproxy.start_nowait()
        self.nats = servers.nats_process(
            self._supervisor, self.run_dir, sync=nats_sync, store=servers.NATS_STORE if small else ""
        )
        self.nats.start_nowait()
        self.postgres = await servers.PostgresProcess.prepare(
            self._supervisor, self.run_dir, settings=disks.POSTGRES_SETTINGS if small else {}
        )
        self.postgres.start_nowait()
        for process in filter(None, [self.nats, self.postgres, self.toxiproxy]):
            await process.wait_ready()

    def _small_disk(self, path: Path, size_bytes: int, user: int | None) -> disks.SmallDisk:
        path.mkdir(parents=True)
        self._supervisor.mount(path, size_bytes=size_bytes, user=user)
        return disks.SmallDisk(supervisor=self._supervisor, path=path)

    @property
    def nats_url(self) -> str:
        """Where NATS listens."""
        return self.nats.url

    @property
    def postgres_dsn(self) -> str:
        """A connection string for Postgres, password included."""
        return self.postgres.dsn

    @property
    def watchdog_pid(self) -> int:
        """The process that is the parent of all others."""
        return self._supervisor.pid

    def add_nats(self, name: str, *, sync: str = "always", more: str = "") -> servers.NatsProcess:
        """One more, empty NATS server under this name, not started; `remove` it when done.

        `sync` as in servers.NATS_SYNC, `more` further lines of its configuration.
        """
        return servers.nats_process(self._supervisor, self.run_dir, name, sync=sync, more=more)

    def add_redis(
        self, name: str = "redis", *, sync: RedisSync = "always", small: bool = False, **settings: str
    ) -> RedisProcess:
        """A Redis server under this name, not started; a stack has none until somebody asks.

        `settings` override its own, with `_` for `-` in their names. With `small` its data is on a small disk, which
        is in `disks` under its name. Raises PartUnavailable.
        """
        named = {key.replace("_", "-"): value for key, value in settings.items()}
        if small:
            self.disks[name] = self._small_disk(self.run_dir / name / REDIS_DATA, disks.REDIS_BYTES, None)
        data = REDIS_DATA if small else ""
        return redis_process(self._supervisor, self.run_dir, name, sync=sync, settings=named, data=data)

    def add_relay(self, name: str = "relay", settings: Mapping[str, str] | None = None) -> RelayProcess:
        """A relay on this stack, not started; `settings` (names without `MESHRELAY_`) override those made here."""
        ours = {
            "NATS_URL": self.nats_url,
            "NATS_MONITOR_URL": self.nats.monitor_url,
            "POSTGRES_DSN": self.postgres_dsn,
            "JWT_HS256_SECRET": self.jwt_secret,
        }
        return RelayProcess(
            supervisor=self._supervisor, run_dir=self.run_dir, name=name, settings=ours | dict(settings or {})
        )

    def add_program(self, name: str, argv: Sequence[str], is_ready: Callable[[], bool]) -> ManagedProcess:
        """A process that ends with the stack and listens on no port, not started; its environment is this one's."""
        return program(self._supervisor, self.run_dir, name, argv, is_ready)

    async def remove(self, process: ManagedProcess) -> None:
        """Kill a process that was added, and remove its folder; its log stays."""
        if process.is_running():
            await process.kill()
        process.release()
        await asyncio.to_thread(shutil.rmtree, process.spec.folder, ignore_errors=True)

    async def versions(self) -> dict[str, str]:
        """What the running servers say that they are."""
        return await servers.versions(self.nats.address, self.postgres_dsn)

    def close(self) -> None:
        """End every process, remove a temporary run folder, block until that is done (well under 1 s). Idempotent."""
        self._supervisor.close()


def _prepare(given: Path | None) -> Path:
    user = postgres_user()
    if given is not None:
        run_dir = given.resolve()
        run_dir.mkdir(parents=True, exist_ok=True)
        if user is not None and not is_reachable(run_dir, user):
            raise PartUnavailable(
                "PostgreSQL", f"as root it runs as uid {user}, which can't enter {run_dir}; give another folder"
            )
        return run_dir
    # As root with a TMPDIR closed to others, fall back to where everybody may go.
    parents = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    parent = parents[0] if user is None else next((path for path in parents if is_reachable(path, user)), parents[0])
    # Named here, made by the watchdog: a folder that exists has somebody to remove it.
    return parent / f"meshrelay-{secrets.token_hex(8)}"
