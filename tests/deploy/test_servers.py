"""The servers' own configurations, read by the servers' own programs: NATS, Postgres, Redis."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from faults.stack import EmbeddedStack, ReservedPort
from faults.stack.binaries import nats_server, postgres_bin, postgres_user, redis_server
from faults.stack.ports import LOOPBACK
from faults.stack.supervisor import Supervisor
from tests.deploy import parts
from tests.deploy.uncontained import Uncontained

PATIENCE_S = 20.0
NATS_CONFIG = parts.ROOT / "deploy" / "nats" / "nats.conf"


def test_nats_takes_its_configuration() -> None:
    """The real server finds nothing wrong with the file."""
    done = parts.ran(nats_server(), "-t", "-c", str(NATS_CONFIG))
    assert done.returncode == 0, done.stderr
    assert "configuration file" in done.stderr
    assert "is valid" in done.stderr


def test_nats_would_refuse_a_wrong_one(tmp_path: Path) -> None:
    """A setting that it does not know is an error of the check, not passed over."""
    (tmp_path / "nats.conf").write_text(
        NATS_CONFIG.read_text().replace("sync_interval: always", "sync_intervall: always")
    )
    done = parts.ran(nats_server(), "-t", "-c", str(tmp_path / "nats.conf"))
    assert done.returncode != 0
    assert "sync_intervall" in done.stderr


def test_nats_listens_where_its_service_says(services: dict[str, dict[str, Any]]) -> None:
    """The ports of the configuration are those that are published, checked, and reached through the proxies."""
    numbers = dict(re.findall(r"^(port|http_port): (\d+)$", NATS_CONFIG.read_text(), re.MULTILINE))
    service = services["nats"]
    assert {port["target"] for port in service["ports"]} == {int(numbers["port"]), int(numbers["http_port"])}
    assert service["healthcheck"]["test"][-1] == f"http://127.0.0.1:{numbers['http_port']}/healthz"
    upstreams = {one["upstream"] for one in parts.proxies() if one["name"].endswith("nats")}
    assert upstreams == {f"nats:{numbers['port']}"}


@pytest.mark.stack
def test_postgres_takes_every_setting(stack: EmbeddedStack, services: dict[str, dict[str, Any]]) -> None:
    """The real server takes each `-c` of its command and means the same by it; the relay's demands are among them."""
    program, *words = services["postgres"]["command"]
    assert program == "postgres"
    given = dict(word.removeprefix("-c").split("=", 1) for word in words)
    assert {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}.items() <= given.items()
    in_its_units = {"128MB": str(128 * 1024 // 8)}
    for name, value in given.items():
        done = _postgres_asked(stack, name, words)
        assert (done.stdout.strip(), done.stderr) == (in_its_units.get(value, value), "")


@pytest.mark.stack
@pytest.mark.parametrize("wrong", ["-cfsink=on", "-cfsync=maybe"])
def test_postgres_would_refuse_a_wrong_one(stack: EmbeddedStack, wrong: str) -> None:
    """A name or a value that it does not know is told and not passed over."""
    done = _postgres_asked(stack, "fsync", [wrong])
    assert done.returncode != 0
    assert wrong.removeprefix("-c").partition("=")[0] in done.stderr


def _postgres_asked(stack: EmbeddedStack, name: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    user = postgres_user()
    return subprocess.run(
        [str(postgres_bin(user) / "postgres"), "-D", str(stack.run_dir / "postgres" / "data"), "-C", name, *words],
        user=user,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=parts.LIMIT_S,
        check=False,
    )


@pytest.mark.stack
def test_redis_takes_every_setting(tmp_path: Path, services: dict[str, dict[str, Any]]) -> None:
    """The real server starts with its command, has every setting as given, and its health check says when it serves."""
    program, *words = services["redis"]["command"]
    folder = redis_server().parent
    assert program == "redis-server"
    inside, port = ("redis", 6379), ReservedPort()
    supervisor = Supervisor(doomed_dir=None)
    try:
        stack = Uncontained(services=services, ports={inside: port}, folder=tmp_path, supervisor=supervisor)
        assert not _pings(stack, folder)
        process = stack.start("redis", [str(folder / program), *words, "--bind", LOOPBACK, "--port", str(port.number)])
        deadline = time.monotonic() + PATIENCE_S
        while not _pings(stack, folder):
            assert process.is_running(), process.log_tail()
            assert time.monotonic() < deadline, process.log_tail()
        for name, value in zip(words[::2], words[1::2], strict=True):
            name = name.removeprefix("--")
            got = parts.ran(folder / "redis-cli", "-p", str(port.number), "config", "get", name).stdout.split()
            assert got == [name, value.replace("384mb", str(384 * 1024**2))]
    finally:
        supervisor.close()
        port.release()


def _pings(stack: Uncontained, folder: Path) -> bool:
    """The service's health check, with our port for its own."""
    _, program, *words = stack.services["redis"]["healthcheck"]["test"]
    assert words[:4] == ["-h", "127.0.0.1", "-p", "6379"]
    words[3] = str(stack.port("redis", 6379))
    done = parts.ran(folder / program, *words)
    return (done.returncode, done.stdout.strip()) == (0, "PONG")
