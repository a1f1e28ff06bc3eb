"""Sets up what a run is played on: the stack, a proxy for every link, and a relay whose links all go through them."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import metadata

import httpx

from faults.plan import Plan
from faults.player import Board
from faults.stack import EmbeddedStack, ProcessFailed, RelayProcess, ReservedPort
from faults.stack.ports import LOOPBACK
from faults.toxiproxy import Toxiproxy
from faults.vocabulary import Link, ProcessName
from system.cursor import Cursor
from system.tokens import mint

PROBING_AGENT = "chaos-probe"
"""An agent to whom nothing is addressed, for asking the relay where its stream is."""
READY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A running stack with everything that a run needs to reach it."""

    stack: EmbeddedStack
    relay: RelayProcess
    board: Board

    def url(self, link: Link, scheme: str) -> str:
        """A link's address, through its proxy."""
        host, port = self.board.routes[link].listen
        return f"{scheme}://{host}:{port}"


@asynccontextmanager
async def set_up(plan: Plan, *, relay_command: Sequence[str] | None = None) -> AsyncIterator[Scene]:
    """The stack, its proxies and a relay that is not started yet; all gone at the end, whatever happens.

    `relay_command` replaces `meshrelay serve`. Raises PartUnavailable, ProcessFailed, ToxiproxyFailed.
    """
    ports = {link: ReservedPort() for link in Link}
    try:
        async with EmbeddedStack.start(toxiproxy=True, nats_sync=plan.servers.nats_sync) as stack:
            yield await _scene(plan, stack, ports, relay_command)
    finally:
        for port in ports.values():
            port.release()


async def _scene(
    plan: Plan, stack: EmbeddedStack, ports: Mapping[Link, ReservedPort], relay_command: Sequence[str] | None
) -> Scene:
    assert stack.toxiproxy is not None
    relay = stack.add_relay("relay", relay_settings(plan, stack, ports))
    if relay_command is not None:
        relay.spec = replace(relay.spec, argv=tuple(relay_command))
    servers = {
        Link.PUBLISHER_NATS: stack.nats.address,
        Link.RELAY_NATS: stack.nats.address,
        Link.RELAY_POSTGRES: stack.postgres.address,
        Link.AGENT_RELAY: relay.address,
    }
    toxiproxy = Toxiproxy(stack.toxiproxy.address)
    routes = {
        link: await toxiproxy.create(link.value, listen=(LOOPBACK, ports[link].number), upstream=servers[link])
        for link in Link
    }
    near_ends = {Link.RELAY_NATS: relay, Link.RELAY_POSTGRES: relay}
    board = Board(
        toxiproxy=toxiproxy,
        routes=routes,
        processes={ProcessName.RELAY: relay, ProcessName.NATS: stack.nats, ProcessName.POSTGRES: stack.postgres},
        client_pids=lambda link: near_ends[link].pid if link in near_ends else os.getpid(),
    )
    return Scene(stack=stack, relay=relay, board=board)


def relay_settings(plan: Plan, stack: EmbeddedStack, ports: Mapping[Link, ReservedPort]) -> dict[str, str]:
    """The relay's environment: its links through the proxies, its times as the plan says."""
    dsn = re.sub(r"@[^/]+/", f"@{LOOPBACK}:{ports[Link.RELAY_POSTGRES].number}/", stack.postgres_dsn)
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
        **{name.upper(): value for name, value in plan.limits.given().items()},
        "NATS_URL": f"nats://{LOOPBACK}:{ports[Link.RELAY_NATS].number}",
        "POSTGRES_DSN": dsn,
        "LOG_FORMAT": "json",
        # a plan that asks for unsafe storage is there to show what that costs
        "ALLOW_UNSAFE_STORAGE": plan.servers.nats_sync != "always",
    }
    return {name: str(value) for name, value in values.items()}


async def epoch_of(scene: Scene) -> str:
    """The tag that the relay's cursors begin with. Raises ProcessFailed if it does not tell within some time."""
    token = mint(scene.stack.jwt_secret, sub=PROBING_AGENT, scope="stream", ttl_s=600.0, now=time.time())
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    address = f"{scene.relay.url}/v1/agents/{PROBING_AGENT}/events"
    deadline = asyncio.get_running_loop().time() + READY_S
    answer = "nothing"
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
        while asyncio.get_running_loop().time() < deadline:
            try:
                response = await http.get(address, params={"cursor": "earliest"}, headers=headers)
            except httpx.HTTPError as error:
                answer = repr(error)
            else:
                if response.status_code == 200:
                    return Cursor.parse(response.json()["head"]).epoch
                answer = f"{response.status_code} {response.text[:200]}"
            await asyncio.sleep(0.1)
    raise ProcessFailed(f"expected the relay to tell its stream's head, got {answer}; {scene.relay.log_tail()}")


async def versions(stack: EmbeddedStack) -> dict[str, str]:
    """What took part in a run, the machine included."""
    packages = ("aiohttp", "asyncpg", "httpx", "nats-py", "toxiproxy-python")
    return {
        **await stack.versions(),
        **{name: metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
