"""Sets up what a run is played on: the stack, replicas of the relay, and proxies that all their links go through."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import aiohttp

from faults.plan import Plan
from faults.stack import EmbeddedStack, ManagedProcess, ProcessFailed, RedisProcess, RelayProcess, ReservedPort
from faults.stack.ports import LOOPBACK
from faults.stack.redis import redis_version
from faults.targets import Board, Line, Relay, Steered
from faults.toxiproxy import Toxiproxy
from faults.vocabulary import REPLICAS, DiskFull, Fault, Link, ProcessName, links_of
from system.cursor import Cursor
from system.tokens import mint

PROBING_AGENT = "chaos-probe"
"""An agent to whom nothing is addressed, for asking the relay where its stream is."""
READY_S = 30.0
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A running stack, whoever started it, with everything that a run needs to reach it."""

    nats_url: str
    """NATS itself, past all proxies."""
    jwt_secret: str
    relays: Sequence[Relay]
    nursery: ManagedProcess
    nursery_socket: Path
    board: Board
    agent_pids: list[Callable[[], Sequence[int]]]
    """Told where the agents' processes are, once there are any."""
    server_versions: Callable[[], Awaitable[Mapping[str, str]]]
    keep_logs: Callable[[Path], Awaitable[None]]
    """Copies what logs there are into a folder."""

    @property
    def replicas(self) -> tuple[tuple[str, int], ...]:
        """Where agents and publishers find the relay: the replicas' proxies."""
        return tuple(line.route.listen for line in self.board.lines[Link.AGENT_RELAY])

    @property
    def publishers_nats_url(self) -> str:
        """Where publishers find NATS: a proxy."""
        host, port = self.board.lines[Link.PUBLISHER_NATS][0].route.listen
        return f"nats://{host}:{port}"


@asynccontextmanager
async def set_up(
    plan: Plan, faults: Sequence[Fault], *, relay_command: Sequence[str] | None = None
) -> AsyncIterator[Scene]:
    """The stack, its proxies, and relays and a nursery that are not started yet; all gone at the end, whatever happens.

    `faults` are those of the plan that are going to be played. `relay_command` replaces `meshrelay serve`.
    Raises PartUnavailable, ProcessFailed, ToxiproxyFailed.
    """
    ports = {name: ReservedPort() for name in proxy_names("redis" if plan.has_redis else "cursor")}
    is_small = any(isinstance(one, DiskFull) for one in faults)
    try:
        async with EmbeddedStack.start(toxiproxy=True, nats_sync=plan.servers.nats_sync, small=is_small) as stack:
            redis: dict[str, RedisProcess] = {}
            if plan.has_redis:
                redis["redis"] = stack.add_redis(sync=plan.servers.redis_sync, small=is_small)
                await redis["redis"].start()
            numbers = {name: port.number for name, port in ports.items()}
            yield await _scene(plan, stack, redis, numbers, relay_command)
    finally:
        for port in ports.values():
            port.release()


def proxy_name(link: Link, replica: str | None) -> str:
    """What a proxy is called: `relay-2.relay-nats`, or the link alone where no replica is at an end."""
    return link.value if replica is None else f"{replica}.{link.value}"


def proxy_names(transport: str = "cursor") -> dict[str, tuple[Link, str | None]]:
    """Every proxy of a stack by name: its link, and the replica at an end of it; Redis's under its transport alone."""
    links = links_of(transport)
    both = [(link, replica) for link in links for replica in ((None,) if link is Link.PUBLISHER_NATS else REPLICAS)]
    return {proxy_name(*one): one for one in both}


async def _scene(
    plan: Plan,
    stack: EmbeddedStack,
    redis: Mapping[str, RedisProcess],
    ports: Mapping[str, int],
    relay_command: Sequence[str] | None,
) -> Scene:
    assert stack.toxiproxy is not None
    relays = {name: stack.add_relay(name, relay_settings(plan, stack, ports, name)) for name in REPLICAS}
    if relay_command is not None:
        for relay in relays.values():
            relay.spec = replace(relay.spec, argv=tuple(relay_command))
    agent_pids: list[Callable[[], Sequence[int]]] = []
    near_ends: dict[Link, Callable[[str | None], Sequence[int]]] = {
        Link.PUBLISHER_NATS: lambda _: [os.getpid()],
        Link.AGENT_RELAY: lambda _: [os.getpid(), *(pid for pids in agent_pids for pid in pids())],
        Link.RELAY_NATS: lambda replica: _pids(relays[replica or ""]),
        Link.RELAY_POSTGRES: lambda replica: _pids(relays[replica or ""]),
        Link.RELAY_REDIS: lambda replica: _pids(relays[replica or ""]),
    }
    toxiproxy = Toxiproxy(stack.toxiproxy.address)
    lines: dict[Link, list[Line]] = {link: [] for link in Link}
    servers: dict[Link, ManagedProcess] = {
        Link.PUBLISHER_NATS: stack.nats,
        Link.RELAY_NATS: stack.nats,
        Link.RELAY_POSTGRES: stack.postgres,
    }
    if redis:
        servers[Link.RELAY_REDIS] = redis["redis"]
    for name, (link, replica) in proxy_names("redis" if plan.has_redis else "cursor").items():
        upstream = servers.get(link, relays[replica or REPLICAS[0]]).address
        route = await toxiproxy.create(name, listen=(LOOPBACK, ports[name]), upstream=upstream)
        lines[link].append(Line(replica=replica, route=route, client_pids=partial(near_ends[link], replica)))
    processes: dict[ProcessName, Mapping[str, Steered]] = {
        ProcessName.RELAY: relays,
        ProcessName.NATS: {"nats": stack.nats},
        ProcessName.POSTGRES: {"postgres": stack.postgres},
        ProcessName.REDIS: redis,
    }
    socket = stack.run_dir / "agents.sock"
    return Scene(
        nats_url=stack.nats_url,
        jwt_secret=stack.jwt_secret,
        relays=list(relays.values()),
        nursery=stack.add_program("agents", nursery_command(socket), socket.exists),
        nursery_socket=socket,
        board=Board(toxiproxy=toxiproxy, lines=lines, processes=processes, disks=stack.disks),
        agent_pids=agent_pids,
        server_versions=partial(_server_versions, stack, redis),
        keep_logs=lambda logs: asyncio.to_thread(copy_logs, stack.run_dir, logs),
    )


