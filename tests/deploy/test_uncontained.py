"""The compose stack's commands, configurations and environments do what they are for, with the real programs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from faults.board import proxy_names
from faults.stack.ports import LOOPBACK
from system.tokens import mint
from tests.deploy import parts
from tests.deploy.test_workflow import JOBS
from tests.deploy.uncontained import Uncontained, servers, start_relay

PATIENCE_S = 20.0
pytestmark = pytest.mark.stack

EVENT = {"specversion": "1.0", "id": "one", "source": "/tests", "type": "task.assigned", "subject": "alice", "data": 7}


async def test_an_event_goes_through_the_whole_stack(tmp_path: Path) -> None:
    """Two replicas start by their image's command and become healthy; what one takes by its proxy the other gives.

    Every health check says no before its service serves and yes after; each link goes through its proxy.
    """
    settings = tmp_path / "relay.env"
    settings.write_text("MESHRELAY_READY_AFTER_SILENCE_S=0.3\n")  # so that a cut shows soon
    services = parts.loaded(env={"RELAY_ENV_FILE": str(settings)})["services"]
    async with servers(services) as stack:
        assert [stack.is_healthy(name) for name in ("nats", "postgres", "toxiproxy")] == [True] * 3
        assert [stack.is_healthy(name) for name in ("relay-1", "relay-2")] == [False] * 2
        relays = [start_relay(stack, name) for name in ("relay-1", "relay-2")]
        for relay in relays:
            await relay.wait_ready()
        for name in ("relay-1", "relay-2"):
            assert await _becomes(stack, name, healthy=True), name
        secret = services["relay-1"]["environment"]["MESHRELAY_JWT_HS256_SECRET"]
        async with httpx.AsyncClient(timeout=10) as http:
            await _publish(http, stack.port("toxiproxy", 28081), secret)
            events = await _events(http, stack.port("toxiproxy", 28082), secret)
            assert [one["event"]["id"] for one in events] == ["one"]
            _check_workflows_own_commands(stack, secret)
            await _check_proxies(http, stack)
        assert "unsafe" not in relays[0].log_path.read_text()
        assert "unchecked" not in relays[0].log_path.read_text()


def _check_workflows_own_commands(stack: Uncontained, secret: str) -> None:
    """What the CI job says to the stack in containers, said to this one: it publishes, and receives what came first."""
    (script,) = [step["run"] for step in JOBS["compose"]["steps"] if "meshrelay publish" in step.get("run", "")]
    for port in (28081, 28082):
        assert f"127.0.0.1:{port}" in script
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{stack.port('toxiproxy', port)}")
    script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=stack.folder,
        env=parts.plain_env() | {"MESHRELAY_JWT_HS256_SECRET": secret, "HOME": str(stack.folder)},
        capture_output=True,
        text=True,
        timeout=parts.LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "task.assigned" in done.stdout


async def _publish(http: httpx.AsyncClient, port: int, secret: str) -> None:
    token = mint(secret, sub="tests", scope="publish", ttl_s=60, now=time.time())
    answer = await http.post(
        f"http://{LOOPBACK}:{port}/v1/events", json=EVENT, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 202, answer.text


async def _events(http: httpx.AsyncClient, port: int, secret: str) -> list[dict[str, Any]]:
    token = mint(secret, sub="alice", scope="stream", ttl_s=60, now=time.time())
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        page = (
            await http.get(f"http://{LOOPBACK}:{port}/v1/agents/alice/events?cursor=earliest", headers=headers)
        ).json()
        if page["events"]:
            found: list[dict[str, Any]] = page["events"]
            return found
    return []


async def _check_proxies(http: httpx.AsyncClient, stack: Uncontained) -> None:
    """Cutting a replica's own proxy to NATS makes that replica unready, and no other."""
    api = f"http://{LOOPBACK}:{stack.port('toxiproxy', 8474)}"
    told = (await http.get(f"{api}/proxies")).json()
    assert set(told) == set(proxy_names())
    assert all(one["enabled"] for one in told.values())
    for cut in ("relay-1.relay-nats", "relay-2.relay-postgres"):
        replica, _, link = cut.partition(".")
        other = "relay-2" if replica == "relay-1" else "relay-1"
        assert (await http.post(f"{api}/proxies/{cut}", json={"enabled": False})).status_code == 200
        assert await _becomes(stack, replica, healthy=False), link
        assert await _becomes(stack, other, healthy=True), link
        assert (await http.post(f"{api}/proxies/{cut}", json={"enabled": True})).status_code == 200
        assert await _becomes(stack, replica, healthy=True), link


async def _becomes(stack: Uncontained, service: str, *, healthy: bool) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if stack.is_healthy(service) is healthy:
            return True
        await asyncio.sleep(0.1)
    return False
