"""What processes spend, read from the kernel."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import pytest

from faults.bench import spending
from faults.bench.spending import Spent, spent
from faults.stack import EmbeddedStack


def test_differences() -> None:
    """Between two moments; bytes that were not counted on either side are not counted between."""
    before = Spent(cpu_s=1.0, network_bytes=10, memory_bytes=100)
    after = Spent(cpu_s=1.5, network_bytes=40, memory_bytes=90)
    assert after.since(before) == Spent(cpu_s=0.5, network_bytes=30, memory_bytes=-10)
    unknown = Spent(cpu_s=1.0, network_bytes=None, memory_bytes=0)
    assert after.since(unknown).network_bytes is None


async def test_servers_are_seen_to_work(stack: EmbeddedStack) -> None:
    """A statement costs Postgres processor time and bytes, also that of a backend that has ended since."""
    import asyncpg

    before = spent({"postgres": stack.postgres})
    held = await asyncpg.connect(stack.postgres_dsn)
    brief = await asyncpg.connect(stack.postgres_dsn)
    for connection in (held, brief):
        await connection.fetch(
            "SELECT sum(sqrt(n)) FROM generate_series(1, 2000000) n UNION ALL SELECT length(repeat('x', 100000))"
        )
    await held.fetchval("SELECT repeat('x', 100000)")
    await brief.close()
    found = spent({"postgres": stack.postgres})["postgres"].since(before["postgres"])
    await held.close()
    assert found.cpu_s > 0.05
    assert found.network_bytes is not None, "expected `ss`; it comes with the package iproute2"
    assert found.network_bytes > 100_000


def test_bytes_by_port() -> None:
    """What goes over a connection is found under the port of its listening side, both ways."""
    if shutil.which("ss") is None:
        pytest.fail("expected `ss`; it comes with the package iproute2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"x" * 3_000)
                assert len(accepted.recv(3_000, socket.MSG_WAITALL)) == 3_000
                accepted.sendall(b"y" * 500)
                assert len(client.recv(500, socket.MSG_WAITALL)) == 500
                deadline = time.monotonic() + 5.0
                while (found := (spending._network_bytes() or {}).get(port, 0)) < 3_500 and time.monotonic() < deadline:
                    time.sleep(0.02)  # an acknowledgement may be on its way
    assert 3_500 <= found <= 3_502  # the kernel counts a SYN as a byte


def test_no_counter_no_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without `ss` says that it does not know, not that nothing went over the wire."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert spending._network_bytes() is None