async def _server_versions(stack: EmbeddedStack, redis: Mapping[str, RedisProcess]) -> Mapping[str, str]:
    found = await stack.versions()
    for process in redis.values():
        found["redis-server"] = await redis_version(*process.address)
    return found


def nursery_command(socket: Path) -> tuple[str, ...]:
    """What starts the agents' nursery; it is ready when its socket is there."""
    return (sys.executable, "-m", "faults.mesh.nursery", str(socket))


def copy_logs(run_dir: Path, logs: Path) -> None:
    """Copy the servers' logs before their folder goes."""
    logs.mkdir(parents=True, exist_ok=True)
    for log in sorted(run_dir.glob("*.log")):
        shutil.copyfile(log, logs / log.name)


def _pids(process: RelayProcess) -> Sequence[int]:
    return [] if process.pid is None else [process.pid]


def relay_settings(plan: Plan, stack: EmbeddedStack, ports: Mapping[str, int], replica: str) -> dict[str, str]:
    """A replica's environment: its links through its proxies, its times as the plan says."""
    postgres, nats = (ports[proxy_name(link, replica)] for link in (Link.RELAY_POSTGRES, Link.RELAY_NATS))
    addresses = {
        "NATS_URL": f"nats://{LOOPBACK}:{nats}",
        "POSTGRES_DSN": re.sub(r"@[^/]+/", f"@{LOOPBACK}:{postgres}/", stack.postgres_dsn),
    }
    if plan.has_redis:
        addresses["REDIS_URL"] = f"redis://{LOOPBACK}:{ports[proxy_name(Link.RELAY_REDIS, replica)]}/0"
    return plan_settings(plan) | addresses


def plan_settings(plan: Plan) -> dict[str, str]:
    """What a plan says of every replica's settings, by the names of its environment without their prefix."""
    times = plan.relay
    values: dict[str, object] = {
        "RETENTION_CRITICAL_S": plan.retention.critical_s,
        "RETENTION_STANDARD_S": plan.retention.standard_s,
        "SWEEP_INTERVAL_S": times.sweep_interval_s,
        "HEARTBEAT_S": times.heartbeat_s,
        "BOOKMARK_S": times.bookmark_s,
        "REDISPATCH_AFTER_S": times.redispatch_after_s,
        "RETRY_MIN_MS": times.retry_min_ms,
        "RETRY_MAX_MS": times.retry_max_ms,
        "DRAIN_DEADLINE_S": times.drain_deadline_s,
        "LEASE_S": times.lease_s,
        "DEDUPE_WINDOW_S": times.dedupe_window_s,
        "PUBLISH_TIMEOUT_S": times.publish_timeout_s,
        "DATABASE_TIMEOUT_S": times.database_timeout_s,
        "READY_AFTER_SILENCE_S": times.ready_after_silence_s,
        "IDLE_CHECK_S": times.idle_check_s,
        "TAIL_POLL_S": times.tail_poll_s,
        "EXPIRY_MARGIN_S": times.expiry_margin_s,
        "TRANSPORT": plan.transport,
        **{name.upper(): value for name, value in plan.limits.given().items()},
        "LOG_FORMAT": "json",
        # a plan that asks for unsafe storage is there to show what that costs
        "ALLOW_UNSAFE_STORAGE": plan.servers.nats_sync != "always",
    }
    return {name: str(value) for name, value in values.items()}


async def epoch_of(relay: Relay, secret: str) -> str:
    """The tag that a replica's cursors begin with; empty while it does not tell."""
    token = mint(secret, sub=PROBING_AGENT, scope="stream", ttl_s=600.0, now=time.time())
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    address = f"{relay.url}/v1/agents/{PROBING_AGENT}/events?cursor=earliest"
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(address, headers=headers) as response:
            return Cursor.parse((await response.json())["head"]).epoch if response.status == 200 else ""
    except (aiohttp.ClientError, OSError, TimeoutError):
        return ""


async def first_epoch(scene: Scene) -> str:
    """The tag that all replicas' cursors begin with. Raises ProcessFailed if they don't tell within some time."""
    deadline = asyncio.get_running_loop().time() + READY_S
    while asyncio.get_running_loop().time() < deadline:
        told = {await epoch_of(relay, scene.jwt_secret) for relay in scene.relays}
        if len(told) == 1 and "" not in told:
            return told.pop()
        await asyncio.sleep(0.1)
    raise ProcessFailed(f"expected the replicas to tell their stream's head, got {told}; {scene.relays[0].log_tail()}")


async def versions(scene: Scene) -> dict[str, str]:
    """What took part in a run, the machine included."""
    packages = ("aiohttp", "asyncpg", "httpx", "nats-py", "redis", "toxiproxy-python")
    return {
        **await scene.server_versions(),
        **{name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
